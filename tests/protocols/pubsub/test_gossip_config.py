"""Settings of the router that make no sense are refused, and those of version 1.0 are what its specification says."""

import pytest

from peerstack.protocols.pubsub.router.config import GossipConfig

from .routers import Lone, message


@pytest.mark.parametrize(
    "wrong",
    [
        {"degree": 4},
        {"degree": 13},
        {"degree_low": -1},
        {"degree_score": 7},
        {"degree_out": 4},
        {"degree_out": -1},
        {"degree_lazy": -1},
        {"gossip_factor": 1.1},
        {"gossip_factor": -0.1},
        {"heartbeat_interval": 0.0},
        {"heartbeat_initial_delay": -1.0},
        {"seen_ttl": -1.0},
        {"prune_backoff": 3601.0},
        {"unsubscribe_backoff": -1.0},
        {"history_length": 0},
        {"history_gossip": 6},
        {"max_validating": 0},
        {"seen_limit": 0},
        {"cache_bytes": 0},
        {"max_backoffs": 0},
        {"max_topics_per_peer": 0},
        {"prune_peers": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        GossipConfig(**wrong)  # type: ignore[arg-type]  # the wrong value is the point


def test_the_defaults_and_version_10_make_sense() -> None:
    assert GossipConfig().degree == GossipConfig.version_10().degree == 6
    config = GossipConfig.version_10()
    assert (config.degree_low, config.degree_high, config.degree_lazy) == (4, 12, 6)
    assert not config.flood_publish
    assert not config.idontwant


def test_the_router_says_how_much_it_remembers() -> None:
    lone = Lone(peers=3)
    lone.publish(message(1))
    lone.says(1, message(2), ihave={"t": [b"new"]})
    lone.says(2, prune=["t"], backoff=60)
    statistics = lone.core.statistics()
    assert (statistics.peers, statistics.topics, statistics.meshes) == (3, 1, {"t": 2})
    assert (statistics.seen, statistics.validating, statistics.cached) == (1, 1, 1)
    assert statistics.cached_bytes == len(message(1).encoded)
    assert (statistics.promises, statistics.backoffs) == (1, 1)
    assert statistics.counts["published"] == 1
