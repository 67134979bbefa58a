"""Ping: is the peer alive, and how far away is it (`/ipfs/ping/1.0.0`)."""

from .ping import PROTOCOL, SIZE, PingConfig, Pings, ping, pings, serve

__all__ = ["PROTOCOL", "SIZE", "PingConfig", "Pings", "ping", "pings", "serve"]
