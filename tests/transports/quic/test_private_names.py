"""Each private name of aioquic that the engine relies on is there, and does what is relied on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aioquic import tls
from aioquic.quic.connection import QuicConnection
from aioquic.quic.recovery import QuicPacketPacer

import peerstack.transports.quic.engine_aioquic as engine_folder
from peerstack.transports.quic.engine_aioquic import certificates, connection, overrides, send_buffer
from peerstack.transports.quic.tokens import reset_token

from .raw import Attack, RawClient, stream_frame

pytestmark = pytest.mark.aioquic

FOLDER = Path(str(engine_folder.__file__)).parent


@pytest.fixture
def raw() -> RawClient:
    attack = Attack().exchange()
    attack.client.send_stream_data(0, b"x")
    return attack.client


@pytest.mark.parametrize("name", sorted({*overrides.CONNECTION_NAMES, *connection.ENGINE_NAMES}))
def test_connections_have_the_name(name: str, raw: RawClient) -> None:
    assert name in dir(raw), f"aioquic's QuicConnection has no {name} any more"


@pytest.mark.parametrize("name", sorted({*overrides.RECOVERY_NAMES, *connection.RECOVERY_NAMES}))
def test_loss_recovery_has_the_name(name: str, raw: RawClient) -> None:
    assert name in vars(raw._loss), f"aioquic's QuicPacketRecovery has no {name} any more"


@pytest.mark.parametrize("name", send_buffer.SENDER_NAMES)
def test_senders_have_the_name(name: str, raw: RawClient) -> None:
    assert name in vars(raw._streams[0].sender), f"aioquic's QuicStreamSender has no {name} any more"


@pytest.mark.parametrize("name", [*overrides.RECEIVER_NAMES, *connection.RECEIVER_NAMES])
def test_receivers_have_the_name(name: str, raw: RawClient) -> None:
    assert name in vars(raw._streams[0].receiver), f"aioquic's QuicStreamReceiver has no {name} any more"


@pytest.mark.parametrize("name", certificates.CONTEXT_NAMES)
def test_tls_contexts_have_the_name(name: str) -> None:
    assert name in dir(tls.Context(is_client=False)), f"aioquic's tls.Context has no {name} any more"


def test_no_other_private_name_is_used(raw: RawClient) -> None:
    stream = raw._streams[0]
    theirs = {*dir(raw), *dir(tls.Context(is_client=False))}
    for each in (raw._loss, raw._loss._pacer, stream, stream.sender, stream.receiver):
        theirs |= {*dir(each)}
    ours = {"_send"}
    listed = {*overrides.CONNECTION_NAMES, *connection.ENGINE_NAMES, *certificates.CONTEXT_NAMES}
    listed |= {*send_buffer.SENDER_NAMES, *connection.RECEIVER_NAMES, *overrides.RECEIVER_NAMES}
    listed |= {*overrides.RECOVERY_NAMES, *connection.RECOVERY_NAMES}
    for file in FOLDER.glob("*.py"):
        used = {name for name in re.findall(r"\.(_[a-z][a-z_]*)\b", file.read_text()) if name in theirs}
        assert used <= ours | listed, f"{file.name} uses {used - ours - listed}, which no list names"


def test_nothing_outside_the_folder_knows_aioquic() -> None:
    for file in FOLDER.parent.glob("*.py"):
        assert "import aioquic" not in file.read_text(), file
        assert "from aioquic" not in file.read_text(), file


def test_the_pacer_is_asked_before_each_packet_and_told_of_each_round_trip(raw: RawClient) -> None:
    pacer = raw._loss._pacer
    assert isinstance(pacer, QuicPacketPacer)
    pacer.update_rate(congestion_window=10_000, smoothed_rtt=0.1)
    assert pacer.packet_time is not None
    short = overrides.ShortPathPacer(max_datagram_size=1200)
    short.update_rate(10_000, 0.001)
    assert short.next_send_time(1.0) is None
    short.update_rate(10_000, 0.1)
    assert short.packet_time is not None


def test_windows_are_ours_and_not_doubled_by_aioquic() -> None:
    attack = Attack().exchange()
    for offset in range(0, 400_000, 1000):
        attack.frames(stream_frame(0, offset, bytes(1000)))
        attack.exchange(2)
    ours: QuicConnection = attack.connection._connection
    assert ours._streams[0].max_stream_data_local == attack.config.stream_window, "aioquic granted more by itself"
    assert ours._local_max_data.value == attack.config.connection_window
    read = attack.engine.read(attack.handle, 0, 1_000_000)
    assert read is not None
    assert len(read[0]) == 400_000
    assert attack.engine.needs_flush
    attack.flush()
    assert ours._streams[0].max_stream_data_local == attack.config.stream_window + 400_000
    assert ours._streams[0].max_stream_data_local_sent == attack.config.stream_window + 400_000


def test_streams_are_limited_to_our_number_and_unidirectional_ones_to_none() -> None:
    attack = Attack().exchange()
    assert attack.client._remote_max_streams_bidi == attack.config.max_inbound_streams
    assert attack.client._remote_max_streams_uni == 0


def test_reset_tokens_are_derived_for_every_id() -> None:
    attack = Attack().exchange()
    ours = attack.connection._connection
    assert len(ours._host_cids) > 1
    for each in ours._host_cids:
        assert each.stateless_reset_token == reset_token(ours._reset_key, each.cid)
    assert attack.client._peer_cid.stateless_reset_token == reset_token(ours._reset_key, ours._host_cids[0].cid)


def test_the_largest_datagram_is_declared_and_read() -> None:
    client = RawClient()
    attack = Attack(client).exchange()
    assert attack.connection._connection.peer_takes == 0, "aioquic declares none"
    received = next(data for kind, data in client.tls.received_extensions or [] if kind == 57)
    assert b"\x03\x04\x80\x00\xff\xf7" in received, "max_udp_payload_size of 65527 is not declared"
