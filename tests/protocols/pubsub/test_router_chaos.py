"""Whatever peers say in whatever order, the router raises nothing and its books agree with each other."""

from random import Random
from typing import TypeVar

import pytest

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Version
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.scoring.gater import GaterConfig
from peerstack.protocols.pubsub.validation.outcomes import RejectReason
from peerstack.protocols.pubsub.wire import Extensions, Message, PeerInfo

from .routers import Lone, message, peer_id

T = TypeVar("T")
TOPICS = ["t", "u", "v"]
SMALL = GossipConfig(
    degree=3,
    degree_low=2,
    degree_high=5,
    degree_score=1,
    degree_out=1,
    max_validating=20,
    max_backoffs=5,
    cache_messages=15,
    seen_limit=64,
    max_topics_per_peer=3,
    max_dropped_ids=3,
    peer_exchange=True,
    opportunistic_graft_ticks=7,
)


class Chaos:
    """Does things at random."""

    def __init__(self, seed: int, config: GossipConfig) -> None:
        self.random = Random(seed)
        self.lone = Lone(config, score=ScoreConfig(), gater=GaterConfig(), direct=[1], seed=seed)
        self.here: list[int] = []
        self.unvalidated: list[Message] = []
        self._actions = [
            *[self.talk] * 20,
            *[self.validate] * 10,
            *[self.come] * 3,
            *[self.beat] * 3,
            self.go,
            self.join_or_leave,
            self.publish,
            self.drop,
        ]

    def step(self) -> None:
        """Do one thing."""
        self.random.choice(self._actions)()

    def come(self) -> None:
        index = self.random.randrange(1, 15)
        version = self.random.choice(list(Version))
        outbound = self.random.random() < 0.5
        self.lone.add(index, version, outbound=outbound, topics=self._some(TOPICS), ip="10.0.0.1")
        if index not in self.here:
            self.here.append(index)

    def go(self) -> None:
        if self.here:
            self.lone.remove(self.here.pop(self.random.randrange(len(self.here))))

    def talk(self) -> None:
        random = self.random
        if not self.here:
            return
        some_ids = [message(number, topic="t").id for number in range(random.randrange(5))] + [b"", b"x" * 100]
        suggested = [PeerInfo(peer_id(random.randrange(30)).to_bytes(), b"") for _ in range(random.randrange(3))]
        self.unvalidated += self.lone.says(
            random.choice(self.here),
            *[self._message() for _ in range(random.randrange(4))],
            subscribe=self._some([*TOPICS, "w", "x", ""]),
            unsubscribe=self._some(TOPICS, 0.1),
            ihave=dict.fromkeys(self._some([*TOPICS, "x"]), some_ids),
            iwant=self._some(some_ids),
            graft=self._some([*TOPICS, "x"], 0.3),
            prune=self._some([*TOPICS, "x"], 0.2),
            backoff=random.choice([None, 0, 1, 60, 2**31, 2**63, 2**64 - 1]),
            suggests=suggested,
            idontwant=self._some(some_ids),
            extensions=random.choice([None, None, None, Extensions()]),
        )

    def validate(self) -> None:
        if not self.unvalidated:
            return
        message = self.unvalidated.pop(self.random.randrange(len(self.unvalidated)))
        reason = self.random.choice(list(RejectReason))
        core, now = self.lone.core, self.lone.now
        match self.random.randrange(3):
            case 0:
                core.accept(message, now)
            case 1:
                core.reject(message, reason, now)
            case _:
                core.ignore(message, reason, now)

    def beat(self) -> None:
        self.lone.beat(self.random.randrange(1, 4))

    def publish(self) -> None:
        self.lone.publish(self._message())

    def drop(self) -> None:
        self.lone.core.dropped(self._message().id, peer_id(self.random.randrange(15)), self.lone.now)

    def join_or_leave(self) -> None:
        topic = self.random.choice(TOPICS)
        self.random.choice([self.lone.join, self.lone.leave])(topic)

    def _message(self) -> Message:
        random = self.random
        number, topic = random.randrange(200), random.choice([*TOPICS, "x"])
        return message(number, topic=topic, size=random.choice([1, 2000]), forged=random.random() < 0.3)

    def _some(self, things: list[T], chance: float = 0.4) -> list[T]:
        return [thing for thing in things if self.random.random() < chance]


def check(chaos: Chaos) -> None:
    """Check that the books agree."""
    core, state = chaos.lone.core, chaos.lone.core._state
    for peer_key, peer in state.peers.items():
        assert peer.id == peer_key
        assert len(peer.topics) <= chaos.lone.config.max_topics_per_peer
        assert all(peer in topic.subscribers for topic in peer.topics.values())
    for name, topic in state.topics.items():
        assert topic.name == name
        assert topic.subscribers or topic.mesh is not None or topic.fanout is not None
        assert (topic.mesh is not None) == (name in state.joined)
        assert (topic.fanout is not None) == (name in state.fanouts)
        assert all(state.peers[peer.id] is peer and name in peer.topics for peer in topic.subscribers)
        assert set(topic.always) == {peer for peer in topic.subscribers if not peer.mesh_capable}
        for chosen in (topic.mesh, topic.fanout):
            assert all(peer in topic.subscribers and peer.mesh_capable for peer in chosen or ())
    assert len(core._pending) == len(chaos.unvalidated) <= chaos.lone.config.max_validating
    assert len(core._cache) <= chaos.lone.config.cache_messages
    assert len(core._seen) <= chaos.lone.config.seen_limit
    assert len(core._mesh.backoffs) <= len(TOPICS) * chaos.lone.config.max_backoffs


@pytest.mark.parametrize("seed", range(20))
def test_the_books_agree_whatever_happens(seed: int) -> None:
    chaos = Chaos(seed, SMALL if seed % 2 else GossipConfig(flood_publish=False, max_topics_per_peer=4))
    for _ in range(300):
        chaos.step()
        check(chaos)
