"""Ids are seen for their time and within a limit; recent messages can be asked for, and old ones make room."""

from peerstack.protocols.pubsub.router.message_cache import GENERATIONS, MessageCache, SeenCache

from .routers import message, peer_id


def ids(count: int) -> list[bytes]:
    return [number.to_bytes(8, "big") for number in range(count)]


def test_an_id_is_new_once() -> None:
    seen = SeenCache(120.0, 1000, now=0.0)
    assert seen.add(b"a", 0.0)
    assert not seen.add(b"a", 1.0)
    assert b"a" in seen
    assert b"b" not in seen


def test_an_id_is_seen_for_its_time_and_little_longer() -> None:
    seen = SeenCache(120.0, 1000, now=0.0)
    step = 120.0 / GENERATIONS
    for tick in range(400):
        seen.add(tick.to_bytes(2, "big"), float(tick))
        seen.expire(float(tick))
        for age in range(min(tick, 119)):
            assert (tick - age).to_bytes(2, "big") in seen
        oldest = tick - 120 - 2 * step - 1
        if oldest >= 0:
            assert int(oldest).to_bytes(2, "big") not in seen


def test_seeing_an_id_again_does_not_prolong_it() -> None:
    seen = SeenCache(16.0, 1000, now=0.0)
    seen.add(b"a", 0.0)
    for tick in range(1, 30):
        if not seen.add(b"a", float(tick)):
            assert tick < 20
        seen.expire(float(tick))
        if b"a" not in seen:
            return
    raise AssertionError("it was seen for ever")


def test_ids_are_forgotten_after_a_long_silence() -> None:
    seen = SeenCache(120.0, 1000, now=0.0)
    seen.add(b"a", 0.0)
    seen.expire(500.0)
    seen.expire(1000.0)
    assert len(seen) == 0


def test_ids_are_kept_for_copies_that_are_still_unread() -> None:
    seen = SeenCache(120.0, 1000, now=0.0)
    seen.add(b"a", 0.0)
    seen.lag = 300.0
    for tick in range(420):
        seen.expire(float(tick))
        assert b"a" in seen
    seen.lag = 0.0
    seen.expire(460.0)
    assert b"a" not in seen


def test_the_oldest_ids_are_dropped_first() -> None:
    seen = SeenCache(120.0, 1600, now=0.0)
    for message_id in ids(5000):
        seen.add(message_id, 0.0)
    assert 1400 <= len(seen) <= 1600
    assert ids(5000)[-1] in seen
    assert ids(5000)[0] not in seen


def cache_of(length: int = 5, gossip: int = 3, messages: int = 1000, size: int = 10**6) -> MessageCache:
    return MessageCache(length, gossip, messages, size)


def test_messages_are_kept_for_so_many_heartbeats_and_offered_for_fewer() -> None:
    cache = cache_of()
    kept = message(1)
    cache.put(kept)
    for beat in range(5):
        assert kept.id in cache
        assert cache.gossip_ids("t") == ([kept.id] if beat < 3 else [])
        cache.shift()
    assert kept.id not in cache
    assert cache.size == 0


def test_each_topic_offers_its_own() -> None:
    cache = cache_of()
    one, two = message(1, topic="one"), message(2, topic="two")
    cache.put(one)
    cache.put(two)
    assert cache.gossip_ids("one") == [one.id]
    assert cache.gossip_ids("three") == []


def test_requests_are_counted_for_each_peer_and_message() -> None:
    cache = cache_of()
    first, second = message(1), message(2)
    cache.put(first)
    cache.put(second)
    assert cache.request(first.id, peer_id(1)) == (first, 1)
    assert cache.request(first.id, peer_id(1)) == (first, 2)
    assert cache.request(first.id, peer_id(2)) == (first, 1)
    assert cache.request(second.id, peer_id(1)) == (second, 1)
    assert cache.request(b"unknown", peer_id(1)) is None


def test_the_oldest_messages_are_dropped_first_by_number() -> None:
    cache = cache_of(messages=3)
    kept = [message(number) for number in range(5)]
    for each in kept:
        cache.put(each)
    assert [each.id in cache for each in kept] == [False, False, True, True, True]
    assert cache.gossip_ids("t") == [each.id for each in kept[2:]]


def test_the_oldest_messages_are_dropped_first_by_size() -> None:
    cache = cache_of(size=3500)
    kept = [message(number, size=1000) for number in range(5)]
    for each in kept[:3]:
        cache.put(each)
    cache.shift()
    for each in kept[3:]:
        cache.put(each)
    assert [each.id in cache for each in kept] == [False, False, True, True, True]
    assert cache.size == sum(len(each.encoded) for each in kept[2:])
    for _ in range(5):
        cache.shift()
    assert cache.size == len(cache) == 0


def test_putting_a_message_twice_changes_nothing() -> None:
    cache = cache_of()
    kept = message(1)
    cache.put(kept)
    cache.put(kept)
    assert len(cache) == 1
    for _ in range(5):
        cache.shift()
    assert len(cache) == 0
