"""What a heartbeat does to a mesh: fills it, cuts it, and looks after scores and directions."""

from collections.abc import Callable

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Pruned, PruneReason
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.stack.identity import PeerId

from .routers import Lone, peer_id


def scored(scores: dict[int, float]) -> ScoreConfig:
    """Return settings by which the application alone decides."""
    return ScoreConfig(
        application_score=_by_number(scores),
        application_weight=1.0,
        default_topic=None,
        opportunistic_graft_threshold=5.0,
    )


def _by_number(scores: dict[int, float]) -> Callable[[PeerId], float]:
    names = {peer_id(index): index for index in range(1, 100)}
    return lambda peer: scores.get(names[peer], 0.0)


def test_a_mesh_below_its_lower_bound_is_filled_to_the_degree() -> None:
    lone = Lone(peers=4)
    for index in range(5, 30):
        lone.add(index)
    assert len(lone.mesh()) == 4
    lone.beat()
    assert len(lone.mesh()) == 6


def test_a_mesh_within_its_bounds_is_left_alone() -> None:
    lone = Lone(peers=5)
    for index in range(6, 30):
        lone.add(index)
    lone.told()
    lone.beat(20)
    assert lone.mesh() == [1, 2, 3, 4, 5]
    assert lone.told() == {}


def test_a_mesh_of_the_upper_bound_is_left_alone_and_one_more_is_cut_to_the_degree() -> None:
    lone = Lone()
    for index in range(1, 13):
        lone.add(index)
        lone.says(index, graft=["t"])
    lone.beat()
    assert len(lone.mesh()) == 12
    lone.add(13)
    lone.says(13, graft=["t"])
    lone.told()
    lone.beat()
    assert len(lone.mesh()) == 6
    pruned = {index: said.prune for index, said in lone.told().items() if said.prune}
    assert sorted(pruned) == [index for index in range(1, 14) if index not in lone.mesh()]
    assert all(prune[0].backoff == 60 for prune in pruned.values())


def test_cutting_keeps_the_best_by_score() -> None:
    for seed in range(10):
        lone = Lone(score=scored({index: float(index) for index in range(1, 14)}), seed=seed)
        for index in range(1, 14):
            lone.add(index)
            lone.says(index, graft=["t"])
        lone.beat()
        assert {10, 11, 12, 13} < set(lone.mesh())
        assert len(lone.mesh()) == 6


def test_cutting_takes_the_rest_by_lot() -> None:
    kept = set()
    for seed in range(10):
        lone = Lone(score=scored({index: float(index) for index in range(1, 14)}), seed=seed)
        for index in range(1, 14):
            lone.add(index)
            lone.says(index, graft=["t"])
        lone.beat()
        kept |= set(lone.mesh()) - {10, 11, 12, 13}
    assert len(kept) > 4


def test_pruning_without_scores_does_not_favour_the_first() -> None:
    kept = set()
    for seed in range(20):
        lone = Lone(seed=seed)
        for index in range(1, 14):
            lone.add(index)
            lone.says(index, graft=["t"])
        lone.beat()
        kept.add(1 in lone.mesh())
    assert kept == {True, False}


def test_cutting_keeps_enough_that_we_dialed_however_bad() -> None:
    scores = {index: float(index) for index in range(1, 14)}
    for seed in range(10):
        lone = Lone(score=scored(scores), seed=seed)
        for index in range(1, 14):
            # The dialed ones come last, since a full mesh takes no others.
            lone.add(14 - index, outbound=index > 11)
            lone.says(14 - index, graft=["t"])
        lone.beat()
        assert {1, 2} < set(lone.mesh())
        assert len(lone.mesh()) == 6


def test_a_mesh_without_enough_that_we_dialed_gets_some() -> None:
    lone = Lone()
    for index in range(1, 7):
        lone.add(index, outbound=False)
        lone.says(index, graft=["t"])
    for index in range(7, 12):
        lone.add(index, outbound=True)
    for index in range(12, 30):
        lone.add(index, outbound=False)
    lone.beat()
    mesh = lone.mesh()
    assert len(mesh) == 8
    assert len([index for index in mesh if 7 <= index < 12]) == 2


def test_a_mesh_of_the_lower_bound_gets_some_that_we_dialed_too() -> None:
    lone = Lone()
    for index in range(1, 6):
        lone.add(index, outbound=False)
        lone.says(index, graft=["t"])
    for index in range(6, 9):
        lone.add(index, outbound=True)
    lone.beat()
    assert len(lone.mesh()) == 7


def test_peers_with_a_negative_score_are_dropped_without_suggestions() -> None:
    scores: dict[int, float] = {}
    lone = Lone(GossipConfig(peer_exchange=True), peers=6, score=scored(scores))
    lone.told()
    scores[2] = -0.5
    lone.beat()
    assert lone.mesh() == [1, 3, 4, 5, 6]
    (prune,) = lone.said_to(2).prune
    assert (prune.peers, prune.backoff) == ([], 60)
    assert lone.events(Pruned) == [Pruned(peer_id(2), "t", PruneReason.SCORE)]


def test_a_mesh_whose_median_is_poor_gets_better_peers_now_and_then() -> None:
    scores = dict.fromkeys(range(1, 10), 1.0) | {10: 2.0, 11: 3.0, 12: 4.0}
    for seed in range(10):
        lone = Lone(peers=6, score=scored(scores), seed=seed)
        for index in range(7, 13):
            lone.add(index)
        lone.beat(59)
        assert lone.mesh() == [1, 2, 3, 4, 5, 6]
        lone.beat()
        added = set(lone.mesh()) - {1, 2, 3, 4, 5, 6}
        assert len(added) == 2
        assert added < {10, 11, 12}


def test_a_mesh_whose_median_is_good_gets_no_better_peers() -> None:
    scores = dict.fromkeys(range(1, 7), 5.0) | dict.fromkeys(range(7, 12), 50.0)
    lone = Lone(peers=6, score=scored(scores))
    for index in range(7, 12):
        lone.add(index)
    lone.beat(120)
    assert lone.mesh() == [1, 2, 3, 4, 5, 6]


def test_missed_heartbeats_are_not_made_up_for() -> None:
    lone = Lone(peers=1)
    lone.core.handle_deadline(lone.now + 1000)
    assert lone.now + 1000 < lone.core.next_deadline() <= lone.now + 1001


def test_a_heartbeat_before_its_time_does_nothing() -> None:
    lone = Lone(peers=4)
    for index in range(5, 30):
        lone.add(index)
    due = lone.core.next_deadline()
    lone.core.handle_deadline(due - 0.01)
    assert len(lone.mesh()) == 4
    assert lone.core.next_deadline() == due
