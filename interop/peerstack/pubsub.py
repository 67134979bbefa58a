"""The publish/subscribe options of the contract, and the settings of peerstack that they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from peerstack.protocols.pubsub import (
    GossipConfig,
    PubsubConfig,
    QueueConfig,
    ScoreConfig,
    SignaturePolicy,
    sha256_of_data,
)

ROUTERS: Final = ("gossipsub", "floodsub")
SCORES: Final[Mapping[str, ScoreConfig | None]] = {"none": None, "default": PubsubConfig().score}
SIGNATURES: Final = {"strict": SignaturePolicy.STRICT_SIGN, "none": SignaturePolicy.STRICT_NO_SIGN}
BURST: Final = 100_000
"""Messages that may wait in a queue; the contract wants room for 20 000."""
BURST_BYTES: Final = 1 << 30
LARGEST: Final = 16 << 20
"""Bytes of a message, and half of those of an RPC. Others answer an IWANT by one RPC, however much was asked for."""


class UnsupportedOption(Exception):
    """An option that cannot be had; `what` it is and the `reason`."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a parser know the options."""
    parser.add_argument("--pubsub", default=None)
    parser.add_argument("--pubsub-sign", default="strict")
    parser.add_argument("--pubsub-backoff", type=float, default=None)
    parser.add_argument("--pubsub-queues", choices=("long", "stock"), default="long")
    parser.add_argument("--pubsub-degree", type=int, default=None)
    parser.add_argument("--pubsub-score", default="none")
    parser.add_argument("--pubsub-pacing", choices=("none", "default"), default="none")


def config(options: argparse.Namespace) -> PubsubConfig | None:
    """Return the settings that the options ask for, None where they leave pubsub off. Raises UnsupportedOption."""
    if options.pubsub is None:
        return None
    if options.pubsub not in ROUTERS:
        raise UnsupportedOption(f"pubsub {options.pubsub}", "this peer has gossipsub and floodsub")
    if options.pubsub_sign not in SIGNATURES:
        raise UnsupportedOption(f"pubsub-sign {options.pubsub_sign}", "this peer has strict and none")
    if options.pubsub_score not in SCORES:
        raise UnsupportedOption(f"pubsub-score {options.pubsub_score}", "this peer has none and default")
    try:
        gossip = _gossip(options.pubsub == "floodsub", options.pubsub_degree, options.pubsub_backoff)
    except ValueError as error:
        raise UnsupportedOption("pubsub-backoff or pubsub-degree", str(error)) from error
    return PubsubConfig(
        signatures=SIGNATURES[options.pubsub_sign],
        message_id=sha256_of_data,
        gossip=gossip,
        score=SCORES[options.pubsub_score],
        queues=QueueConfig()
        if options.pubsub_queues == "stock"
        else QueueConfig(max_messages=BURST, max_bytes=BURST_BYTES),
        # The contract wants long queues of all peers, unless it says otherwise.
        pacing=PubsubConfig().pacing if options.pubsub_pacing == "default" else None,
        max_message=LARGEST,
        max_rpc=2 * LARGEST,
    )


def _gossip(floodsub_only: bool, degree: int | None, backoff: float | None) -> GossipConfig:
    config = GossipConfig(floodsub_only=floodsub_only)
    if degree is not None:
        score = min(degree, config.degree_score)
        config = replace(config, degree=degree, degree_low=degree, degree_high=degree, degree_score=score, degree_out=0)
    if backoff is not None:
        config = replace(config, prune_backoff=backoff, unsubscribe_backoff=backoff)
    return config
