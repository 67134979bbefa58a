"""Whatever comes as a datagram, and in whatever order Python calls: the process lives, and the engine goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from .pair import ADDRESSES, SIZE, Pair, engine, make_engine, verify

EXPECTED = (engine.Unknown, engine.Refused, ValueError, OverflowError, TypeError, RuntimeError)


def works(pair: Pair) -> bool:
    """Say whether a new connection of the pair still carries data."""
    pair.tap = lambda to, datagram: datagram
    pair.events[0].clear()
    pair.events[1].clear()
    near, far = pair.connect()
    stream = pair.engines[0].open(near)
    assert stream is not None
    pair.engines[0].write(near, stream, b"still here", end=True)
    pair.run(0.1)
    return pair.engines[1].read(far, stream, 100) == (b"still here", True)


def mutate(generator: random.Random, datagram: bytes) -> bytes:
    changed = bytearray(datagram)
    for _ in range(generator.randrange(1, 4)):
        match generator.randrange(4):
            case 0:
                changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
            case 1:
                del changed[generator.randrange(1, len(changed) + 1) :]
            case 2:
                changed += generator.randbytes(generator.randrange(1, 50))
            case _:
                at = generator.randrange(min(40, len(changed)))  # headers are where parsers look
                changed[at] = generator.choice([0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF])
    return bytes(changed)


@pytest.mark.parametrize("seed", range(3))
def test_any_datagram(seed: int) -> None:
    generator, pair = random.Random(seed), Pair()
    near, _ = pair.connect()
    seen: list[bytes] = []

    def tap(to: int, datagram: bytes) -> bytes:
        seen.append(datagram)
        return datagram

    pair.tap = tap
    pair.dial()
    for number in range(3000):
        kind = generator.randrange(3)
        if kind == 0 or not seen:
            datagram = generator.randbytes(generator.randrange(0, 1500))
        else:
            datagram = mutate(generator, generator.choice(seen)) if kind == 1 else generator.choice(seen)
        address = ADDRESSES[0] if generator.random() < 0.9 else ("10.9.9.9", generator.randrange(1, 65536))
        segment = generator.choice([0, len(datagram), 1200, generator.randrange(1, 2000)])
        pair.engines[1].receive(datagram, segment, address, pair.now, ecn=generator.randrange(256))
        if number % 50 == 0:
            stream = pair.engines[0].open(near)
            if stream is not None:
                pair.engines[0].write(near, stream, generator.randbytes(100), end=True)
            pair.run(0.01)
            del seen[:-200]
    pair.engines[1].flush(pair.now, 100_000)  # what is to be sent to unknown addresses
    assert works(pair)


Call = Callable[[random.Random, Pair, int], object]

NUMBERS: Sequence[int] = (0, 1, 2, 3, 4, 5, 8, 9, 1 << 30, (1 << 62) - 1, 1 << 62, (1 << 64) - 1, 1 << 64, -1)
SIZES: Sequence[int] = (0, 1, 1199, 1200, SIZE, 65_527, 65_535, 65_536, 1 << 31, -1)
TIMES: Sequence[float] = (0.0, -1.0, 1e300, -1e300, float("nan"), float("inf"), 5.0)


def number(generator: random.Random) -> int:
    return generator.choice(NUMBERS) if generator.random() < 0.2 else generator.randrange(0, 12)


def time(generator: random.Random, pair: Pair) -> float:
    return generator.choice(TIMES) if generator.random() < 0.02 else pair.now


CALLS: Sequence[Call] = (
    lambda g, p, side: p.engines[side].open(number(g)),
    lambda g, p, side: p.engines[side].write(
        number(g), number(g), g.randbytes(g.choice([0, 1, 5000])), end=g.random() < 0.3
    ),
    lambda g, p, side: p.engines[side].read(number(g), number(g), g.choice([0, 1, 100, 1 << 20, 1 << 40])),
    lambda g, p, side: p.engines[side].reset(number(g), number(g), number(g)),
    lambda g, p, side: p.engines[side].stop(number(g), number(g), number(g)),
    lambda g, p, side: p.engines[side].ping(number(g)),
    lambda g, p, side: p.engines[side].mark(number(g)),
    lambda g, p, side: p.engines[side].close(number(g), number(g), g.randbytes(g.choice([0, 10, 3000])), time(g, p)),
    lambda g, p, side: p.engines[side].accept(number(g), verify, g.choice(SIZES), time(g, p)),
    lambda g, p, side: p.engines[side].refuse(number(g)),
    lambda g, p, side: p.engines[side].retry(number(g)),
    lambda g, p, side: p.engines[side].ignore(number(g)),
    lambda g, p, side: p.engines[side].listen(g.random() < 0.8),
    lambda g, p, side: p.engines[side].connect(ADDRESSES[1 - side], verify, g.choice(SIZES), time(g, p)),
    lambda g, p, side: p.engines[side].set_receive_window(number(g), number(g)),
    lambda g, p, side: p.engines[side].set_max_streams(number(g), number(g)),
    lambda g, p, side: (p.engines[side].statistics(number(g)), p.engines[side].rtt(number(g))),
    lambda g, p, side: (p.engines[side].address(number(g)), p.engines[side].unanswered_since(number(g))),
    lambda g, p, side: p.engines[side].flush(p.now, g.choice([0, 1, 64])) and None,
    lambda g, p, side: p.run(g.choice([0.0, 0.001, 0.1, 5.0])),
)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_calls(seed: int) -> None:
    generator = random.Random(seed)
    pair = Pair(make_engine(close_copies=1), make_engine(max_streams=5))
    pair.engines[0].listen(True)
    pair.connect()
    failures = 0
    for _ in range(1500):
        try:
            generator.choice(CALLS)(generator, pair, generator.randrange(2))
        except EXPECTED:
            failures += 1
        if generator.random() < 0.02:
            pair.dial()
    assert failures
    fresh = Pair()
    assert works(fresh)
