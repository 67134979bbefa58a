"""A modular peer-to-peer networking stack for Python on trio, byte-compatible with libp2p."""

from peerstack._open import open_host

__all__ = ["open_host"]
