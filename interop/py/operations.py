"""The commands of the contract that look at one connection, done with py-libp2p's public API."""

import hashlib
import os
import struct
import time

import trio
from layers import target
from libp2p.host.ping import ID as PING
from libp2p.host.ping import perform_ping_roundtrip
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.network.stream.exceptions import StreamEOF, StreamReset
from libp2p.peer.envelope import consume_envelope
from libp2p.peer.id import ID
from libp2p.transport.quic.stream import QUICStream
from libp2p.utils.varint import read_length_prefixed_protobuf
from multiaddr import Multiaddr
from serve import DIGEST, ECHO, PERF, PERF_BLOCK, RESET, chunks

EARLY_STREAMS = 8
YAMUX_OUTBOUND_STREAMS = 256
CONNECTION_WAIT_SECONDS = 5.0


async def connect(host, address):
    """Dial `address` and return the peer's id; another identity is an error."""
    info = target(address)
    await host.connect(info)
    return {"peer_id": str(info.peer_id)}


async def disconnect(host, peer):
    """Close every connection to `peer`."""
    await host.disconnect(ID.from_base58(peer))
    return {}


async def identify(host, peer):
    """Ask `peer` to identify itself; the host keeps neither agent nor observed address of its own asking."""
    peer_id = ID.from_base58(peer)
    await _wait_connected(host, peer_id)
    stream = await host.new_stream(peer_id, [IDENTIFY])
    message = Identify()
    message.ParseFromString(await read_length_prefixed_protobuf(stream, use_varint_format=True))
    await stream.close()
    return {
        "agent": message.agent_version,
        "protocol_version": message.protocol_version,
        "protocols": list(message.protocols),
        "listen_addresses": [str(Multiaddr(address)) for address in message.listen_addrs],
        "observed_address": str(Multiaddr(message.observed_addr)) if message.observed_addr else None,
        "signed_record": _is_signed_by(message, peer_id),
    }


async def _wait_connected(host, peer_id):
    # The listener's side of a connection may be a moment behind the dialer's.
    with trio.move_on_after(CONNECTION_WAIT_SECONDS):
        while not host.get_network().get_connections(peer_id):  # noqa: ASYNC110
            await trio.sleep(0.01)  # nothing in py-libp2p to await
        return
    raise ConnectionError(f"not connected to {peer_id}")


def _is_signed_by(message, peer_id):
    if not message.signedPeerRecord:
        return False
    try:
        _, record = consume_envelope(message.signedPeerRecord, "libp2p-peer-record")
    except ValueError:
        return False
    return record.peer_id == peer_id


async def ping(host, peer, count):
    """Return `count` round trips in µs on one stream, by our clock: py-libp2p counts whole milliseconds."""
    stream = await host.new_stream(ID.from_base58(peer), [PING])
    round_trips = []
    for _ in range(count):
        begun = time.perf_counter()
        await perform_ping_roundtrip(stream)
        round_trips.append((time.perf_counter() - begun) * 1e6)
    await stream.close()
    return {"rtt_us": round_trips}


async def echo(host, peer, bytes, chunk=65_536):
    """Send random bytes and read them back at the same time."""
    payload = os.urandom(bytes)
    stream = await host.new_stream(ID.from_base58(peer), [ECHO])
    received = hashlib.sha256()
    count = 0
    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send, stream, payload, chunk)
        async for data in chunks(stream):
            received.update(data)
            count += len(data)
    seconds = time.perf_counter() - begun
    await stream.close()
    return {
        "bytes": count,
        "sha256_sent": hashlib.sha256(payload).hexdigest(),
        "sha256_received": received.hexdigest(),
        "seconds": seconds,
    }


async def _send(stream, payload, chunk):
    for offset in range(0, len(payload), chunk):
        await stream.write(payload[offset : offset + chunk])
    await stream.close_write()


async def streams(host, peer, count, bytes):
    """Keep `count` echo streams open together, then use and close each."""
    if count >= YAMUX_OUTBOUND_STREAMS:
        # The slot of an outbound stream is given back when the stream closes, not when the peer accepts it.
        raise ValueError(f"py-libp2p's yamux blocks for ever on outbound stream {YAMUX_OUTBOUND_STREAMS + 1}")
    peer_id = ID.from_base58(peer)
    opened = []
    early = trio.CapacityLimiter(EARLY_STREAMS)

    async def open_one():
        async with early:
            opened.append(await host.new_stream(peer_id, [ECHO]))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(open_one)
    completed = []
    async with trio.open_nursery() as nursery:
        for stream in opened:
            nursery.start_soon(_echo_once, stream, bytes, completed)
    return {"completed": sum(completed)}


async def _echo_once(stream, size, completed):
    payload = os.urandom(size)
    await stream.write(payload)
    await stream.close_write()
    answer = b"".join([data async for data in chunks(stream)])
    await stream.close()
    completed.append(answer == payload)


async def digest(host, peer, bytes):
    """Half-close, then read the peer's SHA-256 of what was sent."""
    payload = os.urandom(bytes)
    stream = await host.new_stream(ID.from_base58(peer), [DIGEST])
    await _send(stream, payload, 65_536)
    answer = b"".join([data async for data in chunks(stream)])
    await stream.close()
    return {"sha256_sent": hashlib.sha256(payload).hexdigest(), "sha256_remote": answer.hex()}


async def reset(host, peer):
    """Say how the end of a stream that the peer resets looks."""
    stream = await host.new_stream(ID.from_base58(peer), [RESET])
    await stream.write(b"x")
    try:
        # Without a count: read(n) reports a reset stream as ended (Yamux.read_stream no longer finds it).
        data = await stream.read()
    except StreamReset:
        return {"outcome": "reset"}
    except StreamEOF:
        return {"outcome": "eof"}
    return {"outcome": "data" if data else "eof"}


async def perf(host, peer, upload, download, chunk=PERF_BLOCK):
    """Time one perf exchange; measure_performance of py-libp2p does not tell the two directions apart."""
    stream = await host.new_stream(ID.from_base58(peer), [PERF])
    block = bytes(chunk)
    begun = time.perf_counter()
    await stream.write(struct.pack(">Q", download))
    for sent in range(0, upload, chunk):
        await stream.write(block[: min(chunk, upload - sent)])
    await stream.close_write()
    answered, received = None, 0
    async for data in _answer(stream, download):
        answered = answered or time.perf_counter()
        received += len(data)
    ended = time.perf_counter()
    await stream.close()
    if received != download:
        raise EOFError(f"{received} of {download} bytes arrived")
    answered = answered or ended
    return {"upload_seconds": answered - begun, "download_seconds": ended - answered}


async def _answer(stream, size):
    """Yield the `size` bytes that were asked for; wait for the end instead where none were."""
    # As measure_performance does, which stops at the last byte: once both directions of a QUIC stream have ended, and
    # what came is read, the next read says that the stream was reset, although it was not.
    try:
        async for data in chunks(stream, PERF_BLOCK):
            yield data
            size -= len(data)
            if size == 0:
                return
    except StreamReset:
        if size or not _ended(stream):
            raise


def _ended(stream):
    quic = stream.muxed_stream
    return isinstance(quic, QUICStream) and quic.is_closed() and not quic.is_reset()
