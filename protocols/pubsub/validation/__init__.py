"""What happens to messages that come in: signatures, message ids, validators, outcomes."""
