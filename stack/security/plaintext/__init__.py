"""Plaintext (`/plaintext/2.0.0`): no security at all, for tests and for looking at the wire; never on by default."""

from .plaintext import InsecurePlaintext, PlainChannel
from .wire import PROTOCOL_ID

__all__ = ["PROTOCOL_ID", "InsecurePlaintext", "PlainChannel"]
