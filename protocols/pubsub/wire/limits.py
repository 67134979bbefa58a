"""How much of one RPC is taken in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """What one RPC may hold. Entries beyond are skipped and counted in `Rpc.ignored`, except where it says error."""

    max_topic: int = 1024
    """Bytes of a topic's name. Longer ones are an error, in a subscription only skipped: a peer may want them."""
    max_messages: int = 8192
    """More are an error: there is no frame of honest peers that has room for them."""
    max_subscriptions: int = 1024
    """An empty one costs its sender two bytes and us an object."""
    max_ids: int = 5000
    """Ids of IHAVE, of IWANT and of IDONTWANT each, over all their entries. go-libp2p-pubsub reads as many."""
    max_id: int = 1024
    """Bytes of an id. Ids are kept for a while, and those in use have 20 to 50 bytes."""
    max_grafts: int = 1024
    max_prunes: int = 1024
    max_peers: int = 64
    """Suggested peers over all PRUNE entries; the routers send 16 with each."""
    max_peer: int = 8 * 1024
    """Bytes of one suggested peer; identify sends signed peer records of no more."""
    max_ignored: int = 32_768
    """Skipped entries; more are an error, since looking at half a million empty ones blocks us for long.

    A go-libp2p-pubsub of old that fills 1 MiB with IHAVE for many topics leaves us some 17 000 to skip.
    """


DEFAULT_LIMITS = RpcLimits()
