"""The host: what applications work with."""

from .host import EventHub, Host, HostStatistics, Target, parse_targets
from .peerstore import Peerstore, PeerstoreConfig, Ttl

__all__ = [
    "EventHub",
    "Host",
    "HostStatistics",
    "Peerstore",
    "PeerstoreConfig",
    "Target",
    "Ttl",
    "parse_targets",
]
