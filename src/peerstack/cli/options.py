"""Options and arguments that several commands share, and the checks of what people type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from cyclopts import Parameter, Token

from .units import parse_size
from .units import size as written_size

MAX_SECONDS = 86_400.0

Json: TypeAlias = Annotated[bool, Parameter(help="Print one JSON object a line, for programs.", show_default=False)]
Address: TypeAlias = Annotated[
    str, Parameter(help="Where the peer is, such as /ip4/127.0.0.1/tcp/4001; with /p2p/ID it must prove that id.")
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
