"""Decode RPCs, counting while reading: no object beyond the limits is ever made."""

from __future__ import annotations

from dataclasses import dataclass

from .shapes import Rpc


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """How much of one RPC is taken in. Entries beyond a limit are skipped and counted in `Rpc.ignored`."""

    max_topic: int = 1024
    """Bytes of a topic's name."""
    max_messages: int = 8192
    """Messages; more are an error, since an empty one costs its sender two bytes."""
    max_subscriptions: int = 1024
    max_ids: int = 5000
    """Ids of IHAVE, of IWANT and of IDONTWANT each, over all their entries (go-libp2p-pubsub reads 5000)."""


DEFAULT_LIMITS = RpcLimits()


def decode_rpc(data: bytes, limits: RpcLimits = DEFAULT_LIMITS) -> Rpc:
    """Return the RPC in the frame `data`; RemoteProtocolError if it is malformed or has too many messages."""
    raise NotImplementedError
