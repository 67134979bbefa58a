"""Stream multiplexers."""
