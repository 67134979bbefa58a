"""The numbers and texts that the contracts want on standard output."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

OUTLIER_REACH = 1.5
"""Interquartile ranges beyond the quartiles from where a sample is an outlier."""


@dataclass(frozen=True)
class Box:
    """What a box plot shows of samples; `low` and `high` are the ends of the whiskers, without the outliers."""

    low: float
    q1: float
    median: float
    q3: float
    high: float
    outliers: tuple[float, ...]
    samples: tuple[float, ...]

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self:
        """Sum up samples, at least one; quartiles are interpolated linearly between the sorted samples."""
        ordered = sorted(samples)
        if not ordered:
            raise ValueError("no samples")
        q1, middle, q3 = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
        reach = OUTLIER_REACH * (q3 - q1)
        inside = [value for value in ordered if q1 - reach <= value <= q3 + reach]
        outliers = tuple(value for value in ordered if not q1 - reach <= value <= q3 + reach)
        return cls(inside[0], q1, middle, q3, inside[-1], outliers, tuple(samples))


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = ordered[int(place)]
    # Between two samples; where they are equal, exactly that: rounding must not make outliers of equal samples.
    return low + (ordered[math.ceil(place)] - low) * (place - int(place))


def perf_yaml(name: str, box: Box, *, unit: str, digits: int) -> str:
    """Return one of the blocks `upload:`, `download:` and `latency:` of the perf contract."""

    def number(value: float) -> str:
        return f"{value:.{digits}f}"

    def numbers(values: Sequence[float]) -> str:
        return f"[{', '.join(map(number, values))}]"

    return (
        f"{name}:\n"
        f"  iterations: {len(box.samples)}\n"
        f"  min: {number(box.low)}\n"
        f"  q1: {number(box.q1)}\n"
        f"  median: {number(box.median)}\n"
        f"  q3: {number(box.q3)}\n"
        f"  max: {number(box.high)}\n"
        f"  outliers: {numbers(box.outliers)}\n"
        f"  samples: {numbers(box.samples)}\n"
        f"  unit: {unit}\n"
    )


def ping_yaml(handshake_plus_one_rtt: float, ping_rtt: float) -> str:
    """Return the block of the transport contract; both times are seconds."""
    return (
        "latency:\n"
        f"  handshake_plus_one_rtt: {handshake_plus_one_rtt * 1000:.3f}\n"
        f"  ping_rtt: {ping_rtt * 1000:.3f}\n"
        "  unit: ms\n"
    )


def ping_json(handshake_plus_one_rtt: float, ping_rtt: float) -> str:
    """Return the line of the older transport contract, whose second key has three l's; both times are seconds."""
    times = {
        "handshakePlusOneRTTMillis": round(handshake_plus_one_rtt * 1000, 3),
        "pingRTTMilllis": round(ping_rtt * 1000, 3),
    }
    return json.dumps(times) + "\n"
