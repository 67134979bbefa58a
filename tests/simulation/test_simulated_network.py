"""The simulated network: latency, bandwidth, loss, partitions, and errors as TCP gives them."""

from collections.abc import Awaitable, Callable
from functools import wraps

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import RawConnection, StreamListener
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.testing import LinkConditions, OnLoss, SimulatedNetwork, TraceKind, run_deterministic

ADDRESS = Multiaddr("/memory/1")


def simulated(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run the test from a seed, on a clock that jumps."""

    @wraps(test)
    def run() -> None:
        run_deterministic(test, seed=1)

    return run


async def connect(
    network: SimulatedNetwork, listener: StreamListener, node: str = "alice"
) -> tuple[RawConnection, RawConnection]:
    near = await network.node(node).dial(listener.address)
    return near, await listener.accept()


async def receive(raw: RawConnection) -> bytes:
    return bytes(await raw.stream.receive_some())


@simulated
async def test_a_dial_takes_a_round_trip_and_a_byte_half_of_one() -> None:
    async with SimulatedNetwork(1, LinkConditions(latency=0.25)) as network:
        listener = await network.node("bob").listen(ADDRESS)
        near, far = await connect(network, listener)
        assert trio.current_time() == 0.5
        await near.stream.send_all(b"x")
        assert await receive(far) == b"x"
        assert trio.current_time() == 0.75


@simulated
async def test_bandwidth_is_shared_by_the_wires_between_two_nodes() -> None:
    async with SimulatedNetwork(1, LinkConditions(bandwidth=1000)) as network:
        listener = await network.node("bob").listen(ADDRESS)
        one, one_accepted = await connect(network, listener)
        two, two_accepted = await connect(network, listener)
        await one.stream.send_all(bytes(1000))
        await two.stream.send_all(bytes(1000))
        assert len(await receive(one_accepted)) == 1000
        assert trio.current_time() == pytest.approx(1)
        assert len(await receive(two_accepted)) == 1000
        assert trio.current_time() == pytest.approx(2)


@simulated
async def test_the_window_bounds_what_is_under_way() -> None:
    async with SimulatedNetwork(1, LinkConditions(latency=1), send_buffer=10, window=100) as network:
        near, far = await connect(network, await network.node("bob").listen(ADDRESS))
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await near.stream.send_all(b"x")
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(100)
            assert sent == 110
            assert len(await receive(far)) == 100
            await trio.sleep(100)
            assert sent == 210
            nursery.cancel_scope.cancel()


@simulated
async def test_loss_delays_and_loses_nothing() -> None:
    async with SimulatedNetwork(5, LinkConditions(loss=0.5, retransmit_after=1)) as network:
        near, far = await connect(network, await network.node("bob").listen(ADDRESS))
        for number in range(50):
            await near.stream.send_all(b"%02d" % number)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1000)
        expected = b"".join(b"%02d" % number for number in range(50))
        assert await receive(far) == expected
        assert any(event.kind is TraceKind.LOST for event in network.trace.events)


@simulated
async def test_loss_can_reset_the_wire_instead() -> None:
    async with SimulatedNetwork(1, LinkConditions(loss=0.99, on_loss=OnLoss.RESET)) as network:
        near, far = await connect(network, await network.node("bob").listen(ADDRESS))
        await near.stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await far.stream.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await near.stream.receive_some()


@simulated
async def test_a_partition_holds_bytes_back_until_it_heals_in_order() -> None:
    async with SimulatedNetwork(1, LinkConditions(latency=1)) as network:
        listener = await network.node("bob").listen(ADDRESS)
        near, far = await connect(network, listener)
        carol, carols = await connect(network, listener, "carol")
        await near.stream.send_all(b"before ")
        network.partition({"alice"}, {"bob", "carol"})
        await near.stream.send_all(b"during ")
        await carol.stream.send_all(b"same side")
        assert await receive(carols) == b"same side"
        with trio.move_on_after(1000) as scope:
            await far.stream.receive_some()
        assert scope.cancelled_caught
        network.heal()
        await near.stream.send_all(b"after")
        await near.stream.aclose()
        got = b"".join([bytes(piece) async for piece in far.stream])
        assert got == b"before during after"


@simulated
async def test_a_dial_across_a_partition_waits_for_the_heal() -> None:
    async with SimulatedNetwork(1, LinkConditions(latency=1)) as network:
        listener = await network.node("bob").listen(ADDRESS)
        network.partition({"alice"}, {"bob"})
        with trio.move_on_after(100) as scope:
            await network.node("alice").dial(ADDRESS)
        assert scope.cancelled_caught

        async def heal() -> None:
            await trio.sleep(100)
            network.heal()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(heal)
            await connect(network, listener)
        assert trio.current_time() == 202


@simulated
async def test_a_new_partition_replaces_the_one_before() -> None:
    async with SimulatedNetwork(1) as network:
        near, far = await connect(network, await network.node("bob").listen(ADDRESS))
        network.partition({"alice"}, {"bob"})
        await near.stream.send_all(b"x")
        await trio.sleep(1)
        network.partition({"alice", "bob"}, {"carol"})
        assert await receive(far) == b"x"
        assert network.parted("alice", "carol")
        assert network.parted("dave", "carol")
        assert not network.parted("dave", "erin")


@simulated
async def test_a_node_cannot_be_on_two_sides() -> None:
    async with SimulatedNetwork(1) as network:
        with pytest.raises(ValueError, match="bob"):
            network.partition({"alice", "bob"}, {"bob"})


@simulated
async def test_severed_wires_break_at_both_ends_and_new_ones_work() -> None:
    async with SimulatedNetwork(1, LinkConditions(latency=1)) as network:
        listener = await network.node("bob").listen(ADDRESS)
        pairs = [await connect(network, listener), await connect(network, listener, "carol")]
        for near, _ in pairs:
            await near.stream.send_all(b"x")
        network.sever("bob", "alice")
        for raw in pairs[0]:
            with pytest.raises(trio.BrokenResourceError):
                await raw.stream.receive_some()
        assert await receive(pairs[1][1]) == b"x"
        near, far = await connect(network, listener)
        await near.stream.send_all(b"y")
        assert await receive(far) == b"y"


@simulated
async def test_an_abort_reaches_the_other_side_after_the_latency() -> None:
    async with SimulatedNetwork(1, LinkConditions(latency=1)) as network:
        near, far = await connect(network, await network.node("bob").listen(ADDRESS))
        near.stream.abort()  # type: ignore[attr-defined]  # simulated connections are memory pipes
        await far.stream.send_all(b"x")
        started = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await far.stream.receive_some()
        assert trio.current_time() == started + 1
        with pytest.raises(trio.BrokenResourceError):
            await far.stream.send_all(b"x")


@simulated
async def test_conditions_can_differ_by_link_and_change() -> None:
    async with SimulatedNetwork(1) as network:
        listener = await network.node("bob").listen(ADDRESS)
        network.set_link("alice", "bob", LinkConditions(latency=5))
        near, far = await connect(network, listener)
        assert trio.current_time() == 10
        await connect(network, listener, "carol")
        assert trio.current_time() == 10
        network.set_link("bob", "alice", LinkConditions(latency=1))
        await near.stream.send_all(b"x")
        assert await receive(far) == b"x"
        assert trio.current_time() == 11


@simulated
async def test_refusals_take_a_round_trip_and_name_the_address() -> None:
    async with SimulatedNetwork(1, LinkConditions(latency=1)) as network:
        await (await network.node("bob").listen(ADDRESS)).aclose()
        with pytest.raises(ConnectionRefusedError, match="/memory/1"):
            await network.node("alice").dial(ADDRESS)
        assert trio.current_time() == 2
        with pytest.raises(ConnectionRefusedError, match="/memory/77"):
            await network.node("alice").dial(Multiaddr("/memory/77"))


@simulated
async def test_foreign_addresses_are_invalid() -> None:
    tcp = Multiaddr("/ip4/127.0.0.1/tcp/1")
    async with SimulatedNetwork(1) as network:
        node = network.node("alice")
        assert node is network.node("alice")
        assert node.can_dial(ADDRESS)
        assert not node.can_dial(Multiaddr("/memory/0"))
        assert node.can_listen(Multiaddr("/memory/0"))
        assert not node.can_listen(tcp)
        with pytest.raises(InvalidAddress):
            await node.dial(tcp)
        with pytest.raises(InvalidAddress):
            await node.listen(tcp)


@simulated
async def test_the_end_of_the_network_breaks_its_wires() -> None:
    async with SimulatedNetwork(1) as network:
        near, far = await connect(network, await network.node("bob").listen(ADDRESS))
    for raw in near, far:
        with pytest.raises(trio.BrokenResourceError):
            await raw.stream.receive_some()


@simulated
async def test_an_error_of_the_block_leaves_as_itself() -> None:
    with pytest.raises(KeyError):
        async with SimulatedNetwork(1):
            raise KeyError


@simulated
async def test_wires_that_are_over_are_forgotten() -> None:
    async with SimulatedNetwork(1, LinkConditions(latency=1)) as network:
        listener = await network.node("bob").listen(ADDRESS)
        for _ in range(10):
            near, far = await connect(network, listener)
            await near.stream.aclose()
            await far.stream.aclose()
            await trio.sleep(10)
        assert not network._connections


@pytest.mark.parametrize(
    "wrong",
    [{"latency": -1}, {"jitter": -1}, {"retransmit_after": -1}, {"bandwidth": 0}, {"loss": 1}, {"loss": -0.1}],
    ids=str,
)
def test_impossible_conditions_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LinkConditions(**wrong)  # type: ignore[arg-type]  # the values are all numbers


def test_impossible_buffers_are_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        SimulatedNetwork(1, window=0)
