"""What carries connections; transports do not know one another."""
