"""Sizes, rates, times and system errors in text form."""

from __future__ import annotations

import re
from fractions import Fraction

MIB = 1024 * 1024
MAX_SIZE = (1 << 64) - 1  # bytes; what the perf protocol can ask for

_UNITS = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ?([a-z]{0,3})", re.ASCII)


def parse_size(text: str) -> int:
    """Return the bytes in a size such as 64MiB, 1GB or 500000; raises ValueError."""
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{text!r} is no size; write bytes (500000), or a unit such as 64MiB (1024²) or 1GB (1000³)")
    size = int(Fraction(found[1]) * _UNITS[found[2]])
    if size > MAX_SIZE:
        raise ValueError(f"{text!r} is more than any peer could move")
    return size


def size(count: int) -> str:
    """Return a number of bytes as text."""
    for unit, name in ((1024**3, "GiB"), (MIB, "MiB"), (1024, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{count} B"


def mib_s(count: int, seconds: float) -> float:
    """Return a rate in MiB per second, 0 where no time has passed yet."""
    return round(count / MIB / seconds, 2) if seconds > 0 else 0.0


def milliseconds(seconds: float) -> float:
    """Return a time in milliseconds, to the microsecond."""
    return round(seconds * 1000, 3)


def without_number(error: str) -> str:
    """Return the text of a system error without its number."""
    return re.sub(r"\[Errno -?[0-9]+\] ", "", error)
