"""The host: what applications work with."""

from .events import EventHub, EventSubscription
from .host import Host, HostStatistics, Target, parse_targets
from .peerstore import Peerstore, PeerstoreConfig, Ttl
from .reachability import Reachability

__all__ = [
    "EventHub",
    "EventSubscription",
    "Host",
    "HostStatistics",
    "Peerstore",
    "PeerstoreConfig",
    "Reachability",
    "Target",
    "Ttl",
    "parse_targets",
]
