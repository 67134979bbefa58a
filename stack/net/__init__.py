"""Sockets and the byte streams on them."""
