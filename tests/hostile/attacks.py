"""All attacks there are, entered by the modules of each layer."""

from . import channel_attacks, socket_attacks, stream_attacks
from .peers import ATTACKS, Attack, Cost

__all__ = ["ATTACKS", "Attack", "Cost", "channel_attacks", "socket_attacks", "stream_attacks"]
