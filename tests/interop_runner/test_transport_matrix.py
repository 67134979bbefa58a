"""Transports, security protocols and muxers: what is combined, told to peers, limited and certified."""

import json
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from cryptography import x509

from interop import pubsub_talk
from interop.layers import PLAIN, Certificates, Layers, all_layers, write_network_key
from interop.matrix import KNOWN_LIMITS, Cell, Direction, Limit, Outcome, Place, Program, to_cell, unix_path
from interop.network_rows import OTHER_KEY
from interop.transport_matrix import COMBINATIONS, ROWS, TRANSPORT_LIMITS, Stage, rows_for, run_transports
from peerstack.stack.security.pnet import PreSharedKey

FAKE = str(Path(__file__).with_name("fake_peer.py"))
WS = Layers(transport="ws", security="tls", muxer="mplex")
PRIVATE = Layers(private=True)
QUIC = Layers(transport="quic-v1", security="", muxer="")
PLACE = Place(peer="py", direction=Direction.OURS_DIALS, key_type="ed25519", row="connect", layers=WS)


def program(name: str, *arguments: str, **faults: dict[str, Any]) -> Program:
    argv = [sys.executable, FAKE, "--name", name, "--faults", json.dumps(faults), *arguments]
    return Program(name=name, argv=argv)


async def run(theirs: Program, *limits: Limit) -> list[Cell]:
    cells, _ = await run_transports(program("ours"), [theirs], combinations=[WS, QUIC, PRIVATE], limits=limits)
    return cells


def test_every_combination_is_there_but_what_the_other_suites_run_over() -> None:
    assert PLAIN not in COMBINATIONS
    assert [str(layers) for layers in all_layers(["yamux"])] == [
        "tcp, tls, yamux",
        "ws, noise, yamux",
        "ws, tls, yamux",
        "wss, noise, yamux",
        "wss, tls, yamux",
        "unix, noise, yamux",
        "unix, tls, yamux",
        "quic-v1",
        "tcp, noise, yamux, private",
        "ws, noise, yamux, private",
    ]
    assert {str(layers) for layers in COMBINATIONS} - {str(layers) for layers in all_layers(["yamux"])} == {
        f"{transport}, {security}, mplex" for transport in ("tcp", "ws", "wss", "unix") for security in ("noise", "tls")
    }


def test_peers_are_told_what_to_offer_and_files_where_they_are_needed(tmp_path: Path) -> None:
    files, network = Certificates(authority=tmp_path / "a", shown=tmp_path / "s", key=tmp_path / "k"), tmp_path / "n"
    assert WS.options(files, network) == ["--security", "tls", "--muxer", "mplex"]
    assert QUIC.options(files, network) == []
    secure = Layers(transport="wss").options(files, network)
    assert secure[4:] == ["--cert", f"{tmp_path}/s", "--cert-key", f"{tmp_path}/k", "--ca", f"{tmp_path}/a"]
    assert PRIVATE.options(files, network)[4:] == ["--psk", f"{tmp_path}/n"]


def test_every_unix_socket_is_a_file_of_its_own_in_one_segment_of_the_address(tmp_path: Path) -> None:
    first, second = (Layers(transport="unix").listen(tmp_path) for _ in range(2))
    assert first != second
    prefix, unix, path = first.split("/")
    assert (prefix, unix, Path(unquote(path)).parent) == ("", "unix", tmp_path)
    assert WS.listen(tmp_path) == "/ip4/127.0.0.1/tcp/0/ws"


def test_the_key_of_a_network_is_for_its_owner_only_and_never_the_same(tmp_path: Path) -> None:
    first, second = (write_network_key(tmp_path / name) for name in ("first", "second"))
    assert first.stat().st_mode & 0o777 == 0o600
    assert PreSharedKey.load(first) != PreSharedKey.load(second)


def test_only_private_networks_have_outsiders(tmp_path: Path) -> None:
    stage = Stage.make(tmp_path)
    for direction, dialer in ((Direction.THEIRS_DIALS, "theirs"), (Direction.OURS_DIALS, "ours")):
        pair = program("ours"), program("theirs")
        outsider = stage.session(*pair, direction, PRIVATE).outsider
        assert outsider is not None
        assert outsider.name == dialer
        assert stage.session(*pair, direction, WS).outsider is None


@pytest.mark.trio
async def test_an_outsider_that_gets_in_or_is_told_too_little_fails_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub_talk, "PATIENCE_SECONDS", 0.1)
    told = {"ok": False, "error": "DialError: security negotiation: no"}
    for direction, faults in (
        (Direction.OURS_DIALS, {"ours": {"connect": told}}),
        (Direction.THEIRS_DIALS, {"ours": {"refusals": {"reasons": ["it hung up"]}}}),
        (Direction.THEIRS_DIALS, {"theirs": {"connect": {"ok": True, "peer_id": "Qmours"}}}),
        (Direction.OURS_DIALS, {"theirs": {}, "ours": {"disconnect": {"ok": False, "error": "gone"}}}),
    ):
        named = [program(name, **faults.get(name, {})) for name in ("ours", "theirs")]
        cells, _ = await run_transports(named[0], named[1:], combinations=[PRIVATE], limits=[])
        outcomes = {cell.place.direction: cell.outcome for cell in cells if cell.place.row == OTHER_KEY}
        assert outcomes[direction] is Outcome.FAILED


@pytest.mark.trio
async def test_a_well_behaved_pair_fills_every_cell_in_order() -> None:
    cells = await run(program("theirs"))
    assert [cell for cell in cells if cell.outcome is not Outcome.OK] == []
    assert [(cell.place.direction, cell.place.layers, cell.place.row) for cell in cells] == [
        (direction, layers, row)
        for direction in Direction
        for layers in (WS, QUIC, PRIVATE)
        for row in rows_for("theirs", layers)
    ]


@pytest.mark.trio
async def test_a_wrong_answer_fails_its_row_over_every_transport() -> None:
    failed = [cell.place for cell in await run(program("theirs", reset={"outcome": "eof"})) if cell.reason]
    assert {(place.layers, place.row) for place in failed} == {
        (layers, "reset seen as reset") for layers in (WS, QUIC, PRIVATE)
    }


@pytest.mark.trio
async def test_over_unix_sockets_no_address_need_be_told_but_none_may_be_wrong() -> None:
    unix = Layers(transport="unix")
    told = {"listen_addresses": [], "observed_address": "/unix/tmp/elsewhere.sock"}
    cells, _ = await run_transports(program("ours"), [program("theirs", identify=told)], combinations=[unix], limits=[])
    failed = {cell.place.row: cell.reason for cell in cells if cell.outcome is not Outcome.OK}
    assert failed == {"identify: theirs reads ours": "observed address /unix/tmp/elsewhere.sock is not where theirs is"}


@pytest.mark.parametrize("written", ["/unix/%2Ftmp%2Fa.sock", "/unix/tmp/a.sock", "/unix//tmp/a.sock"])
def test_a_unix_path_is_the_same_however_it_is_written(written: str) -> None:
    assert unix_path(written) == unix_path(f"{written}/p2p/Qmours") == "/tmp/a.sock"


@pytest.mark.trio
async def test_what_a_peer_cannot_start_with_is_impossible_only_if_known() -> None:
    theirs = program("theirs", "--unsupported", "mplex")
    known = await run(theirs, Limit(peer="theirs", muxer="mplex", reason="it has none"))
    assert {(cell.place.layers, cell.outcome) for cell in known} == {
        (WS, Outcome.IMPOSSIBLE),
        (QUIC, Outcome.OK),
        (PRIVATE, Outcome.OK),
    }
    unknown = await run(theirs)
    assert {cell.place.layers for cell in unknown if cell.outcome is Outcome.FAILED} == {WS}


@pytest.mark.trio
async def test_what_comes_and_goes_is_not_tried() -> None:
    limit = Limit(peer="theirs", transport="quic-v1", row="ping 10", steady=False, reason="at times")
    cells = [cell for cell in await run(program("theirs"), limit) if cell.outcome is not Outcome.OK]
    assert {(cell.place.layers, cell.place.row, cell.outcome, cell.reason) for cell in cells} == {
        (QUIC, "ping 10", Outcome.IMPOSSIBLE, "at times")
    }


@pytest.mark.parametrize(
    "limit",
    [
        Limit(peer="py", transport="tcp", reason="-"),
        Limit(peer="py", security="noise", reason="-"),
        Limit(peer="py", muxer="yamux", reason="-"),
        Limit(peer="py", private=True, reason="-"),
    ],
)
def test_a_limit_covers_only_its_own_layers(limit: Limit) -> None:
    assert to_cell(PLACE, "refused", 1.0, [limit]).outcome is Outcome.FAILED
    own = Limit(peer="py", reason="-", transport="ws", security="tls", muxer="mplex")
    assert to_cell(PLACE, "refused", 1.0, [own]).outcome is Outcome.IMPOSSIBLE


def test_limits_name_rows_that_are_run() -> None:
    for limit in TRANSPORT_LIMITS:
        assert limit.row is None or limit.row in rows_for(limit.peer, PRIVATE)
        assert limit.reason
        assert "\n" not in limit.reason
    assert {limit.row for limit in KNOWN_LIMITS} & ROWS.keys() == set()


def test_who_is_slow_echoes_less() -> None:
    assert set(rows_for("py", WS)) ^ set(rows_for("go", WS)) == {"echo 2 MiB", "echo 8 MiB"}


def test_only_private_networks_have_a_key_to_be_refused_for() -> None:
    assert set(rows_for("go", PRIVATE)) - set(rows_for("go", WS)) == {OTHER_KEY}


def test_certificates_are_what_a_web_server_shows_and_a_client_trusts(tmp_path: Path) -> None:
    files = Certificates.make(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.shown, files.key)
    shown = x509.load_pem_x509_certificate(files.shown.read_bytes())
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    shown.verify_directly_issued_by(authority)
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
