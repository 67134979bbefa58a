"""What is believed of an identify message, given its sender and the address we see of it."""

from __future__ import annotations

import logging

from multiaddr import Multiaddr

from peerstack.stack.abc import ConnectionInfo
from peerstack.stack.addressing import parse_address, parse_addresses_lossy
from peerstack.stack.addressing.reach import is_ip, is_loopback, is_private, is_public
from peerstack.stack.errors import InvalidAddress, InvalidInput, InvalidSignature, PeerIdMismatch, RemoteProtocolError
from peerstack.stack.events import PeerIdentified
from peerstack.stack.host.peerstore import Peerstore, Ttl
from peerstack.stack.identity import PeerId, PublicKey

from .wire import MAX_ADDRESSES, Identify

_log = logging.getLogger(__name__)


def check_key(info: ConnectionInfo, received: Identify) -> None:
    """Raise PeerIdMismatch if the message shows another key than the peer has proved; RemoteProtocolError if none."""
    encoded = received.public_key
    if encoded is None or (info.remote_public_key is not None and info.remote_public_key.encode() == encoded):
        return
    try:
        actual = PublicKey.decode(encoded).peer_id
    except InvalidInput as error:
        raise RemoteProtocolError(f"the public key in identify is none: {error}") from error
    if actual != info.remote_peer:
        raise PeerIdMismatch(info.remote_peer, actual)


def learn(store: Peerstore, info: ConnectionInfo, received: Identify, *, pushed: bool) -> PeerIdentified:
    """Remember what the peer says of itself, and return what was believed; what a push leaves empty stays as it is.

    The addresses of a valid signed record count instead of the plain list. A record that cannot be verified is as
    good as none (go and rust), while with one of another peer neither counts (go).
    """
    peer = info.remote_peer
    try:
        signed = received.signed_record is not None and _learn_record(store, info, received.signed_record)
        believed = not signed
    except PeerIdMismatch as error:
        _log.debug("the peer record that %s sent is of another peer: %s", peer, error)
        signed = believed = False
    if believed and (received.listen_addresses or not pushed):
        addresses = parse_addresses_lossy(received.listen_addresses, limit=MAX_ADDRESSES)
        store.replace_addresses(peer, [address for address in addresses if is_plausible(address, info.remote_address)])
    if received.protocols or not pushed:
        store.set_protocols(peer, received.protocols)
    if received.agent or not pushed:
        store.set_agent(peer, received.agent)
    if received.protocol_version or not pushed:
        store.set_protocol_version(peer, received.protocol_version)
    observed = _parse_observed(received.observed_address)
    if observed is not None:
        store.set_observed(peer, observed)
    return _event(store, peer, observed, signed)


def is_plausible(address: Multiaddr, seen_at: Multiaddr) -> bool:
    """Return whether a peer seen at `seen_at` can be reached at `address` from here (go-libp2p's filterAddrs).

    Of a peer on this machine all addresses are, of one in our network all but loopback, of one on the internet only
    public ones: else any peer could have us dial into our own network.
    """
    if is_loopback(seen_at) or not is_ip(seen_at):
        return True
    if is_private(seen_at):
        return not is_loopback(address)
    return is_public(address)


def _learn_record(store: Peerstore, info: ConnectionInfo, encoded: bytes) -> bool:
    try:
        store.add_record(
            info.remote_peer, encoded, Ttl.CONNECTED, keep=lambda address: is_plausible(address, info.remote_address)
        )
    except (InvalidInput, InvalidSignature) as error:
        _log.debug("the peer record of %s is ignored: %s", info.remote_peer, error)
        return False
    return True


def _parse_observed(encoded: bytes | None) -> Multiaddr | None:
    try:
        return parse_address(encoded) if encoded else None
    except InvalidAddress:
        return None


def _event(store: Peerstore, peer: PeerId, observed: Multiaddr | None, signed: bool) -> PeerIdentified:
    return PeerIdentified(
        peer=peer,
        agent=store.agent(peer),
        protocol_version=store.protocol_version(peer),
        protocols=store.protocols(peer),
        addresses=store.certified_addresses(peer) if signed else store.addresses(peer),
        observed_address=observed,
        signed=signed,
    )
