"""A peer of interop/CONTRACT.md without libp2p, so that the ceilings run like every other pair.

It knows `connect`, `perf`, `ping` and `bench_dial`; each opens a TCP connection of its own, and its first byte says
what for. A peer's id is its address.
"""

import argparse
import json
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import trio

if __package__ in (None, ""):  # started as a script: make `benchmarks` importable, behind everything installed
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.ceiling import RECEIVE, SEND

PERF, PING = b"f", b"p"
PING_BYTES = 32


def main() -> None:
    """Run the peer until its input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=SEND)
    parser.add_argument("--key-type")
    parser.add_argument("--listen")
    trio.run(_run, parser.parse_args().mode)


async def _run(mode: str) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, partial(_serve, mode), listeners)
        address = f"/ip4/127.0.0.1/tcp/{listeners[0].socket.getsockname()[1]}"
        _write(
            event="listening",
            implementation=f"trio ({mode})",
            version=trio.__version__,
            peer_id=address,
            addresses=[address],
        )
        async for line in _lines():
            command = json.loads(line)
            _write(id=command["id"], **{"ok": True, **await _obey(mode, command)})
        nursery.cancel_scope.cancel()


async def _lines() -> AsyncIterator[bytes]:
    if sys.platform == "win32":
        raise OSError("trio cannot read standard input on Windows")
    pending = b""
    async for data in trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())):
        *whole, pending = (pending + data).split(b"\n")
        for line in whole:
            yield line


def _write(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


async def _serve(mode: str, stream: trio.SocketStream) -> None:
    async with stream:
        kind = await stream.receive_some(1)
        if kind == PERF:
            wanted = int.from_bytes(await _receive_exactly(stream, 8), "big")
            await RECEIVE[mode](stream, lambda: None)
            await SEND[mode](stream, wanted)
        while kind == PING and (data := await stream.receive_some(PING_BYTES)):
            await stream.send_all(data)


async def _obey(mode: str, command: dict[str, Any]) -> dict[str, Any]:
    match command:
        case {"op": "connect", "address": address}:
            return {"peer_id": address}
        case {"op": "perf", "peer": peer, "upload": upload, "download": download}:
            return await _perf(mode, peer, upload, download)
        case {"op": "ping", "peer": peer, "count": count}:
            return {"rtt_us": await _ping(peer, count)}
        case {"op": "bench_dial", "address": address, "count": count, "concurrency": concurrency}:
            return {"seconds": await _bench_dial(address, count, concurrency)}
    return {"ok": False, "error": f"a ceiling cannot do {command.get('op')!r}"}


async def _connect(address: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(address.rsplit("/", 1)[1]))


async def _perf(mode: str, address: str, upload: int, download: int) -> dict[str, Any]:
    turns: list[float] = []
    async with await _connect(address) as stream:
        begun = perf_counter()
        await stream.send_all(PERF + download.to_bytes(8, "big"))
        await SEND[mode](stream, upload)
        await stream.send_eof()
        received = await RECEIVE[mode](stream, lambda: turns.append(perf_counter()))
        ended = perf_counter()
    if received != download:
        raise EOFError(f"{received} of {download} bytes arrived")
    turned = turns[0] if turns else ended
    return {"upload_seconds": turned - begun, "download_seconds": ended - turned}


async def _ping(address: str, count: int) -> list[float]:
    times: list[float] = []
    async with await _connect(address) as stream:
        await stream.send_all(PING)
        for _ in range(count):
            payload = os.urandom(PING_BYTES)
            begun = perf_counter()
            await stream.send_all(payload)
            await _receive_exactly(stream, PING_BYTES)
            times.append((perf_counter() - begun) * 1e6)
    return times


async def _bench_dial(address: str, count: int, concurrency: int) -> float:
    turns = iter(range(count))

    async def work() -> None:
        for _ in turns:
            await _ping(address, 1)

    begun = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(concurrency):
            nursery.start_soon(work)
    return perf_counter() - begun


async def _receive_exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = bytes(await stream.receive_some(size))
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise EOFError(f"the stream ended after {len(data)} of {size} bytes")
        data += more
    return data


if __name__ == "__main__":
    main()
