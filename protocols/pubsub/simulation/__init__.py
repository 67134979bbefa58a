"""Whole publish/subscribe networks in one process: real routers and real RPC bytes over simulated links.

What lies below a router in a real node (streams, multiplexing, encryption) and beside it (signatures, queues) is left
out. The same scenario with the same seed gives the same run, in any process.
"""

from .results import Census, Lateness, Published, Results, Traffic
from .scenario import Attack, Protocol, Scenario, score_config
from .simulation import Simulation

__all__ = [
    "Attack",
    "Census",
    "Lateness",
    "Protocol",
    "Published",
    "Results",
    "Scenario",
    "Traffic",
    "Simulation",
    "score_config",
]
