"""The dial report: for every address and every stage, what was tried, what was found, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from errno import EMFILE, ENFILE
from typing import Any

import trio

from .addressing import components, parse_address
from .addressing.usable import dial_hint
from .background import failure_of
from .errors import (
    ConnectionLost,
    DialError,
    ForeignProtocol,
    InvalidAddress,
    LimitExceeded,
    LocalProtocolError,
    NegotiationError,
    PeerIdMismatch,
    Refused,
    RemoteProtocolError,
    SameIdentity,
    describe,
    is_expected,
)


class StageName(StrEnum):
    """The stages that the stack names, in order; transports and services name their own."""

    ROUTING = "routing"
    RESOLVE = "resolve"
    CONNECT = "transport connect"
    SECURITY_NEGOTIATION = "security negotiation"
    SECURITY = "security handshake"
    MUXER_NEGOTIATION = "muxer negotiation"


class Outcome(StrEnum):
    """How a stage or an attempt ended."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Stage:
    """One stage of one attempt; times are seconds since the dial began."""

    name: str
    """A `StageName`, or the name a transport or a service gave it."""
    started: float
    ended: float | None = None
    outcome: Outcome = Outcome.RUNNING
    expected: str | None = None
    found: str | None = None
    error: str | None = None
    limit: str | None = None
    """Which limit refused, and whose it was."""
    advice: str | None = None
    """What the user can do next."""

    def to_json(self) -> dict[str, Any]:
        """Return the stage as plain JSON values, without those not known."""
        values = {
            "stage": str(self.name),
            "outcome": str(self.outcome),
            "started_ms": round(self.started * 1000, 3),
            "ended_ms": None if self.ended is None else round(self.ended * 1000, 3),
            "expected": self.expected,
            "found": self.found,
            "error": self.error,
            "limit": self.limit,
            "advice": self.advice,
        }
        return {key: value for key, value in values.items() if value is not None}


@dataclass(slots=True)
class Attempt:
    """What happened at one address."""

    address: str
    epoch: float
    stages: list[Stage] = field(default_factory=list)
    outcome: Outcome = Outcome.RUNNING
    engine: str | None = None
    """What carries the connection, where there are several engines for its protocol, as for QUIC."""

    @contextmanager
    def stage(self, name: str, *, expected: str | None = None) -> Iterator[Stage]:
        """Record the times of a block as a stage, and how it ended."""
        stage = Stage(name, trio.current_time() - self.epoch, expected=expected)
        self.stages.append(stage)
        try:
            yield stage
        except BaseException as error:
            failure = failure_of(error)
            if failure is not None:
                self.fail_stage(stage, failure)
            else:
                stage.outcome = Outcome.CANCELLED
            self.outcome = stage.outcome
            raise
        else:
            stage.outcome = Outcome.OK
        finally:
            stage.ended = trio.current_time() - self.epoch

    def fail(self, name: str, error: Exception) -> None:
        """Record a stage that failed before it could begin, such as a limit of ours that refused it."""
        now = trio.current_time() - self.epoch
        stage = Stage(name, now, now)
        self.fail_stage(stage, error)
        self.stages.append(stage)
        self.outcome = Outcome.FAILED

    def fail_stage(self, stage: Stage, error: Exception) -> None:
        """Record that a stage failed, why, and what to do about it."""
        stage.outcome = Outcome.FAILED
        if not is_expected(error):
            stage.error = f"a bug: {type(error).__name__}: {error}"
            stage.advice = "report it to the author of the transport or plug-in, or to us: the log has the traceback"
            return
        stage.error = describe(error)
        stage.advice = stage.advice or _advice(stage.name, error, self.address)
        match error:
            case LimitExceeded():
                stage.limit = f"ours: {error.limit} {error.resource} in scope {error.scope}"
            case Refused():
                stage.limit = "ours: the connection gater"
            case OSError(errno=number) if number in _OUT_OF_FILES:
                stage.limit = "ours: open files, set by the operating system"
            case PeerIdMismatch():
                stage.expected, stage.found = str(error.expected), str(error.actual)

    @property
    def failure(self) -> Stage | None:
        """Return the stage that failed or was cut off, if one was."""
        bad = (Outcome.FAILED, Outcome.CANCELLED)
        return next((stage for stage in self.stages if stage.outcome in bad), None)

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as plain JSON values."""
        return {
            "address": self.address,
            "outcome": str(self.outcome),
            **({} if self.engine is None else {"engine": self.engine}),
            "stages": [stage.to_json() for stage in self.stages],
        }


@dataclass(slots=True)
class DialReport:
    """Everything that happened while dialing one peer."""

    peer: str | None
    epoch: float = field(default_factory=trio.current_time)
    routings: list[Attempt] = field(default_factory=list)
    """One for each router that was asked for addresses of the peer."""
    resolutions: list[Attempt] = field(default_factory=list)
    """One for each name that had to be resolved."""
    attempts: list[Attempt] = field(default_factory=list)
    """One for each address dialed, in the order in which they were started."""
    notes: list[str] = field(default_factory=list)
    """What was left out and why: addresses filtered, capped, or refused by the gater."""

    def attempt(self, address: object) -> Attempt:
        """Add and return the record of a new attempt."""
        attempt = Attempt(str(address), self.epoch)
        self.attempts.append(attempt)
        return attempt

    def routing(self, name: str) -> Attempt:
        """Add and return the record of asking a router."""
        attempt = Attempt(f"router {name}", self.epoch)
        self.routings.append(attempt)
        return attempt

    def resolution(self, address: object) -> Attempt:
        """Add and return the record of resolving a name."""
        attempt = Attempt(str(address), self.epoch)
        self.resolutions.append(attempt)
        return attempt

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values; the documented contract of `peerstack explain --json`."""
        return {
            "peer": self.peer,
            "routings": [attempt.to_json() for attempt in self.routings],
            "resolutions": [attempt.to_json() for attempt in self.resolutions],
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """Return one line: the most informative failure, with what to do next."""
        told = self.telling
        if told is None:
            asked = ", ".join(attempt.address for attempt in self.routings)
            nothing = f"no address of it is known{f' or found by {asked}' if asked else ''}"
            return "; ".join(self.notes) or nothing
        attempt, stage = told
        line = f"{attempt.address}: {stage.name}: {stage.error or stage.outcome}"
        others = sum(other is not attempt for other in self.attempts)
        return line + (f" (and {others} more address{'es' * (others > 1)} tried)" if others else "")

    @property
    def telling(self) -> tuple[Attempt, Stage] | None:
        """The attempt that came furthest, which says most about the peer, and how it failed; None if none did."""
        failures = [(attempt, attempt.failure) for attempt in (*self.attempts, *self.resolutions, *self.routings)]
        told = [(attempt, stage) for attempt, stage in failures if stage is not None]
        return max(told, key=lambda item: (item[1].outcome == Outcome.FAILED, len(item[0].stages)), default=None)

    def error(self) -> DialError:
        """Build the error that carries this report."""
        whom = f"peer {self.peer}" if self.peer else "the address"
        return DialError(f"could not dial {whom}: {self.summary()}", self)


def _advice(name: str, error: Exception, address: str) -> str | None:
    match error:
        case LimitExceeded():
            return "raise the limit in Limits(...), or close connections that are not needed"
        case Refused():
            return "change the gater this host was opened with, if the peer should be reached"
        case SameIdentity():
            return "if it is another host, give each one a key of its own; if it is this one, dial another address"
        case LocalProtocolError():
            return "check the address: the peer did nothing wrong"
        case PeerIdMismatch():
            return "check the /p2p/ part of the address: the peer there has changed its key, or is another peer"
        case ForeignProtocol(speaks=str(what)) if what in _FOREIGN_ADVICE:
            return _FOREIGN_ADVICE[what]
        case OSError(errno=number) if number in _OUT_OF_FILES:
            return "raise the limit (ulimit -n), or close connections that are not needed"
        case NegotiationError() if name == StageName.SECURITY_NEGOTIATION:
            return "both sides need a security protocol in common, such as noise"
    return (_connect_advice(error, address) if name == StageName.CONNECT else None) or _stage_advice(name, error)


def _stage_advice(name: str, error: Exception) -> str | None:
    if isinstance(error, trio.TooSlowError) and name in _SILENCE_ADVICE:
        return _SILENCE_ADVICE[name]
    return _STAGE_ADVICE.get(name)


def _connect_advice(error: Exception, address: str) -> str | None:
    hint, names = _of_address(address)
    if hint is not None:
        return hint
    match error:
        case ConnectionRefusedError():
            return "nothing listens there: is the peer running, and is the address right?"
        case PermissionError() if "unix" in names:
            return "the mode of the socket file decides who may connect"
        case PermissionError():
            return "is it the address of all hosts of a network (broadcast)? Else a firewall on this machine forbids it"
        case OSError():
            return "check the address and the route to it"
        case RemoteProtocolError() | ConnectionLost() if names & _WEBSOCKET:
            return _NO_WEBSOCKET
        case trio.TooSlowError() if names & _WEBSOCKET:
            return "the host is down, a firewall drops the packets, or what is there is no WebSocket server"
    return None


def _of_address(address: str) -> tuple[str | None, set[str]]:
    """Return what may be wrong with the address itself, and the protocols in it."""
    try:
        parsed = parse_address(address)
    except InvalidAddress:  # an application's transport may have its own kind of address
        return None, set()
    return dial_hint(parsed), {name for name, _ in components(parsed)}


_OUT_OF_FILES = (EMFILE, ENFILE)

_WEBSOCKET = frozenset({"ws", "wss"})
_NO_WEBSOCKET = (
    "is it a WebSocket server? A plain TCP port is dialed without /ws, and one in a private network needs its key"
)

_FOREIGN_ADVICE = {
    "an HTTP server": "it is the port of a web server; libp2p inside it is WebSocket, whose address ends in /ws",
    "TLS": "it speaks TLS at once, which libp2p does for secure WebSocket only: its address ends in /tls/ws",
    "SSH": "it is the port of an SSH server, not of libp2p",
}
"""What to do where another protocol is spoken, by its name."""

_STAGE_ADVICE: dict[str, str] = {
    StageName.ROUTING: "the router failed, not the peer; connect to an address of the peer, if one is known",
    StageName.RESOLVE: "check the name, and that DNS works from here",
    StageName.CONNECT: "check the address; another address of the peer may help",
    StageName.SECURITY_NEGOTIATION: "is it a libp2p port? Is the peer full, or in a private network?",
    StageName.SECURITY: "the peer gave up or broke the handshake: its own log says why",
    StageName.MUXER_NEGOTIATION: "both sides need a stream muxer in common, such as yamux",
}

_SILENCE_ADVICE: dict[str, str] = {
    StageName.CONNECT: "no answer at all: a firewall may drop the packets, or the host is down",
    StageName.SECURITY_NEGOTIATION: "the port accepts but stays silent: is it a libp2p port?",
    StageName.SECURITY: "the peer fell silent half-way: it may be overloaded, or the way to it loses packets",
    StageName.MUXER_NEGOTIATION: "the peer fell silent half-way: it may be overloaded, or the way to it loses packets",
}
