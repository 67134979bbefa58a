"""What becomes of messages is counted, and the gater hears all of it."""

from collections.abc import Iterable
from random import Random
from typing import ClassVar

import pytest

from peerstack.protocols.pubsub.router import router as core_module
from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.scoring.gater import GaterConfig, PeerGater
from peerstack.protocols.pubsub.validation.outcomes import RejectReason
from peerstack.stack.identity import PeerId

from .routers import Lone, message, peer_id


class Recorder(PeerGater):
    """A gater that only writes down what it hears."""

    names: ClassVar = {peer_id(index): index for index in range(5)}

    def __init__(self, config: GaterConfig, random: Random, now: float) -> None:
        super().__init__(config, random, now)
        self.heard: list[tuple[str, int | None]] = []

    def add_peer(self, peer: PeerId, ips: Iterable[str], now: float) -> None:
        self.heard.append(("add", self.names[peer]))

    def remove_peer(self, peer: PeerId, now: float) -> None:
        self.heard.append(("remove", self.names[peer]))

    def validate(self) -> None:
        self.heard.append(("validate", None))

    def throttle(self, now: float) -> None:
        self.heard.append(("throttle", None))

    def deliver(self, peer: PeerId, topic: str) -> None:
        self.heard.append(("deliver", self.names[peer]))

    def duplicate(self, peer: PeerId) -> None:
        self.heard.append(("duplicate", self.names[peer]))

    def ignore(self, peer: PeerId) -> None:
        self.heard.append(("ignore", self.names[peer]))

    def reject(self, peer: PeerId) -> None:
        self.heard.append(("reject", self.names[peer]))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Lone:
    monkeypatch.setattr(core_module, "PeerGater", Recorder)
    lone = Lone(GossipConfig(max_validating=1), peers=2, gater=GaterConfig())
    heard(lone)
    return lone


def heard(lone: Lone) -> list[tuple[str, int | None]]:
    gater = lone.core._gater
    assert isinstance(gater, Recorder)
    found, gater.heard = gater.heard, []
    return found


def test_the_gater_hears_of_deliveries_and_duplicates(recorded: Lone) -> None:
    (fresh,) = recorded.says(1, message(1))
    recorded.says(2, message(1))
    recorded.accept(fresh)
    recorded.says(2, message(1))
    assert heard(recorded) == [("validate", None), ("duplicate", 2), ("deliver", 1), ("duplicate", 2)]


def test_the_gater_hears_of_everyone_who_sent_what_is_rejected(recorded: Lone) -> None:
    for number, reason in enumerate((RejectReason.VALIDATION_FAILED, RejectReason.INVALID_SIGNATURE)):
        (fresh,) = recorded.says(1, message(number))
        recorded.says(2, message(number))
        heard(recorded)
        recorded.core.reject(fresh, reason, recorded.now)
        assert heard(recorded) == [("reject", 1), ("reject", 2)]


def test_the_gater_counts_ignored_and_throttled_messages(recorded: Lone) -> None:
    (fresh,) = recorded.says(1, message(1))
    recorded.says(2, message(2))
    recorded.core.ignore(fresh, RejectReason.VALIDATION_IGNORED, recorded.now)
    (fresh,) = recorded.says(1, message(3))
    recorded.core.ignore(fresh, RejectReason.VALIDATION_THROTTLED, recorded.now)
    assert [what for what, _ in heard(recorded)] == ["validate", "throttle", "ignore", "validate", "throttle"]


def test_the_gater_hears_of_peers(recorded: Lone) -> None:
    recorded.add(3)
    recorded.remove(3)
    assert heard(recorded) == [("add", 3), ("remove", 3)]


def test_everything_is_counted() -> None:
    lone = Lone(peers=4, score=ScoreConfig())
    valid, invalid, dull = lone.says(1, message(1), message(2), message(3))
    lone.says(2, message(1), message(9, author=0), message(10, topic="other"))
    lone.accept(valid)
    lone.core.reject(invalid, RejectReason.VALIDATION_FAILED, lone.now)
    lone.core.ignore(dull, RejectReason.VALIDATION_IGNORED, lone.now)
    lone.publish(message(4))
    lone.says(4, ihave={"t": [b"new"]})
    lone.beat(6)
    counts = {name: count for name, count in lone.core.counts().items() if count}
    assert counts == {
        "received": 6,
        "duplicates": 1,
        "accepted": 1,
        "rejected": 1,
        "ignored": 1,
        "published": 1,
        "forwarded": 2 + 4,
        "not_subscribed": 1,
        "self_origin": 1,
        "broken_promises": 1,
    }


def test_an_ignored_message_leaves_nothing_in_the_score() -> None:
    lone = Lone(peers=2, score=ScoreConfig())
    (fresh,) = lone.says(1, message(1))
    lone.core.ignore(fresh, RejectReason.VALIDATION_IGNORED, lone.now)
    scores = lone.core._thresholds.scores
    assert scores is not None
    assert scores.deliveries == 0
