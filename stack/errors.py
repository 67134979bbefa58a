"""Every error this library raises on purpose; each says whose fault it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .identity import PeerId
    from .report import DialReport


class StackError(Exception):
    """Base of all errors raised on purpose."""


class InvalidInput(StackError, ValueError):
    """A value given by a person or decoded from bytes is not what it should be; the message says why."""


class InvalidKey(InvalidInput):
    """A key is malformed, of an unsupported type, or outside the size limits."""


class KeyPasswordError(InvalidKey):
    """A key is encrypted and needs a password, or another one; or it is not, and was given one."""


class InvalidPeerId(InvalidInput):
    """Text or bytes are not a peer id."""


class InvalidAddress(InvalidInput):
    """Text or bytes are not a multiaddr, or the multiaddr cannot be used for what was asked."""


class InvalidSignature(StackError):
    """A signature does not verify, or verifies for something else."""


class KeyFileError(StackError):
    """A key file cannot be read, is malformed, or is readable by others."""


class ResolveError(StackError):
    """A name could not be resolved to any usable address."""


class RoutingError(StackError):
    """A search could not be made, or an announcement reached no peer. A search that finds nothing is no error."""


class StorageError(StackError):
    """What a store is kept on failed or holds something else; the message says what to do."""


class ProtocolError(StackError):
    """A wire protocol was violated; see which side by the subclass."""


class LocalProtocolError(ProtocolError):
    """This side tried something the protocol does not allow; a bug in the caller."""


class RemoteProtocolError(ProtocolError):
    """The peer violated the protocol; `code` is what the wire protocol wants answered, if anything."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ForeignProtocol(RemoteProtocolError):
    """The other side is no peer: its first bytes are of another protocol, which `speaks` names if it is well known."""

    def __init__(self, message: str, *, speaks: str | None = None) -> None:
        super().__init__(message)
        self.speaks = speaks


class SameIdentity(LocalProtocolError):
    """The peer has our own key: it is this host itself, or another one that runs with a copy of the key."""


class NegotiationError(StackError):
    """No common protocol: `offered` were proposed, and the peer refused them all."""

    def __init__(self, message: str, *, offered: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.offered = offered


class PeerIdMismatch(StackError):
    """The peer proved another identity than the expected one."""

    def __init__(self, expected: PeerId, actual: PeerId) -> None:
        super().__init__(f"expected peer {expected}, but the peer proved to be {actual}")
        self.expected = expected
        self.actual = actual


class LimitExceeded(StackError):
    """A limit of ours refused the work before anything was allocated.

    `scope` names where the limit stands (system, transient, peer, connection, protocol),
    `resource` what ran out, `limit` the number that would have been exceeded.
    """

    def __init__(self, scope: str, resource: str, limit: int) -> None:
        super().__init__(f"our limit of {limit} {resource} in scope {scope!r} is reached")
        self.scope = scope
        self.resource = resource
        self.limit = limit


class LimitedConnection(StackError):
    """The only connection to the peer goes through a relay that limits it, and the protocol did not ask for such."""


class Refused(StackError):
    """A connection gater of ours refused a peer or an address."""


class StreamReset(StackError, trio.BrokenResourceError):
    """The stream was reset, by the peer (`remote`) or by this side; `code` is the error code sent along, if any."""

    def __init__(self, message: str, *, remote: bool, code: int | None = None) -> None:
        super().__init__(message)
        self.remote = remote
        self.code = code


class ConnectionLost(StackError, trio.BrokenResourceError):
    """The connection below is gone; the message says why."""


class DialError(StackError):
    """No address of a peer could be dialed; `report` says for each address and stage what happened."""

    def __init__(self, message: str, report: DialReport) -> None:
        super().__init__(message)
        self.report = report


_EXPECTED = (StackError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


def is_expected(error: BaseException) -> bool:
    """Return whether a peer, the network or a limit can cause this; anything else is a bug, ours or of a plug-in."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_expected, error.exceptions))
    return isinstance(error, _EXPECTED)


def describe(error: BaseException) -> str:
    """Return what an error says, or its kind where it says nothing; a group says what all in it say."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(map(describe, error.exceptions)))
    return str(error) or type(error).__name__
