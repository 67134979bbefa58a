"""The swarm: listeners, dials and connections."""

from .config import SwarmConfig
from .connections import Connection, ConnectionTable
from .observed import ObservedAddresses
from .swarm import Swarm, SwarmStatistics
from .trim import TrimConfig, Trimmer
from .upgrade import HostUpgrader, UpgradedTransport

__all__ = [
    "Connection",
    "ConnectionTable",
    "HostUpgrader",
    "ObservedAddresses",
    "Swarm",
    "SwarmConfig",
    "SwarmStatistics",
    "TrimConfig",
    "Trimmer",
    "UpgradedTransport",
]
