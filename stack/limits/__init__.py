"""Limits on what peers may use: the numbers, the scopes that count, rates, and budgets of memory."""

from .config import Limits
from .memory import GrowsWindows, MemoryAccount, WindowBudget
from .scope import RateLimiter, Reservation, Resource, Scope
from .scopes import (
    PRIVATE_NETWORKS,
    ConnectionScope,
    Scopes,
    format_ip_key,
    ip_key,
    is_private,
    network_key,
    site_key,
)

__all__ = [
    "PRIVATE_NETWORKS",
    "ConnectionScope",
    "GrowsWindows",
    "Limits",
    "MemoryAccount",
    "RateLimiter",
    "Reservation",
    "Resource",
    "Scope",
    "Scopes",
    "WindowBudget",
    "format_ip_key",
    "ip_key",
    "is_private",
    "network_key",
    "site_key",
]
