"""The gossipsub router, without I/O: meshes, fanouts, gossip, and what it knows of its peers."""
