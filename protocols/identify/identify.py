"""The four exchanges of identify: ask and answer (`/ipfs/id/1.0.0`), push and take (`/ipfs/id/push/1.0.0`).

One side sends its messages and closes; the other reads to the end. Deadlines are the caller's.
"""

from __future__ import annotations

from peerstack.stack.abc import Stream
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.framing import BufferedReader, EndOfMessages, read_length_prefixed
from peerstack.stack.host.arguments import check_kind, check_part
from peerstack.stack.limits import MemoryAccount

from .wire import MAX_MESSAGE, MAX_MESSAGES, Identify, decode, encode

PROTOCOL = "/ipfs/id/1.0.0"
PUSH_PROTOCOL = "/ipfs/id/push/1.0.0"


async def identify(stream: Stream, *, memory: MemoryAccount | None = None) -> Identify:
    """Return what the peer says of itself on a stream opened to it for identify; closes the stream.

    What is read is held in `memory` meanwhile. Raises RemoteProtocolError for anything malformed or too long,
    LimitExceeded where there is no room, and what the stream raises.
    """
    return await _receive(stream, memory)


async def serve(stream: Stream, ours: Identify) -> None:
    """Answer a stream opened for identify by what we say of ourselves."""
    await _send(stream, ours)


async def push(stream: Stream, ours: Identify) -> None:
    """Say what we are now on a stream opened to a peer for push."""
    await _send(stream, ours)


async def serve_push(stream: Stream, *, memory: MemoryAccount | None = None) -> Identify:
    """Return what the peer pushed; what it left empty is unchanged. Raises as `identify` does."""
    return await _receive(stream, memory)


async def _send(stream: Stream, ours: Identify) -> None:
    check_part(stream, "identify takes a stream", "send_all")
    check_kind(ours, "what identify says", Identify)
    await stream.send_all(encode(ours))
    await stream.aclose()


async def _receive(stream: Stream, memory: MemoryAccount | None) -> Identify:
    check_part(stream, "identify takes a stream", "receive_some")
    held = 0
    try:
        messages: list[bytes] = []
        reader = BufferedReader(stream)
        while True:
            if memory is not None:
                memory.hold(MAX_MESSAGE)
                held += MAX_MESSAGE
            try:
                message = await read_length_prefixed(reader, limit=MAX_MESSAGE)
            except EndOfMessages:
                if not messages:
                    raise
                break
            if len(messages) == MAX_MESSAGES:
                raise RemoteProtocolError(f"the peer sent more than {MAX_MESSAGES} identify messages")
            messages.append(message)
        await stream.aclose()
        return decode(messages)
    finally:
        if memory is not None:
            memory.free(held)
