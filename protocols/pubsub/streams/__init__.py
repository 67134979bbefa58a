"""The streams to and from peers: queues, pacing, reopening, and dialing suggested peers."""
