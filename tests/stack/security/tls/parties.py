"""Two channels with keys of their own making, and a peer that seals what it likes."""

from __future__ import annotations

from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.tls.channel import TlsChannel
from peerstack.stack.security.tls.records import HEADER, SUITES, TrafficKeys

CIPHERS = list(SUITES)
ONE, OTHER = bytes(range(32)), bytes(range(32, 64))
DATA, ALERT, HANDSHAKE = 23, 21, 22


def keys(secret: bytes, cipher: str = CIPHERS[0]) -> TrafficKeys:
    """Return the keys of one direction from its start."""
    return TrafficKeys(SUITES[cipher], secret * (48 // len(secret) + 1) if cipher.endswith("SHA384") else secret)


def channel_pair(cipher: str = CIPHERS[0], capacity: int = 1 << 20) -> tuple[TlsChannel, TlsChannel]:
    """Return two ends that trust each other."""
    near, far = memory_pipe_pair(capacity)
    one = TlsChannel(near, keys(ONE, cipher), keys(OTHER, cipher))
    return one, TlsChannel(far, keys(OTHER, cipher), keys(ONE, cipher))


def sealed(sender: TrafficKeys, content: bytes, kind: int | None = DATA, padding: int = 0) -> bytes:
    """Return one record as RFC 8446 describes it, written without the code under test."""
    inner = content + (b"" if kind is None else bytes([kind])) + bytes(padding)
    header = HEADER.pack(DATA, 0x0303, len(inner) + 16)
    output = bytearray(len(inner) + 16)
    sender.encrypt_into((sender.iv ^ sender.sequence).to_bytes(12, "big"), inner, header, output)
    sender.sequence += 1
    return header + output


class Peer:
    """The other end of a channel, which seals what it likes and reads what comes back."""

    def __init__(self) -> None:
        near, far = memory_pipe_pair(1 << 22)
        self.pipe: MemoryPipe = near
        self.keys = keys(ONE)
        self.channel = TlsChannel(far, keys(OTHER), keys(ONE))
        self._theirs = keys(OTHER)

    def send(self, *records: bytes) -> None:
        """Put records on the wire."""
        self.pipe.send_nowait(b"".join(records))

    def seal(self, content: bytes, kind: int | None = DATA, padding: int = 0) -> bytes:
        """Seal the next record."""
        return sealed(self.keys, content, kind, padding)

    async def received(self) -> list[tuple[int, bytes]]:
        """Return types and contents of the records that came back."""
        wire = await self.pipe.receive_some() if self.pipe.incoming.size else b""
        found = []
        while wire:
            size = HEADER.unpack_from(wire)[2]
            opened = bytearray(size - 16)
            nonce = (self._theirs.iv ^ self._theirs.sequence).to_bytes(12, "big")
            self._theirs.decrypt_into(nonce, bytes(wire[5 : 5 + size]), bytes(wire[:5]), opened)
            self._theirs.sequence += 1
            found.append((opened[-1], bytes(opened[:-1])))
            if opened[-1] == HANDSHAKE and opened[0] == 24:
                self._theirs = self._theirs.next()
            wire = wire[5 + size :]
        return found
