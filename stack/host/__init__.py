"""The host: what applications work with."""

from .arguments import Target, parse_targets
from .events import EventHub, EventSubscription
from .host import Host, HostStatistics
from .peerstore import Peerstore, PeerstoreConfig, Ttl
from .reachability import Reachability
from .services import Service, open_service

__all__ = [
    "EventHub",
    "EventSubscription",
    "Host",
    "HostStatistics",
    "Peerstore",
    "PeerstoreConfig",
    "Reachability",
    "Service",
    "Target",
    "Ttl",
    "open_service",
    "parse_targets",
]
