"""Makes py-libp2p's publish/subscribe on a host: gossipsub or floodsub, queues for bursts, every RPC counted."""

import hashlib
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial

import libp2p.pubsub.mcache
import libp2p.pubsub.pubsub
from libp2p.pubsub import floodsub, gossipsub
from libp2p.pubsub.floodsub import FloodSub
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.tools.anyio_service import background_trio_service

ROUTERS = ("gossipsub", "floodsub")
# Newest first, without 1.4.0 and 2.0.0, which are py-libp2p's own.
GOSSIPSUB_PROTOCOLS = [
    gossipsub.PROTOCOL_ID_V13,
    gossipsub.PROTOCOL_ID_V12,
    gossipsub.PROTOCOL_ID_V11,
    gossipsub.PROTOCOL_ID,
    floodsub.PROTOCOL_ID,
]
DEGREE, DEGREE_LOW, DEGREE_HIGH = 6, 5, 12
BURST = 100_000
LARGEST_RPC = 64 << 20
ENTRIES = ("subscriptions", "publish", "ihave", "iwant", "graft", "prune", "idontwant")


def data_id(message):
    """Return the message id of the contract."""
    return hashlib.sha256(message.data).digest()


# What no parameter sets, looked up in its module at each use: a message cache that knows messages by author and
# sequence number, whatever the message id is.
libp2p.pubsub.mcache.default_msg_id_fn = data_id


def lengthen_queues():
    """Set what no parameter sets, either: 32 in both queues by default, beyond which messages are dropped."""
    libp2p.pubsub.pubsub.SUBSCRIPTION_CHANNEL_SIZE = BURST
    libp2p.pubsub.pubsub.RpcQueue = partial(RpcQueue, max_size=BURST)


class CountingPubsub(Pubsub):
    """Counts the entries of RPCs where they pass."""

    def __init__(self, *arguments, **options):
        """Start with nothing counted."""
        self.counts_received, self.counts_sent = Counter(), Counter()
        super().__init__(*arguments, **options)
        self._route = self.router.handle_rpc
        self.router.handle_rpc = self._count_control

    def rpc_counts(self):
        """Return what was received and sent since the start, by kind of entry."""
        both = {"received": self.counts_received, "sent": self.counts_sent}
        return {way: {name: counts[name] for name in ENTRIES} for way, counts in both.items()}

    def get_hello_packet(self):
        """Make the first RPC of a stream, which is not written by write_msg."""
        packet = super().get_hello_packet()
        self.counts_sent["subscriptions"] += len(packet.subscriptions)
        return packet

    async def write_msg(self, stream, rpc_msg):
        """Write any other RPC."""
        written = await super().write_msg(stream, rpc_msg)
        if written:
            self.counts_sent["subscriptions"] += len(rpc_msg.subscriptions)
            self.counts_sent["publish"] += len(rpc_msg.publish)
            _count_control(self.counts_sent, rpc_msg.control)
        return written

    def handle_subscription(self, origin_id, sub_message):
        """Take one subscription of a peer."""
        self.counts_received["subscriptions"] += 1
        super().handle_subscription(origin_id, sub_message)

    async def push_msg(self, msg_forwarder, msg):
        """Take one message of a peer, or of our own."""
        if msg_forwarder != self.my_id:
            self.counts_received["publish"] += 1
        await super().push_msg(msg_forwarder, msg)

    async def _count_control(self, rpc, sender_peer_id):
        _count_control(self.counts_received, rpc.control)
        await self._route(rpc, sender_peer_id)


def _count_control(counts, control):
    for name in ("ihave", "iwant", "idontwant"):
        counts[name] += sum(len(entry.messageIDs) for entry in getattr(control, name))
    counts["graft"] += len(control.graft)
    counts["prune"] += len(control.prune)


def unsupported_pubsub(options):
    """Return `(what, reason)` of an option that cannot be had, or None."""
    if options.pubsub is None:
        return None
    if options.pubsub not in ROUTERS:
        return f"pubsub {options.pubsub}", "this peer has gossipsub and floodsub"
    if options.pubsub_sign != "strict":
        return (
            f"pubsub-sign {options.pubsub_sign}",
            "py-libp2p without signing still sends `from` and `seqno`, which StrictNoSign forbids",
        )
    for name in ("backoff", "degree"):
        value = getattr(options, f"pubsub_{name}")
        if value is not None and options.pubsub == "floodsub":
            return f"pubsub-{name} {value}", "floodsub has no mesh"
        if value is not None and not (value.isdecimal() and int(value) > 0):
            return f"pubsub-{name} {value}", "py-libp2p takes whole numbers above 0"
    return None


@asynccontextmanager
async def run_pubsub(host, options):
    """Run publish/subscribe on a running host; the value is its Pubsub, or None where none is asked for."""
    if options.pubsub is None:
        yield None
        return
    if options.pubsub_queues != "stock":
        lengthen_queues()
    router = _router(options)
    pubsub = CountingPubsub(
        host, router, seen_ttl=120, strict_signing=True, msg_id_constructor=data_id, max_inbound_rpc_size=LARGEST_RPC
    )
    async with background_trio_service(pubsub):
        await pubsub.wait_until_ready()
        if isinstance(router, FloodSub):
            yield pubsub
            return
        async with background_trio_service(router):
            yield pubsub


def _router(options):
    if options.pubsub == "floodsub":
        return FloodSub([floodsub.PROTOCOL_ID])
    degrees = [DEGREE, DEGREE_LOW, DEGREE_HIGH] if options.pubsub_degree is None else [int(options.pubsub_degree)] * 3
    backoff = {}
    if options.pubsub_backoff is not None:
        backoff = dict.fromkeys(("prune_back_off", "unsubscribe_back_off"), int(options.pubsub_backoff))
    router = GossipSub(
        GOSSIPSUB_PROTOCOLS,
        *degrees,
        heartbeat_interval=1,
        do_px=False,
        adaptive_gossip_enabled=False,  # it moves the degrees
        spam_protection_enabled=False,  # it drops more than ten messages a second of one peer
        eclipse_protection_enabled=False,  # it looks for other IP addresses than loopback has
        max_idontwant_messages=BURST,
        max_pending_messages_per_peer=BURST,
        **backoff,
    )
    router.scorer = None
    return router
