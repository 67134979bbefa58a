"""Extensions (v1.3) are heard in the first RPC of a stream, and are a breach of the protocol later."""

from peerstack.protocols.pubsub.router.events import Misbehaved, Version
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.wire import Extensions

from .routers import Lone, peer_id

TEST = Extensions(test_extension=True)


def alone_with(version: Version) -> Lone:
    lone = Lone(score=ScoreConfig())
    lone.add(1, version, topics=[])
    lone.core.stream_reopened(peer_id(1))
    return lone


def breaches(lone: Lone) -> int:
    return len(lone.events(Misbehaved))


def test_they_count_in_the_first_rpc() -> None:
    lone = alone_with(Version.V13)
    lone.says(1, subscribe=["t"], extensions=TEST)
    assert lone.core.extensions(peer_id(1)) == TEST
    assert breaches(lone) == 0


def test_saying_them_again_is_a_breach() -> None:
    lone = alone_with(Version.V13)
    lone.says(1, extensions=TEST)
    lone.says(1, extensions=Extensions(partial_messages=True))
    assert breaches(lone) == 1
    assert lone.score(1) < 0
    assert lone.core.extensions(peer_id(1)) == TEST


def test_saying_them_late_is_a_breach() -> None:
    lone = alone_with(Version.V13)
    lone.says(1, subscribe=["t"])
    lone.says(1, extensions=TEST)
    assert breaches(lone) == 1
    assert lone.core.extensions(peer_id(1)) is None


def test_a_new_stream_says_them_anew() -> None:
    lone = alone_with(Version.V13)
    lone.says(1, extensions=TEST)
    lone.core.stream_reopened(peer_id(1))
    assert lone.core.extensions(peer_id(1)) is None
    lone.says(1, extensions=TEST)
    assert breaches(lone) == 0


def test_older_versions_do_not_know_them() -> None:
    lone = alone_with(Version.V12)
    lone.says(1, extensions=TEST)
    lone.says(1, extensions=TEST)
    assert lone.core.extensions(peer_id(1)) is None
    assert breaches(lone) == 0
