"""The test kit: conformance suites, a simulated network, and pipes, channels and connections in memory."""

from ..memory import MemoryPipe, memory_pipe_pair
from ..security.plaintext import PlainChannel
from .channel_checks import check_channel
from .connections import ConnectionEnd, Side, connection_infos, muxed_pair, plain_channel_pair
from .datastore_checks import check_datastore
from .deterministic import run_deterministic, seed_scheduler, seeded_identity
from .link import LinkConditions, OnLoss
from .muxer_checks import check_muxer
from .native_checks import check_transport
from .network import SimulatedNetwork, SimulatedNode
from .observers import RecordingObserver
from .pipe_checks import check_pipe
from .routing import MemoryRouting
from .security_checks import check_security
from .trace import TraceEvent, TraceKind
from .transport_checks import check_stream_transport

__all__ = [
    "ConnectionEnd",
    "LinkConditions",
    "MemoryPipe",
    "MemoryRouting",
    "OnLoss",
    "PlainChannel",
    "RecordingObserver",
    "Side",
    "SimulatedNetwork",
    "SimulatedNode",
    "TraceEvent",
    "TraceKind",
    "check_channel",
    "check_datastore",
    "check_muxer",
    "check_pipe",
    "check_security",
    "check_stream_transport",
    "check_transport",
    "connection_infos",
    "memory_pipe_pair",
    "muxed_pair",
    "plain_channel_pair",
    "run_deterministic",
    "seed_scheduler",
    "seeded_identity",
]
