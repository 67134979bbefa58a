"""What every datastore must do, as checks to run on any of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from ..abc import Datastore, Delete, Put
from .checks import require


async def check_datastore(store: Datastore, advance: Callable[[float], Awaitable[None]]) -> None:
    """Check an empty datastore: values, order, prefixes, batches, expiry. Raises AssertionError.

    `advance` makes the clock of the store go on by that many seconds.
    """
    await _check_values(store)
    await _check_queries(store)
    await _check_batches(store)
    await _check_expiry(store, advance)


async def _check_values(store: Datastore) -> None:
    require(await store.get(b"k") is None, "a key that was never stored must give None")
    await store.delete(b"k")
    await store.put(b"k", b"one")
    require(await store.get(b"k") == b"one", "what was stored must come back")
    await store.put(b"k", b"")
    require(await store.get(b"k") == b"", "a later value must replace the earlier, an empty one, too")
    await store.delete(b"k")
    require(await store.get(b"k") is None, "what was deleted must be gone")


async def _entries(store: Datastore, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
    async with aclosing(store.query(prefix)) as found:
        return [entry async for entry in found]


async def _check_queries(store: Datastore) -> None:
    keys = [b"b", b"a", b"a/\xff\xff", b"a/\x00", b"a\xff", b"\xff\xff", b"\x00", b""]
    for key in keys:
        await store.put(key, b"v" + key)
    everything = [(key, b"v" + key) for key in sorted(keys)]
    require(await _entries(store) == everything, "a query without a prefix must give everything in order of the keys")
    for prefix in (b"a", b"a/", b"a\xff", b"\xff", b"c"):
        expected = [entry for entry in everything if entry[0].startswith(prefix)]
        require(await _entries(store, prefix) == expected, f"wrong entries for prefix {prefix!r}")
    async with aclosing(store.query(b"a")) as found:
        async for key, _ in found:
            await store.delete(key)
            break
    require(await store.get(b"a") is None, "a store must take changes while a query runs")
    await store.batch([Delete(key) for key in keys])
    require(await _entries(store) == [], "a batch of deletions must leave nothing")


async def _check_batches(store: Datastore) -> None:
    await store.batch([Put(b"1", b"a"), Put(b"2", b"b"), Delete(b"1"), Put(b"2", b"c"), Delete(b"3")])
    require(await _entries(store) == [(b"2", b"c")], "the changes of a batch must be made in order")
    await store.batch([])
    await store.delete(b"2")


async def _check_expiry(store: Datastore, advance: Callable[[float], Awaitable[None]]) -> None:
    await store.put(b"short", b"1", ttl=10)
    await store.put(b"long", b"2", ttl=30)
    await store.put(b"kept", b"3", ttl=10)
    await store.put(b"kept", b"4")
    await advance(10)
    require(await store.get(b"short") is None, "an entry must be gone when its time is over")
    require(await _entries(store) == [(b"kept", b"4"), (b"long", b"2")], "only what is over may be gone")
    await advance(20)
    require(await _entries(store) == [(b"kept", b"4")], "a query must leave out what is over")
    await store.delete(b"kept")
