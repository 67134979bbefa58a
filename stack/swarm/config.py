"""Deadlines for work that a remote starts or can stall, and the dialing policy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SwarmConfig:
    """Settings of a swarm; all times in seconds."""

    connect_timeout: float = 5.0
    """For the transport to connect (go-libp2p: 5 s)."""
    negotiation_timeout: float = 5.0
    """For one multistream-select exchange: a port that accepts and stays silent is told by this."""
    handshake_timeout: float = 10.0
    """For the security handshake."""
    inbound_timeout: float = 15.0
    """For an arriving connection to be authenticated and muxed, all stages together (go-libp2p: 15 s)."""
    stream_timeout: float = 10.0
    """For an inbound stream to agree on a protocol (js-libp2p: 10 s); a slow-loris holds a task that long."""
    hook_timeout: float = 5.0
    """For the hooks that identify the peer of a new connection before `connect` returns without (go and js: 5 s)."""
    handler_grace: float = 1.0
    """For handlers, after their connection is gone, to finish with what they have received."""
    redundant_interval: float = 1.0
    """Between two looks at whether a connection that a better one made superfluous is idle."""
    probe_timeout: float = 5.0
    """For a connection in doubt to bring any sign of the peer; then it is closed, if a better one is alive."""
    routing_timeout: float = 30.0
    """For one router to search for a peer that is to be dialed."""
    redial_delay: float = 0.5
    """For the same, or four round trips, before the peer is dialed beside connections that are all in doubt."""
    dials_per_peer: int = 8
    """Addresses of one peer dialed at once (go-libp2p: 8)."""
    addresses_per_dial: int = 25
    """Addresses of one peer tried at all: the list of an untrusted peer must not become a scan (js-libp2p: 25)."""
    trim_interval: float = 10.0
    """Between two looks at whether connections should be trimmed."""
    raise_handler_errors: bool = False
    """For tests: let a bug in a handler, or in the serving of a connection, end the swarm instead of that alone."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, bool) and value <= 0:
                raise ValueError(f"{name} must be more than 0, not {value}")
