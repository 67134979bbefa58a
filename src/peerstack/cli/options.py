"""Options and arguments that several commands share, and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from cyclopts import Parameter, Token

from .units import parse_size
from .units import size as written_size

MAX_SECONDS = 86_400.0

Json: TypeAlias = Annotated[bool, Parameter(help="Print one JSON object per line, for programs.", show_default=False)]
Address: TypeAlias = Annotated[
    str, Parameter(help="Address of the peer, such as /ip4/127.0.0.1/tcp/4001; with /p2p/ID it must prove that id.")
]


def _convert_size(_: Any, tokens: Sequence[Token]) -> int:
    return parse_size(tokens[0].value)


def _check_seconds(_: Any, value: float) -> None:
    # Written so that nan fails, too.
    if not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"Give seconds from 0 to {MAX_SECONDS:.0f}")


def size_option(text: str) -> Parameter:
    """Return the settings of an option that takes a size."""
    return Parameter(help=text, converter=_convert_size, n_tokens=1, metavar="SIZE", show_default=written_size)


def seconds_option(text: str) -> Parameter:
    """Return the settings of an option that takes seconds."""
    return Parameter(help=text, validator=_check_seconds, metavar="SECONDS")


# ---- how a host is secured and who it is

Ca: TypeAlias = Annotated[
    Path | None,
    Parameter(
        name=["--ca", "--cacert"],
        help="Trust the certificates of this PEM file for /tls/ws and /wss, instead of the system's.",
        metavar="FILE",
        show_default=False,
    ),
]
Cert: TypeAlias = Annotated[
    Path | None,
    Parameter(help="Use this certificate and chain for /tls/ws and /wss; PEM.", metavar="FILE", show_default=False),
]
CertKey: TypeAlias = Annotated[
    Path | None,
    Parameter(help="The private key of --cert, if it is not in the same file.", metavar="FILE", show_default=False),
]
KeyFile: TypeAlias = Annotated[
    Path | None,
    Parameter(help="Use the identity in this key file; see `peerstack id new`.", metavar="FILE", show_default=False),
]
Verbose: TypeAlias = Annotated[
    int,
    Parameter(
        name=["--verbose", "-v"],
        help="Log events on stderr; -vv logs more.",
        count=True,
        show_default=False,
    ),
]
Announce: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        help="Announce this address too, such as that of a port forward; may be repeated.",
        metavar="ADDRESS",
        show_default=False,
    ),
]
SwarmKey: TypeAlias = Annotated[
    Path | None,
    Parameter(
        help="Join the private network with this key; see `peerstack swarm-key`.", metavar="FILE", show_default=False
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class HostOptions:
    """Options of every command that opens a host; the classes below add those for dialing and listening."""

    identity: KeyFile = None
    swarm_key: SwarmKey = None
    verbose: Verbose = 0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DialOptions(HostOptions):
    """Options of commands that dial."""

    ca: Ca = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ListenOptions(HostOptions):
    """Options of commands that listen."""

    announce: Announce = ()
    cert: Cert = None
    cert_key: CertKey = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NodeOptions(DialOptions, ListenOptions):
    """Options of commands that listen and dial."""


DIAL = DialOptions()
LISTEN = ListenOptions()
NODE = NodeOptions()
"""The defaults."""
