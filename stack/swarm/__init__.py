"""The swarm: who is connected, and how they came to be."""

from .config import SwarmConfig
from .connections import Connection, ConnectionTable
from .observed import ObservedAddresses
from .swarm import Swarm, SwarmStatistics
from .trim import TrimConfig, Trimmer
from .upgrade import UpgradedTransport

__all__ = [
    "Connection",
    "ConnectionTable",
    "ObservedAddresses",
    "Swarm",
    "SwarmConfig",
    "SwarmStatistics",
    "TrimConfig",
    "Trimmer",
    "UpgradedTransport",
]
