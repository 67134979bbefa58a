"""Identities from a seed: the same for the same seed, and real keys."""

from random import Random

from peerstack.stack.testing import seeded_identity


def test_the_same_seed_gives_the_same_identities_and_each_is_another() -> None:
    random, again = Random(1), Random(1)
    identities = [seeded_identity(random) for _ in range(3)]
    assert [identity.peer_id for identity in identities] == [seeded_identity(again).peer_id for _ in range(3)]
    assert len({identity.peer_id for identity in identities}) == 3


def test_they_sign() -> None:
    identity = seeded_identity(Random(1))
    identity.public_key.verify(b"message", identity.sign(b"message"))
