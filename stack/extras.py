"""The parts of peerstack that need further libraries, its extras, and what installs them."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """Return what to type; from a clone, as no package index has peerstack."""
    return f"pip install '.[{extra}]' in a clone of peerstack"
