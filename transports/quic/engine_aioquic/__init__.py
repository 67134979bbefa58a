"""The engine made of aioquic; no code outside this folder knows aioquic, and none in it does I/O."""

from .engine import AioquicEngine

__all__ = ["AioquicEngine"]
