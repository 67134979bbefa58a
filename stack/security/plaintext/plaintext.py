"""The plaintext handshake: both sides say who they are, and nobody proves anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import trio

from ...abc import Secured
from ...errors import ConnectionLost, InvalidInput, InvalidKey, PeerIdMismatch, RemoteProtocolError
from ...framing import encode_length_prefixed, read_length_prefixed
from ...identity import Identity, PeerId, PublicKey
from ...net.pipes import as_pipe
from .channel import PlainChannel
from .wire import MAX_EXCHANGE, PROTOCOL_ID, Exchange


class InsecurePlaintext:
    """No security: anybody on the way reads and changes every byte, and anybody can claim to be any peer.

    For tests, and for looking at the wire. Whoever lists it beside a real protocol lets the peer, or somebody on the
    way, choose it. It names no muxer early.
    """

    protocol_id = PROTOCOL_ID

    def __init__(self, identity: Identity, *, for_tests_only: Literal[True]) -> None:
        if for_tests_only is not True:
            raise InvalidInput("plaintext protects nothing; say for_tests_only=True if that is meant")
        self.local_peer = identity.peer_id
        """Who this claims to be."""
        self._exchange = Exchange(identity.peer_id.to_bytes(), identity.public_key.encode()).encode()

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        """Exchange claims; see `abc.Security.secure`. Both sides speak at once, whoever dialed."""
        pipe = as_pipe(stream)
        try:
            await pipe.send_all(encode_length_prefixed(self._exchange))
            data = await read_length_prefixed(pipe, limit=MAX_EXCHANGE)
        except ConnectionLost:
            raise
        except trio.BrokenResourceError as error:
            raise ConnectionLost(f"the connection broke during the plaintext exchange: {error}") from error
        return Secured(PlainChannel(pipe), _check(Exchange.decode(data), expect))


def _check(exchange: Exchange, expect: PeerId | None) -> PublicKey:
    """Return the claimed key, if id and key belong together and to whom was expected."""
    try:
        key = PublicKey.decode(exchange.public_key)
    except InvalidKey as error:
        raise RemoteProtocolError(f"the peer's identity key is not usable: {error}") from error
    if key.peer_id.to_bytes() != exchange.peer_id:
        raise RemoteProtocolError(f"the peer claims an id that is not that of its key, {key.peer_id}")
    if expect is not None and key.peer_id != expect:
        raise PeerIdMismatch(expect, key.peer_id)
    return key
