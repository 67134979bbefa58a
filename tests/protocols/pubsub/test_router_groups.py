"""Groups of routers: messages reach every router, gossip repairs what the mesh loses, and runs can be repeated."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.scoring.config import ScoreConfig

from .routers import Group, message

SILENT = GossipConfig(flood_publish=False)


def group_of(count: int, degree: int, config: GossipConfig | None = None, *, seed: int = 1) -> Group:
    group = Group(count, config, score=ScoreConfig(), seed=seed)
    for index in range(count):
        group.join(index)
    group.connect_some(degree)
    group.wait(5)
    return group


def test_a_message_reaches_everyone() -> None:
    group = group_of(30, 3, SILENT)
    for number in range(10):
        group.publish(number, message(number, author=number))
    for number in range(10):
        others = [index for index in range(30) if index != number]
        assert group.holders(message(number, author=number)) == others


def test_meshes_are_mutual_and_within_their_bounds() -> None:
    group = group_of(30, 10)
    group.wait(30)
    meshes = [{group.names[peer] for peer in core.mesh("t")} for core in group.cores]
    for index, mesh in enumerate(meshes):
        assert 5 <= len(mesh) <= 12
        assert all(index in meshes[other] for other in mesh)


def test_the_mesh_sends_fewer_copies_than_flooding() -> None:
    def copies(config: GossipConfig) -> int:
        group = group_of(20, 0, config)
        group.connect_all()
        group.wait(5)
        group.publish(0, message(1, author=0))
        assert len(group.holders(message(1, author=0))) == 19
        return sum(sum(received.values()) for received in group.received)

    assert copies(SILENT) < copies(GossipConfig(floodsub_only=True)) / 2


def test_large_messages_are_sent_fewer_times_since_they_are_declined() -> None:
    def copies(config: GossipConfig) -> int:
        group = group_of(20, 0, config)
        group.connect_all()
        group.wait(5)
        group.slow = True
        group.publish(0, message(1, author=0, size=5000))
        assert len(group.holders(message(1, author=0))) == 19
        return sum(sum(received.values()) for received in group.received)

    assert copies(SILENT) < copies(GossipConfig(flood_publish=False, idontwant=False))


def test_gossip_repairs_what_the_mesh_loses() -> None:
    group = Group(12, SILENT, score=ScoreConfig())
    for index in range(12):
        group.join(index)
    group.connect_all()
    group.wait(5)
    victim = 7
    group.cut = {(group.names[peer], victim) for peer in group.cores[victim].mesh("t")}
    group.publish(0, message(1, author=0))
    assert victim not in group.holders(message(1, author=0))
    group.wait(3)
    assert victim in group.holders(message(1, author=0))


def test_version_10_reaches_everyone_too() -> None:
    group = Group(20, GossipConfig.version_10())
    for index in range(20):
        group.join(index)
    group.connect_some(4)
    group.wait(5)
    group.publish(3, message(1, author=3))
    assert group.holders(message(1, author=3)) == [index for index in range(20) if index != 3]


def history(seed: int) -> str:
    group = group_of(15, 4, SILENT, seed=seed)
    for number in range(30):
        group.publish(number % 15, message(number, author=number % 15, size=100 * number))
        group.wait(0.4)
    group.wait(20)
    return hashlib.sha256("\n".join(group.history).encode()).hexdigest()


def test_the_same_seed_makes_the_same_history() -> None:
    assert history(1) == history(1)
    assert history(1) != history(2)


@pytest.mark.slow
def test_the_history_does_not_depend_on_the_process() -> None:
    # Hashes of bytes and strings differ from one process to the next, and with them the order of sets.
    folder = Path(__file__).parents[2]
    program = "from protocols.pubsub.test_router_groups import history; print(history(1))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(folder)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {history(1)}
