"""The datastore in memory: the conformance suite, and what is its own."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.abc import Delete, Put
from peerstack.stack.storage import MemoryDatastore
from peerstack.stack.testing import check_datastore


async def test_it_passes_the_suite(mock_clock: trio.testing.MockClock) -> None:
    async def advance(seconds: float) -> None:
        mock_clock.jump(seconds)

    await check_datastore(MemoryDatastore(), advance)


async def test_the_suite_can_fail(mock_clock: trio.testing.MockClock) -> None:
    class Forgetful(MemoryDatastore):
        async def put(self, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
            await super().put(key, value)  # forgets the ttl

    async def advance(seconds: float) -> None:
        mock_clock.jump(seconds)

    with pytest.raises(AssertionError, match="gone when its time is over"):
        await check_datastore(Forgetful(), advance)


async def test_expired_entries_take_no_memory_after_expire(mock_clock: trio.testing.MockClock) -> None:
    store = MemoryDatastore()
    await store.batch([Put(bytes([number]), b"", ttl=number) for number in range(1, 11)])
    mock_clock.jump(4)
    assert store.expire() == 4
    assert len(store) == 6


_changes = st.one_of(
    st.builds(Put, st.binary(max_size=2), st.binary(max_size=2)), st.builds(Delete, st.binary(max_size=2))
)


@given(changes=st.lists(_changes), prefix=st.binary(max_size=2))
def test_it_holds_what_a_dict_would(changes: list[Put | Delete], prefix: bytes) -> None:
    async def run() -> list[tuple[bytes, bytes]]:
        store = MemoryDatastore()
        await store.batch(changes)
        return [entry async for entry in store.query(prefix)]

    model: dict[bytes, bytes] = {}
    for change in changes:
        if isinstance(change, Put):
            model[change.key] = change.value
        else:
            model.pop(change.key, None)
    assert trio.run(run) == sorted(entry for entry in model.items() if entry[0].startswith(prefix))
