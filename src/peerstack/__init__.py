"""A modular peer-to-peer networking stack for Python on trio, byte-compatible with libp2p."""
