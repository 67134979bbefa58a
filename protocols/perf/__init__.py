"""Perf: how fast bytes move between two peers (`/perf/1.0.0`). Served only where it is switched on."""

from .perf import MAX_STREAMS_PER_PEER, PROTOCOL, PerfConfig, PerfResult, measure, serve

__all__ = ["MAX_STREAMS_PER_PEER", "PROTOCOL", "PerfConfig", "PerfResult", "measure", "serve"]
