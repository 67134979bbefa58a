"""The layered core of peerstack: identity, negotiation, security, muxing, swarm, host."""
