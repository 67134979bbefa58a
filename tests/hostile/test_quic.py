"""QUIC under attack: what a peer can make us keep, do or believe, before and after the handshake."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.identity import Identity
from peerstack.transports.quic import QuicConfig, QuicTransport
from peerstack.transports.quic.engine_aioquic import AioquicEngine
from peerstack.transports.quic.engine_aioquic.packets import parse_header
from peerstack.transports.quic.interface import Readable

from ..transports.quic.hosts import ANYWHERE, attempt, connected
from ..transports.quic.link import MemoryNetwork
from ..transports.quic.raw import CLIENT, Attack, stream_frame, varints


@pytest.fixture
def attack() -> Attack:
    """Return a peer that is let in, and may now do what it likes."""
    established = Attack().exchange()
    assert established.connected
    return established


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        (stream_frame(2, 0, b"x"), "Too many streams"),
        (stream_frame(4 * 256, 0, b"x"), "Too many streams"),
        (stream_frame(1, 0, b"x"), "Wrong stream initiator"),
        (stream_frame(0, 600_000, b"x"), "Over stream data limit"),
        (varints(0x04, 0, 0, 1 << 40), "Over stream data limit"),
        (varints(0x12, 1 << 61), "2\\^60"),
        (varints(0x06, 70_000, 1) + b"x", "TLS messages"),
        (varints(0x21), "Unknown frame"),
        (varints(0x1E), "HANDSHAKE_DONE"),
        (varints(0x07, 1) + b"x", "NEW_TOKEN"),
        (varints(0x30) + b"datagram", "DATAGRAM"),
        (varints(0x02, 1000, 0, 0, 2000), "negative|ack|ACK|parse"),
        (varints(0x18, 1, 5, 8) + bytes(24), "Retire Prior To"),
        (varints(0x19, 99), "unknown connection ID"),
        (varints(0x0E, 0, 0, 100) + b"x", "parse"),
    ],
    ids=[
        "unidirectional stream",
        "257th stream",
        "stream of ours",
        "beyond the window",
        "reset beyond the window",
        "absurd limit",
        "crypto flood",
        "unknown frame",
        "role reversal",
        "token from a client",
        "datagram",
        "impossible ack",
        "impossible retirement",
        "retiring the unknown",
        "cut off",
    ],
)
def test_a_broken_rule_ends_the_connection_and_is_named(attack: Attack, frames: bytes, complaint: str) -> None:
    attack.frames(frames)
    assert isinstance(attack.failure, RemoteProtocolError)
    with pytest.raises(RemoteProtocolError, match=complaint):
        raise attack.failure
    attack.exchange()
    assert attack.client._close_event is not None, "the peer is not told"


def test_pieces_with_gaps_are_bounded(attack: Attack) -> None:
    """CVE-2026-25800: each one-byte piece with a gap behind it costs an entry in a list."""
    config, number = attack.config, 0
    while not attack.ended and number < config.max_reassembly_gaps + 2:
        number += 1
        attack.frames(stream_frame(0, 2 * number + 1, b"x"))
    assert number > config.max_reassembly_gaps - 2
    assert "too many pieces" in str(attack.failure)


def test_gaps_cost_no_more_memory_than_the_windows_allow(attack: Attack) -> None:
    known = attack.connection._streams
    for stream in range(20):
        attack.frames(stream_frame(4 * stream, attack.config.stream_window - 1, b"x"))
    assert "Over connection data limit" in str(attack.failure)
    streams = known.values()
    assert sum(len(stream.receiver._buffer) for stream in streams) <= attack.config.connection_window


def test_a_reset_gives_back_the_window_of_what_will_not_be_read(attack: Attack) -> None:
    for stream in range(100):
        attack.frames(stream_frame(4 * stream, 0, bytes(1000)))
        attack.frames(varints(0x04, 4 * stream, 0, 50_000))
    assert not attack.ended, attack.failure


def test_dropped_streams_are_counted_but_not_kept(attack: Attack) -> None:
    attack.frames(stream_frame(0, 0, b"x"))
    assert attack.engine.read(attack.handle, 0, 1) == (b"x", False)
    attack.engine.stop(attack.handle, 0, 0)
    attack.events.clear()
    for offset in range(1, 400_000, 1000):
        attack.frames(stream_frame(0, offset, bytes(1000)))
    assert not [event for event in attack.events if isinstance(event, Readable)]
    assert attack.engine.read(attack.handle, 0, 1) is None
    assert attack.connection._flow.connection.consumed >= 400_000
    granted = attack.connection._streams[0].max_stream_data_local
    assert granted == attack.config.stream_window, "a peer that was told to stop is given more"


@pytest.mark.parametrize("count", [1000])
def test_path_challenges_are_answered_within_a_bound(attack: Attack, count: int) -> None:
    """CVE-2023-49295: challenges arrive faster than answers leave."""
    for _ in range(count):
        attack.frames(varints(0x1A) + os.urandom(8))
    path = attack.connection._connection._network_paths[0]
    assert len(path.remote_challenges) <= 32


def test_connection_ids_cannot_be_rotated_without_end(attack: Attack) -> None:
    """CVE-2024-22189: each new id retires the last, and the retirements pile up."""
    number = 0
    while not attack.ended and number < 1000:
        number += 1
        attack.frames(varints(0x18, number, number, 8) + number.to_bytes(8, "big") + bytes(16))
    assert isinstance(attack.failure, RemoteProtocolError)
    assert "connection ID" in str(attack.failure)
    assert number < 200


def test_streams_opened_and_reset_in_a_loop_stay_within_the_limit(attack: Attack) -> None:
    opened = 0
    while not attack.ended and opened < 1000:
        attack.frames(stream_frame(4 * opened, 0, b"x"))
        attack.frames(varints(0x04, 4 * opened, 0, 1))
        opened += 1
    assert opened <= attack.config.max_inbound_streams + 1


def test_late_and_repeated_handshake_packets_are_harmless() -> None:
    """CVE-2023-46239: packets of keys that are gone."""
    fresh = Attack()
    sent: list[bytes] = []
    for _ in range(6):
        fresh.now += 0.01
        batch = [datagram for datagram, _ in fresh.client.datagrams_to_send(fresh.now)]
        sent += batch
        for datagram in batch:
            fresh.receive(datagram)
        for datagram in fresh.answers():
            fresh.client.receive_datagram(datagram, ("192.0.2.2", 2222), fresh.now)
    assert fresh.connected
    fresh.events.clear()
    fresh.now += 1
    for datagram in sent * 20:
        fresh.hit(datagram)
    assert not fresh.events


def test_what_is_sent_before_the_address_is_proved_is_three_times_what_came() -> None:
    attack = Attack()
    ((first, _),) = attack.client.datagrams_to_send(attack.now)
    sent = sum(map(len, attack.hit(first)))
    for _ in range(50):
        attack.now += 1
        sent += sum(map(len, attack.flush()))
    assert attack.ended, "it never ends"
    assert 0 < sent <= 3 * len(first)


def test_another_address_may_not_take_over_a_connection(attack: Attack) -> None:
    attack.receive(attack.client.one_rtt(stream_frame(0, 0, b"x")), ("198.51.100.7", 1))
    attack.flush()
    assert not [event for event in attack.events if isinstance(event, Readable)]
    attack.source = (CLIENT[0], 9)
    attack.frames(stream_frame(0, 0, b"x"))
    assert [event for event in attack.events if isinstance(event, Readable)], "a NAT may change the port"


def test_nothing_is_said_to_a_peer_that_sent_a_stateless_reset(attack: Attack) -> None:
    """RFC 9000, 10.3.1: it knows nothing of the connection, and would answer with the next one."""
    token = attack.connection.reset_token
    assert len(token) == 16
    assert attack.hit(b"\x41" + os.urandom(30) + token) == []
    assert isinstance(attack.failure, ConnectionLost)
    assert "forgotten" in str(attack.failure)
    attack.now += 1
    assert attack.hit(attack.client.one_rtt(stream_frame(0, 0, bytes(100)))) == []
    assert not attack.engine._connections


@pytest.mark.parametrize("method", ["receive_datagram", "datagrams_to_send", "handle_timer"])
def test_a_bug_in_the_engine_costs_one_connection(method: str, attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise IndexError("a check is missing")

    monkeypatch.setattr(attack.connection._connection, method, crash)
    attack.frames(varints(0x01))
    attack.now += 1
    attack.flush()
    assert isinstance(attack.failure, RemoteProtocolError)
    assert "cannot read" in str(attack.failure)
    assert not attack.engine._connections
    assert not attack.engine._routes


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_have_a_header_or_none(datagram: bytes) -> None:
    header = parse_header(datagram)
    assert header is None or len(header.destination) <= 255


@settings(max_examples=60, deadline=None)
@given(st.integers(), st.integers(1, 60))
def test_spoiled_datagrams_never_crash_an_engine(seed: int, changes: int) -> None:
    random, attack = Random(seed), Attack()
    for _ in range(6):
        attack.now += 0.01
        for datagram, _ in attack.client.datagrams_to_send(attack.now):
            if attack.handle < 0:
                attack.hit(datagram)  # what is spoiled may begin a connection of its own
            spoiled = bytearray(datagram)
            for _ in range(changes):
                spoiled[random.randrange(len(spoiled))] = random.randrange(256)
            attack.receive(bytes(spoiled))
            attack.receive(datagram)
        for datagram in attack.answers():
            attack.client.receive_datagram(datagram, ("192.0.2.2", 2222), attack.now)
    assert attack.connected, "noise in between must not stop a handshake"


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_any_frames_of_a_peer_that_is_let_in_are_read_or_refused(frames: bytes) -> None:
    attack = Attack().exchange()
    attack.frames(frames)
    attack.exchange()
    assert attack.failure is None or isinstance(attack.failure, RemoteProtocolError | ConnectionLost)
    assert "cannot read" not in str(attack.failure), "aioquic crashed"


# ---- the socket


def _flood(network: MemoryNetwork, make: Callable[[int], bytes], count: int, target: object) -> list[bytes]:
    """Hit the target from one socket, and collect the answers."""
    answers: list[bytes] = []
    attacker = network.bind(("127.0.0.1", 0))
    tap = network.tap

    def listen(datagram: bytes, source: object, destination: object) -> bytes | None:
        if destination == attacker.address:
            answers.append(datagram)
            return None
        return tap(datagram, source, destination)  # type: ignore[arg-type]

    network.tap = listen
    assert isinstance(target, tuple)
    for number in range(count):
        attacker.send([make(number)], target)
    return answers


def _initial(number: int, *, version: int = 1, size: int = 1200) -> bytes:
    head = b"\xc3" + version.to_bytes(4, "big") + b"\x08" + number.to_bytes(8, "big") + b"\x08" + bytes(8)
    return (head + b"\x00\x44\x96").ljust(size, b"\x55")


async def _served(config: QuicConfig, make: Callable[[int], bytes], count: int) -> tuple[list[bytes], int]:
    """Flood a listener; return its answers and how many connections it let begin. It must work afterwards."""
    network = MemoryNetwork()
    async with connected(network, far=config) as pair:
        target = next(each for each in network.sockets if each[1] == _port(pair.listener.address))
        answers = _flood(network, make, count, target)
        await trio.sleep(0.5)
        arrived = len(pair.far._endpoint._arrivals)
        stream = await pair.near.open_stream()
        await stream.send_all(b"x")
        assert await (await pair.far.accept_stream()).receive_some() == b"x"
        return answers, arrived


def _port(address: object) -> int:
    return int(str(address).split("/")[4])


async def test_unverified_handshakes_beyond_the_rate_must_prove_their_address(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers, arrived = await _served(QuicConfig(unverified_handshake_rate=20), _initial, 100)
    assert 15 <= arrived <= 30
    assert len(answers) >= 70
    assert all(answer[0] & 0xF0 == 0xF0 for answer in answers), "a Retry is asked for"
    assert all(len(answer) < 400 for answer in answers)


async def test_a_retried_client_gets_in_under_load(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    config = QuicConfig(unverified_handshake_rate=0.001)
    async with connected(network, far=config) as pair, trio.open_nursery() as nursery:
        retried: list[bytes] = []

        def watch(datagram: bytes, source: object, destination: object) -> bytes:
            if datagram[0] & 0xF0 == 0xF0:
                retried.append(datagram)
            return datagram

        network.tap = watch

        async def serve() -> None:
            with suppress(ConnectionLost):  # CONNECTION_CLOSE may come together with the end of the handshake
                await (await (await pair.listener.accept()).upgrade()).run()

        nursery.start_soon(serve)
        connection = await pair.dialer.dial(pair.listener.address, pair.near.remote_peer, attempt())
        assert retried, "the rate is exceeded, and no peer was asked for proof"
        await connection.aclose()


async def test_a_backlog_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    _, arrived = await _served(QuicConfig(accept_backlog=16), _initial, 500)
    assert arrived == 16


async def test_small_initials_begin_nothing_and_get_no_answer(autojump_clock: trio.testing.MockClock) -> None:
    answers, arrived = await _served(QuicConfig(), lambda number: _initial(number, size=1199), 50)
    assert (answers, arrived) == ([], 0)


async def test_version_negotiation_is_rate_limited_and_small(autojump_clock: trio.testing.MockClock) -> None:
    answers, arrived = await _served(QuicConfig(), lambda number: _initial(number, version=0xFF00001D), 1000)
    assert arrived == 0
    assert 50 <= len(answers) <= 200
    assert all(len(answer) < 64 for answer in answers)


async def test_stateless_resets_are_rate_limited_and_smaller_than_what_they_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers, _ = await _served(QuicConfig(), lambda number: b"\x41" + number.to_bytes(8, "big") + bytes(30), 1000)
    assert 50 <= len(answers) <= 200
    assert all(len(answer) < 39 for answer in answers)
    tiny, _ = await _served(QuicConfig(), lambda number: b"\x41" + number.to_bytes(8, "big") + bytes(10), 1000)
    assert not tiny, "two hosts could answer one another for ever"


@pytest.mark.parametrize("size", [1, 5, 9, 21, 1200, 60_000])
async def test_garbage_is_nothing(size: int, autojump_clock: trio.testing.MockClock) -> None:
    random = Random(size)
    _, arrived = await _served(QuicConfig(), lambda number: random.randbytes(size), 300)
    assert arrived <= 5


async def test_a_peer_that_never_finishes_is_cut_off_and_others_are_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    server = QuicTransport(Identity.generate(), network=network)
    async with await server.listen(ANYWHERE) as listener:
        attacker = network.bind(("127.0.0.1", 0))
        first = Attack().client.datagrams_to_send(100.0)
        attacker.send([datagram for datagram, _ in first], ("127.0.0.1", _port(listener.address)))
        with trio.fail_after(60):
            incoming = await listener.accept()
            with pytest.raises(ConnectionLost, match="nothing was heard"):
                await incoming.upgrade()
        engine = listener._endpoint.engine
        assert isinstance(engine, AioquicEngine)
        assert not engine._routes
        assert not engine._connections
