"""The `peerstack` command."""
