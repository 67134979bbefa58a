"""Dialing a peer: its addresses resolved, ranked, and raced."""
