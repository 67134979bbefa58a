"""Security protocols: they authenticate the peer and encrypt the connection."""
