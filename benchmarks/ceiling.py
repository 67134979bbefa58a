"""How fast one process can send another bytes through trio at best: plain, or in encrypted frames."""

import os
import struct
from collections.abc import Callable

import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

SEND_BYTES = 256 * 1024
RECEIVE_BYTES = 1 << 20
KEY = bytes(32)
HEADER, PAYLOAD, TAG = 2, 65519, 16
FRAMES_A_SEND = 4
_nonce = struct.Struct("<4xQ").pack
_length = struct.Struct(">H")


async def send_raw(stream: trio.SocketStream, total: int) -> None:
    """Send `total` bytes, 256 KiB at a time."""
    block = memoryview(os.urandom(SEND_BYTES))
    for left in range(total, 0, -SEND_BYTES):
        await stream.send_all(block[:left])


async def receive_raw(stream: trio.SocketStream, begun: Callable[[], None]) -> int:
    """Return how many bytes arrive up to the end; call `begun` at the first."""
    buffer, total = bytearray(RECEIVE_BYTES), 0
    while got := await stream.socket.recv_into(buffer):
        if not total:
            begun()
        total += got
    return total


async def send_sealed(stream: trio.SocketStream, total: int) -> None:
    """Send `total` bytes in frames of 64 KiB, four at a time, each encrypted into its place."""
    encrypt, frames, end = ChaCha20Poly1305(KEY).encrypt_into, 0, 0
    block, out = memoryview(os.urandom(PAYLOAD)), memoryview(bytearray(FRAMES_A_SEND * (HEADER + PAYLOAD + TAG)))
    for left in range(total, 0, -PAYLOAD):
        size = min(left, PAYLOAD)
        _length.pack_into(out, end, size + TAG)
        encrypt(_nonce(frames), block[:size], None, out[end + HEADER : end + HEADER + size + TAG])
        frames, end = frames + 1, end + HEADER + size + TAG
        if frames % FRAMES_A_SEND == 0 or left <= PAYLOAD:
            await stream.send_all(out[:end])
            end = 0


async def receive_sealed(stream: trio.SocketStream, begun: Callable[[], None]) -> int:
    """Return how many bytes arrive in frames up to the end; call `begun` when the first do."""
    decrypt, frames, total, end = ChaCha20Poly1305(KEY).decrypt_into, 0, 0, 0
    buffer, plain = memoryview(bytearray(RECEIVE_BYTES)), memoryview(bytearray(PAYLOAD))
    while got := await stream.socket.recv_into(buffer[end:]):
        if not (total or end):
            begun()
        start, end = 0, end + got
        while end - start >= HEADER and (size := _length.unpack_from(buffer, start)[0]) <= end - start - HEADER:
            start += HEADER
            total += decrypt(_nonce(frames), buffer[start : start + size], None, plain[: size - TAG])
            frames, start = frames + 1, start + size
        buffer[: end - start] = buffer[start:end]
        end -= start
    return total


SEND = {"raw": send_raw, "sealed": send_sealed}
RECEIVE = {"raw": receive_raw, "sealed": receive_sealed}
