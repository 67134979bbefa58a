"""The script of a gossipsub experiment: reads `params.json` into instructions, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from interop.official.settings import Unsupported
from peerstack.protocols.pubsub import GossipConfig

ID_BYTES = 8
LARGEST = 10 << 20
"""Bytes of a message, as in the program for go-libp2p."""
_NANOSECOND = 1e-9
_DEPTH = 8
"""Of conditions within conditions."""

_COUNTS = {
    "D": "degree",
    "Dlo": "degree_low",
    "Dhi": "degree_high",
    "Dscore": "degree_score",
    "Dout": "degree_out",
    "Dlazy": "degree_lazy",
    "HistoryLength": "history_length",
    "HistoryGossip": "history_gossip",
    "GossipRetransmission": "gossip_retransmission",
    "PrunePeers": "prune_peers",
    "OpportunisticGraftTicks": "opportunistic_graft_ticks",
    "OpportunisticGraftPeers": "opportunistic_graft_peers",
    "MaxIHaveLength": "max_ihave_ids",
    "MaxIHaveMessages": "max_ihave_messages",
    "MaxIDontWantMessages": "max_idontwant_messages",
    "IDontWantMessageThreshold": "idontwant_threshold",
    "IDontWantMessageTTL": "idontwant_ttl",
}
_TIMES = {
    "HeartbeatInitialDelay": "heartbeat_initial_delay",
    "HeartbeatInterval": "heartbeat_interval",
    "FanoutTTL": "fanout_ttl",
    "PruneBackoff": "prune_backoff",
    "UnsubscribeBackoff": "unsubscribe_backoff",
    "GraftFloodThreshold": "graft_flood_threshold",
    "IWantFollowupTime": "iwant_followup",
}
"""Nanoseconds in the script, seconds here."""
_WITHOUT_COUNTERPART = {
    "SlowHeartbeatWarning",
    "Connectors",
    "MaxPendingConnections",
    "ConnectionTimeout",
    "DirectConnectTicks",
    "DirectConnectInitialDelay",
    "MaxIDontWantLength",
}
"""Settings of go-libp2p-pubsub that change nothing of what an experiment measures."""


@dataclass(frozen=True)
class InitGossipSub:
    """Begin to speak gossipsub."""

    config: GossipConfig


@dataclass(frozen=True)
class Connect:
    """Dial nodes, one after the other."""

    nodes: tuple[int, ...]


@dataclass(frozen=True)
class IfNodeIdEquals:
    """Do something on one node only."""

    node: int
    instruction: Instruction


@dataclass(frozen=True)
class WaitUntil:
    """Go on when so many seconds have gone by since the program's start."""

    seconds: float


@dataclass(frozen=True)
class Publish:
    """Publish a message that begins with its number."""

    data: bytes
    topic: str


@dataclass(frozen=True)
class Subscribe:
    """Subscribe to a topic."""

    topic: str


@dataclass(frozen=True)
class SetValidationDelay:
    """Let the validation of a topic's messages take so many seconds."""

    topic: str
    seconds: float


Instruction: TypeAlias = InitGossipSub | Connect | IfNodeIdEquals | WaitUntil | Publish | Subscribe | SetValidationDelay


def load(path: Path) -> list[Instruction]:
    """Read a script. Raises Unsupported for what this program does not do, OSError or ValueError for no script."""
    params = json.loads(path.read_text())
    if not isinstance(params, dict) or not isinstance(params.get("script"), list):
        raise ValueError(f"{path} has no list `script`")
    return [_instruction(fields, _DEPTH) for fields in params["script"]]


def _instruction(fields: Any, depth: int) -> Instruction:
    if not isinstance(fields, dict):
        raise ValueError(f"an instruction is an object, not {fields!r}")
    if not depth:
        raise ValueError(f"more than {_DEPTH} instructions within one another")
    if (kind := fields.get("type")) == "ifNodeIDEquals":
        node = _count(fields.get("nodeID"), "nodeID")
        return IfNodeIdEquals(node, _instruction(fields.get("instruction"), depth - 1))
    if kind in ("addPartialMessage", "publishPartial"):
        raise Unsupported(f"{kind}: this program has no partial messages")
    if not isinstance(kind, str) or kind not in _READERS:
        raise Unsupported(f"unknown instruction {kind!r}")
    return _READERS[kind](fields)


def _init(fields: Mapping[str, Any]) -> Instruction:
    params = fields.get("gossipSubParams")
    if not isinstance(params, dict):
        raise ValueError(f"gossipSubParams is {params!r}, no object")
    return InitGossipSub(gossip_config(params))


def _connect(fields: Mapping[str, Any]) -> Instruction:
    nodes = fields.get("connectTo")
    if not isinstance(nodes, list):
        raise ValueError(f"connectTo is {nodes!r}, no list")
    return Connect(tuple(_count(node, "connectTo") for node in nodes))


def _wait(fields: Mapping[str, Any]) -> Instruction:
    return WaitUntil(_number(fields.get("elapsedSeconds"), "elapsedSeconds"))


def _subscribe(fields: Mapping[str, Any]) -> Instruction:
    if fields.get("partial"):
        raise Unsupported("subscribeToTopic with partial: this program has no partial messages")
    return Subscribe(_text(fields, "topicID"))


def _delay(fields: Mapping[str, Any]) -> Instruction:
    return SetValidationDelay(_text(fields, "topicID"), _number(fields.get("delaySeconds"), "delaySeconds"))


def _publish(fields: Mapping[str, Any]) -> Instruction:
    number, size = _count(fields.get("messageID"), "messageID"), _count(fields.get("messageSizeBytes"), "size")
    if number >= 1 << 64 or not ID_BYTES <= size <= LARGEST:
        raise ValueError(f"message {number} of {size} bytes: the number takes {ID_BYTES}, and {LARGEST} is the most")
    return Publish(number.to_bytes(ID_BYTES, "big") + bytes(size - ID_BYTES), _text(fields, "topicID"))


def gossip_config(params: Mapping[str, Any]) -> GossipConfig:
    """Return our settings for `GossipSubParams` of go-libp2p-pubsub; null means our default."""
    config: dict[str, Any] = {}
    for name, value in params.items():
        if value is None or name in _WITHOUT_COUNTERPART:
            continue
        if name in _COUNTS:
            config[_COUNTS[name]] = _count(value, name)
        elif name in _TIMES:
            config[_TIMES[name]] = _number(value, name) * _NANOSECOND
        elif name == "GossipFactor":
            config["gossip_factor"] = _number(value, name)
        else:
            raise Unsupported(f"gossipSubParams has {name}, which this program does not know")
    return replace(GossipConfig(), **config)


def _text(fields: Mapping[str, Any], name: str) -> str:
    if not isinstance(value := fields.get(name), str) or not value:
        raise ValueError(f"{name} is {value!r}, no text")
    return value


def _count(value: Any, name: str) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is {value!r}, no number from 0")
    return value


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e18:
        raise ValueError(f"{name} is {value!r}, no number from 0")
    return float(value)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Instruction]] = {
    "initGossipSub": _init,
    "connect": _connect,
    "waitUntil": _wait,
    "publish": _publish,
    "subscribeToTopic": _subscribe,
    "setTopicValidationDelay": _delay,
}
