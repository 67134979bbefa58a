"""The compiled engine as Python sees it: arguments, results, and the verifier that it calls during the handshake."""

from __future__ import annotations

import hmac
import random
import threading
from collections.abc import Sequence

import pytest

from peerstack.stack.identity import Identity, PublicKey
from peerstack.stack.security.tls.certificate import verify_certificate

from .pair import ADDRESSES, SIZE, Pair, engine, make_engine, verify

BAD_CERTIFICATE = 0x100 + 42


def test_both_sides_judge_the_certificate_of_the_other() -> None:
    identities = Identity.generate(), Identity.generate()
    pair = Pair(make_engine(identities[0]), make_engine(identities[1]))
    keys: list[PublicKey] = []

    def verifier(certificates: Sequence[bytes]) -> bool:
        keys.extend(map(verify_certificate, certificates))
        return True

    pair.dial(verifier)
    pair.run(0.1)
    pair.accept(verifier)
    pair.run(0.1)
    assert keys == [identities[1].public_key, identities[0].public_key]


def test_a_judge_that_says_no_ends_the_connection() -> None:
    pair = Pair()
    connection = pair.dial(lambda certificates: False)
    pair.run(0.1)
    pair.accept()
    pair.run(0.5)
    assert (engine.CONNECTED, connection) not in pair.events[0]
    assert pair.lost(0)[:4] == (engine.LOST, connection, engine.CAUSE_BROKEN, BAD_CERTIFICATE)
    assert pair.lost(1)[2:4] == (engine.CAUSE_ABORTED, BAD_CERTIFICATE)


def test_what_a_judge_raises_is_raised_where_datagrams_are_taken() -> None:
    pair = Pair()

    def verifier(certificates: Sequence[bytes]) -> bool:
        raise ZeroDivisionError("a bug in the verifier")

    pair.dial(verifier)
    pair.run(0.1)
    pair.accept()
    with pytest.raises(ZeroDivisionError, match="a bug in the verifier"):
        pair.run(0.5)
    pair.run(0.5)
    assert pair.lost(0)[3] == BAD_CERTIFICATE


def test_a_judge_cannot_call_the_engine() -> None:
    pair = Pair()
    errors = []

    def verifier(certificates: Sequence[bytes]) -> bool:
        with pytest.raises(RuntimeError) as error:
            pair.engines[0].open(1)
        errors.append(error.value)
        return True

    connection = pair.dial(verifier)
    pair.run(0.1)
    pair.accept()
    pair.run(0.5)
    assert len(errors) == 1
    assert (engine.CONNECTED, connection) in pair.events[0]


def test_streams_carry_bytes_of_any_kind_of_buffer() -> None:
    pair = Pair()
    near, far = pair.connect()
    stream = pair.engines[0].open(near)
    assert stream == 0
    for data in (b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3], memoryview(b"g.h.")[::2]):
        assert pair.engines[0].write(near, stream, data) == 2
    assert pair.engines[0].write(near, stream, b"", end=True) == 0
    pair.run(0.1)
    assert pair.events[1][-2:] == [(engine.OPENED, far, stream), (engine.READABLE, far, stream)]
    assert pair.engines[1].read(far, stream, 3) == (b"abc", False)
    assert pair.engines[1].read(far, stream, 0) is None
    assert pair.engines[1].read(far, stream, 100) == (b"defgh", True)
    assert pair.engines[1].read(far, stream, 100) is None
    pair.run(0.1)
    assert (engine.FINISHED, near, stream) in pair.events[0]


def test_a_transfer_with_losses_arrives_whole() -> None:
    pair = Pair()
    near, far = pair.connect()
    generator = random.Random(1)
    pair.tap = lambda to, datagram: datagram if generator.random() > 0.02 else None
    stream, sent, got, ended = pair.engines[0].open(near), 0, bytearray(), False
    assert stream is not None
    data = generator.randbytes(500_000)
    for _ in range(2000):
        sent += pair.engines[0].write(near, stream, memoryview(data)[sent:], end=True) or 0
        pair.run(0.02)
        while (read := pair.engines[1].read(far, stream, 100_000)) is not None:
            got += read[0]
            ended = read[1]
        if ended:
            break
    assert bytes(got) == data
    statistics = pair.engines[0].statistics(near)
    assert statistics["packets_lost"] > 0
    assert statistics["datagram_size"] == SIZE
    rtt = pair.engines[0].rtt(near)
    assert rtt is not None
    assert rtt >= 0.02


def test_times_are_those_of_the_caller() -> None:
    pair = Pair(make_engine(now=1e6, keep_alive=None), make_engine(now=1e6, keep_alive=None))
    pair.now = 1e6
    near, _ = pair.connect()
    assert pair.engines[0].unanswered_since(near) is None
    pair.tap = lambda to, datagram: None
    asked = pair.now
    pair.engines[0].ping(near)
    pair.run(0.001)
    assert pair.engines[0].unanswered_since(near) == pytest.approx(asked, abs=1e-5)
    pair.run(40)
    assert pair.lost(0)[2] == engine.CAUSE_TIMED_OUT


def test_batches_go_out_with_details_if_wanted() -> None:
    near = make_engine(details=True)
    near.connect(ADDRESSES[1], verify, SIZE, 0.0)
    _, batches, deadline, more = near.flush(0.0, 64)
    ((data, segment, address, ecn, local),) = batches
    assert len(data) == segment >= 1200
    assert (address, ecn, local) == (ADDRESSES[1], 2, None)
    assert deadline is not None
    assert not more


def test_a_connection_answers_from_where_it_was_dialed() -> None:
    near, far = make_engine(), make_engine(details=True)
    far.listen(True)
    near.connect(ADDRESSES[1], verify, SIZE, 0.0)
    data, segment, _ = near.flush(0.0, 64)[1][0]
    far.receive(data, segment, ADDRESSES[0], 0.0, ecn=2, local="192.0.2.7")
    ((_, arrival, address, local, validated),) = far.flush(0.0, 64)[0]
    assert (address, local, validated) == (ADDRESSES[0], "192.0.2.7", False)
    far.accept(arrival, verify, SIZE, 0.0)
    assert {batch[4] for batch in far.flush(0.0, 64)[1]} == {"192.0.2.7"}


def test_ipv6_addresses_keep_their_scope() -> None:
    near = make_engine()
    near.connect(("fe80::1", 5, 0, 3), verify, SIZE, 0.0)
    assert near.flush(0.0, 64)[1][0][2] == ("fe80::1", 5, 0, 3)


def test_tokens_of_resets_are_those_of_the_other_engine() -> None:
    far = make_engine()
    far.receive(bytes([0x40, *range(60)]), 0, ADDRESSES[0], 0.0)
    ((reset, _, _),) = far.flush(0.0, 64)[1]
    assert reset[-16:] == hmac.digest(bytes(32), bytes(range(8)), "sha256")[:16]


# ---- wrong arguments


def test_ended_connections_are_unknown() -> None:
    pair = Pair()
    near, _ = pair.connect()
    pair.engines[0].close(near, 0, b"", pair.now)
    with pytest.raises(engine.Unknown, match="no such connection"):
        pair.engines[0].open(near)
    with pytest.raises(LookupError):
        pair.engines[0].close(near, 0, b"", pair.now)
    with pytest.raises(engine.Unknown):
        pair.engines[1].refuse(12345)


@pytest.mark.parametrize("number", [2, 3, 1 << 61, (1 << 64) - 1])
def test_streams_that_cannot_be_take_and_give_nothing(number: int) -> None:
    pair = Pair()
    near, _ = pair.connect()
    assert pair.engines[0].read(near, number, 10) is None
    assert pair.engines[0].write(near, number, b"x") is None
    pair.engines[0].reset(near, number, 0)
    pair.engines[0].stop(near, number, 0)
    pair.run(0.1)
    assert pair.engines[0].open(near) == 0


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="cubic, newreno and bbr"):
        make_engine(congestion="reno")
    with pytest.raises(ValueError, match="more than 0 seconds"):
        make_engine(idle_timeout=0.0)
    with pytest.raises(ValueError, match="finite"):
        make_engine(now=float("nan"))
    with pytest.raises(ValueError, match="max_streams"):
        make_engine(max_streams=1 << 40)
    with pytest.raises(ValueError):
        engine.Engine(b"no certificate", b"no key", bytes(32), 0.0)
    near = make_engine()
    with pytest.raises(ValueError, match=r"localhost.* is not an IP address"):
        near.connect(("localhost", 1), verify, SIZE, 0.0)
    with pytest.raises(ValueError, match="1200 to 65527"):
        near.connect(ADDRESSES[1], verify, 1000, 0.0)
    with pytest.raises(ValueError, match="invalid remote address"):
        near.connect(("0.0.0.0", 1), verify, SIZE, 0.0)
    with pytest.raises(ValueError, match="finite"):
        near.flush(float("inf"), 64)
    pair = Pair()
    connection, _ = pair.connect()
    with pytest.raises(ValueError, match=r"less than 2\*\*62"):
        pair.engines[0].close(connection, 1 << 62, b"", pair.now)


def test_another_thread_is_told_that_the_engine_is_at_work() -> None:
    pair = Pair()
    asked, answered = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def verifier(certificates: Sequence[bytes]) -> bool:
        asked.set()
        answered.wait(10)
        return True

    def call() -> None:
        asked.wait(10)
        try:
            pair.engines[0].open(1)
        except RuntimeError as error:
            errors.append(error)
        answered.set()

    thread = threading.Thread(target=call)
    thread.start()
    connection = pair.dial(verifier)
    pair.run(0.1)
    pair.accept()
    pair.run(0.5)
    thread.join()
    assert len(errors) == 1
    assert (engine.CONNECTED, connection) in pair.events[0]
