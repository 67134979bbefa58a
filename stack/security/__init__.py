"""Security protocols: who is there, and nobody else listens."""
