"""What every wire format shares: unsigned varints and length-prefixed messages."""
