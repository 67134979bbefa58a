"""The commands that make many connections or streams."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import perf_counter

import trio
from multiaddr import Multiaddr

from interop.peerstack import addresses
from interop.peerstack.command import Answer, Command
from interop.peerstack.hosts import make_host
from interop.peerstack.operations import Operation, Program
from interop.peerstack.serve import ECHO
from interop.peerstack.streams import closing, receive_exactly, receive_to_end
from peerstack.protocols import ping
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

DIALING_AT_ONCE = 8
ECHO_BYTES = 32


async def bench_dial(program: Program, command: Command) -> Answer:
    """Time dial, ping and close; in hosts of their own, which know no other."""
    address, peer = addresses.read(command.address)
    async with trio.open_nursery() as hosting:
        hosts = [await hosting.start(_hold_host, program) for _ in range(command.concurrency)]
        seconds = await _side_by_side(command, lambda worker: _dial_once(hosts[worker], peer, address))
        hosting.cancel_scope.cancel()
    return {"seconds": seconds}


async def _dial_once(host: Host, peer: PeerId, address: Multiaddr) -> None:
    # By the swarm, because `Host.connect` waits for identify too, which runs beside and is not what is timed.
    connection, _ = await host.swarm.dial(peer, [address])
    stream = await host.swarm.open_stream(connection, [ping.PROTOCOL], supported=True)
    payload = os.urandom(ping.SIZE)
    await stream.send_all(payload)
    if await receive_exactly(stream, ping.SIZE) != payload:
        raise ValueError("the ping came back changed")
    await host.disconnect(peer)


async def bench_streams(program: Program, command: Command) -> Answer:
    """Time small echo streams."""
    peer, payload = command.peer_id, os.urandom(ECHO_BYTES)

    async def echo_once(worker: int) -> None:
        async with closing(await program.host.open_stream(peer, ECHO)) as stream:
            await stream.send_all(payload)
            await stream.send_eof()
            if b"".join(await receive_to_end(stream)) != payload:
                raise ValueError("the echo came back changed")

    return {"seconds": await _side_by_side(command, echo_once)}


async def idle_connections(program: Program, command: Command) -> Answer:
    """Connect many hosts and keep them until the program leaves."""
    address, peer = addresses.read(command.address)
    hosts: list[Host] = []
    dialing = trio.CapacityLimiter(DIALING_AT_ONCE)

    async def open_one() -> None:
        async with dialing:
            host = await program.background.start(_hold_host, program)
            await host.connect(peer, address)
            hosts.append(host)

    async with trio.open_nursery() as nursery:
        for _ in range(command.count):
            nursery.start_soon(open_one)
    return {"open": sum(bool(host.connections(peer)) for host in hosts)}


async def _hold_host(program: Program, *, task_status: trio.TaskStatus[Host]) -> None:
    async with make_host(program.key_type, program.layers) as host:
        task_status.started(host)
        await trio.sleep_forever()


async def _side_by_side(command: Command, work: Callable[[int], Awaitable[None]]) -> float:
    """Do the work `count` times in all, `concurrency` at a time; return the seconds it took."""
    turns = iter(range(command.count))
    begun = perf_counter()
    async with trio.open_nursery() as nursery:
        for worker in range(command.concurrency):
            nursery.start_soon(_work, turns, work, worker)
    return perf_counter() - begun


async def _work(turns: Iterator[int], work: Callable[[int], Awaitable[None]], worker: int) -> None:
    for _ in turns:
        await work(worker)


BENCHES: Mapping[str, Operation] = {
    "bench_dial": bench_dial,
    "bench_streams": bench_streams,
    "idle_connections": idle_connections,
}
