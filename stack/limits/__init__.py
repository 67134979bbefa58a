"""Limits: how much work the world may cause, as numbers, counting scopes, rates and a memory budget."""

from .budget import GrowsWindows, WindowBudget
from .config import Limits
from .ip import format_ip_key, ip_key, network_key, site_key
from .rate import RateLimiter
from .scope import Reservation, Resource, Scope
from .scopes import ConnectionScope, Scopes

__all__ = [
    "ConnectionScope",
    "GrowsWindows",
    "Limits",
    "RateLimiter",
    "Reservation",
    "Resource",
    "Scope",
    "Scopes",
    "WindowBudget",
    "format_ip_key",
    "ip_key",
    "network_key",
    "site_key",
]
