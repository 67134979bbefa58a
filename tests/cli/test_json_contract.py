"""The JSON form is a contract: every line of every command, with exactly the keys that docs/cli.md lists."""

from __future__ import annotations

from typing import Any

import pytest

from peerstack.stack.identity import PeerId

from .drive import Peer, cli, closed_port

MIB = 1024 * 1024
OTHER_ID = "12D3KooWKuuqYue5DwRK2EDZkhpazjDziAEzumuk6pRXHQTKXsRj"


def connected(peer: Peer) -> dict[str, Any]:
    return {
        "event": "connected",
        "peer_id": peer.peer_id,
        "address": peer.address,
        "direction": "outbound",
        "security": "/noise",
        "muxer": "/yamux/1.0.0",
    }


def test_ping_tells_each_round_trip_and_ends_with_the_summary(peer: Peer) -> None:
    ran = cli("ping", peer.full_address, "--count", "3", "--interval", "0", "--json")
    assert (ran.code, ran.err) == (0, "")
    first, *pongs, summary = ran.events
    assert first == connected(peer)
    assert [set(pong) for pong in pongs] == [{"event", "seq", "rtt_ms"}] * 3
    assert [(pong["event"], pong["seq"]) for pong in pongs] == [("pong", 1), ("pong", 2), ("pong", 3)]
    times = sorted(pong["rtt_ms"] for pong in pongs)
    assert summary == {
        "event": "summary",
        "sent": 3,
        "received": 3,
        "rtt_ms": {"min": times[0], "median": times[1], "max": times[2]},
    }


def test_perf_tells_each_transfer_and_ends_with_the_rates(peer: Peer) -> None:
    ran = cli("perf", peer.address, "--upload", "2MiB", "--download", "1MiB", "--json")
    assert (ran.code, ran.err) == (0, "")
    first, *progress, upload, download, summary = ran.events
    assert first == connected(peer)
    assert {tuple(event) for event in progress} == {("event", "direction", "bytes", "total", "mib_s")}
    ends = [(event["direction"], event["bytes"]) for event in progress if event["bytes"] == event["total"]]
    assert ends == [("upload", 2 * MIB), ("download", MIB)]
    assert [list(event) for event in (upload, download)] == [["event", "direction", "bytes", "seconds", "mib_s"]] * 2
    assert (upload["direction"], upload["bytes"]) == ("upload", 2 * MIB)
    assert (download["direction"], download["bytes"]) == ("download", MIB)
    assert summary == {
        "event": "summary",
        "upload_mib_s": upload["mib_s"],
        "download_mib_s": download["mib_s"],
    }
    assert upload["mib_s"] == pytest.approx(2 / upload["seconds"], rel=0.01)


def test_a_direction_in_which_nothing_moves_has_no_rate(peer: Peer) -> None:
    ran = cli("perf", peer.address, "--upload", "64KiB", "--download", "0", "--json")
    summary = ran.events[-1]
    assert summary["upload_mib_s"] > 0
    assert summary["download_mib_s"] is None
    assert "download" not in [event.get("direction") for event in ran.events[1:]]


def test_identify_is_one_object_with_what_the_peer_says_of_itself(peer: Peer) -> None:
    ran = cli("identify", peer.address, "--json")
    assert (ran.code, ran.err) == (0, "")
    (told,) = ran.events
    observed = told.pop("observed_address")
    assert observed.startswith("/ip4/127.0.0.1/tcp/")
    assert told == {
        "event": "identified",
        "peer_id": peer.peer_id,
        "agent": "tester",
        "protocol_version": "ipfs/0.1.0",
        "protocols": ["/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/perf/1.0.0"],
        "addresses": [peer.full_address],
        "signed": True,
    }


def test_explain_is_the_report_of_a_dial_that_worked(peer: Peer) -> None:
    ran = cli("explain", peer.full_address, "--json")
    assert (ran.code, ran.err) == (0, "")
    (report,) = ran.events
    assert list(report) == ["event", "peer", "routings", "resolutions", "attempts", "notes"]
    assert (report["event"], report["peer"]) == ("report", peer.peer_id)
    (attempt,) = report["attempts"]
    assert (attempt["address"], attempt["outcome"]) == (peer.address, "ok")
    assert [stage["stage"] for stage in attempt["stages"]] == [
        "transport connect",
        "security negotiation",
        "security handshake",
        "muxer negotiation",
        "identify",
    ]


def test_explain_is_the_report_of_a_dial_that_failed(peer: Peer) -> None:
    ran = cli("explain", f"{peer.address}/p2p/{OTHER_ID}", "--json")
    assert (ran.code, ran.err) == (1, "")
    (report,) = ran.events
    stage = report["attempts"][0]["stages"][-1]
    assert (stage["stage"], stage["outcome"]) == ("security handshake", "failed")
    assert (stage["expected"], stage["found"]) == (OTHER_ID, peer.peer_id)
    assert stage["advice"]


def test_a_failure_is_one_object_with_the_report_and_one_line_on_stderr() -> None:
    with closed_port() as address:
        ran = cli("ping", address, "--json")
    assert ran.code == 2
    (error,) = ran.events
    assert list(error) == ["event", "message", "report"]
    assert error["event"] == "error"
    assert "Connection refused" in error["message"]
    assert error["report"]["attempts"][0]["address"] == address
    assert ran.err == f"peerstack: {error['message']}\n"


def test_wrong_arguments_are_an_error_object_without_a_report() -> None:
    ran = cli("ping", "--count", "many", "--json")
    (error,) = ran.events
    assert (error["event"], error["report"]) == ("error", None)
    assert ran.err == f"peerstack: {error['message']}\n"


@pytest.mark.parametrize("key_type", ["ed25519", "secp256k1", "ecdsa", "rsa"])
def test_id_new_and_id_show_tell_the_same_of_a_key(key_type: str, tmp_path: Any) -> None:
    file = str(tmp_path / "a.key")
    made = cli("id", "new", "--type", key_type, "--out", file, "--json")
    shown = cli("id", "show", file, "--json")
    assert (made.code, made.err, shown.code, shown.err) == (0, "", 0, "")
    assert made.events == shown.events
    (told,) = made.events
    assert list(told) == ["event", "peer_id", "type", "public_key", "cid", "base36", "hex", "file"]
    assert (told["event"], told["type"], told["file"]) == ("identity", key_type, file)
    by_key = cli("id", "show", told["public_key"], "--json").events
    assert by_key == [{**told, "file": None}]
    by_id = cli("id", "show", told["peer_id"], "--json").events
    inline = PeerId.parse(told["peer_id"]).public_key is not None
    assert inline == (key_type in ("ed25519", "secp256k1"))
    unknown = {} if inline else {"type": None, "public_key": None}
    assert by_id == [{**told, "file": None, **unknown}]


def test_id_convert_goes_from_each_form_to_each() -> None:
    forms = {
        "base58": "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
        "cid": "bafzbeiagwnqiviaae5aet2zivwhhsorg75x2wka2pu55o7grr23ulx5kxm",
        "base36": "k2k4r8jl0yz8qjgqbmc2cdu5hkqek5rj6flgnlkyywynci20j0iuyfuj",
        "hex": "122006b3608aa000274049eb28ad8e793a26ff6fab281a7d3bd77cd18eb745dfaabb",
    }
    for given in forms.values():
        for to, text in forms.items():
            ran = cli("id", "convert", given, "--to", to, "--json")
            assert (ran.code, ran.err) == (0, "")
            assert ran.events == [{"event": "converted", "peer_id": forms["base58"], "to": to, "text": text}]


def test_the_demo_goes_through_its_steps_and_ends_with_commands_to_try() -> None:
    ran = cli("demo", "--size", "2MiB", "--json")
    assert (ran.code, ran.err) == (0, "")
    events = ran.events
    assert [event["number"] for event in events if event["event"] == "step"] == [1, 2, 3, 4, 5, 6, 7]
    after = {event["number"]: events[at + 1] for at, event in enumerate(events) if event["event"] == "step"}
    alice = after[1]["peer_id"]
    assert [address.endswith(f"/p2p/{alice}") for address in after[1]["addresses"]] == [True]
    assert (after[2]["event"], after[2]["peer_id"]) == ("connected", alice)
    assert (after[3]["event"], after[3]["agent"], after[3]["signed"]) == ("identified", "alice", True)
    assert after[5] == {
        "event": "message",
        "protocol": "/example/shout/1.0.0",
        "sent": "hello, alice",
        "received": "HELLO, ALICE",
    }
    (summary,) = (event for event in events if event["event"] == "summary")
    assert (summary["sent"], summary["received"]) == (5, 5)
    (moved,) = (event for event in events if event["event"] == "transfer")
    assert (moved["direction"], moved["bytes"]) == ("upload", 2 * MIB)
    stage = after[7]["attempts"][0]["stages"][-1]
    assert (after[7]["event"], stage["found"], stage["expected"] == alice) == ("report", alice, False)
    assert events[-1]["event"] == "next"
    assert [command.split()[:2] for command in events[-1]["commands"]] == [
        ["peerstack", "listen"],
        ["peerstack", "ping"],
        ["peerstack", "explain"],
    ]
