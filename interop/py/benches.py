"""The commands of the contract that make many connections or streams."""

import os
import time

import trio
from hosts import make_host
from layers import target
from libp2p.host.ping import ID as PING
from libp2p.host.ping import perform_ping_roundtrip
from libp2p.peer.id import ID
from serve import ECHO, chunks

DIALING_AT_ONCE = 16


async def run_host(options, *, task_status):
    """Hold a host that listens nowhere until cancelled."""
    host = make_host(options)
    async with host.run([]):
        task_status.started(host)
        await trio.sleep_forever()


async def bench_dial(nursery, options, address, count, concurrency=1):
    """Time `count` times dial, ping, close, over `concurrency` hosts side by side."""
    info = target(address)
    async with trio.open_nursery() as own:
        hosts = [await own.start(run_host, options) for _ in range(concurrency)]
        begun = time.perf_counter()
        async with trio.open_nursery() as workers:
            for share, host in zip(_shares(count, concurrency), hosts, strict=True):
                workers.start_soon(_dial_often, host, info, share)
        seconds = time.perf_counter() - begun
        own.cancel_scope.cancel()
    return {"seconds": seconds}


async def _dial_often(host, info, count):
    for _ in range(count):
        await host.connect(info)
        stream = await host.new_stream(info.peer_id, [PING])
        await perform_ping_roundtrip(stream)
        await host.disconnect(info.peer_id)


def _shares(count, workers):
    return [count // workers + (worker < count % workers) for worker in range(workers)]


async def bench_streams(host, peer, count, concurrency=1):
    """Time `count` echo streams of 32 bytes, `concurrency` at a time."""
    peer_id = ID.from_base58(peer)
    begun = time.perf_counter()
    async with trio.open_nursery() as workers:
        for share in _shares(count, concurrency):
            workers.start_soon(_stream_often, host, peer_id, share)
    return {"seconds": time.perf_counter() - begun}


async def _stream_often(host, peer_id, count):
    for _ in range(count):
        payload = os.urandom(32)
        stream = await host.new_stream(peer_id, [ECHO])
        await stream.write(payload)
        await stream.close_write()
        answer = b"".join([data async for data in chunks(stream)])
        await stream.close()
        if answer != payload:
            raise ValueError(f"the echo of 32 bytes came back as {len(answer)} others")


async def idle_connections(nursery, options, address, count):
    """Connect `count` new hosts of `nursery` to `address` and keep them there."""
    info = target(address)
    dialing = trio.CapacityLimiter(DIALING_AT_ONCE)
    opened = []

    async def open_one():
        async with dialing:
            host = await nursery.start(run_host, options)
            await host.connect(info)
            opened.append(host)

    async with trio.open_nursery() as dialers:
        for _ in range(count):
            dialers.start_soon(open_one)
    return {"open": sum(bool(host.get_network().get_connections(info.peer_id)) for host in opened)}
