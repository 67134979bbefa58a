"""Peer scores (gossipsub v1.1, P1 to P7), their thresholds, and the gater."""
