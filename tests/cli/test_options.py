"""Options that several commands share: who we are, where others find us, and what is logged."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from peerstack import Identity
from peerstack.cli import logs

from .drive import COMMAND, Peer, cli, listening, serving, started

OTHER_ID = "12D3KooWKuuqYue5DwRK2EDZkhpazjDziAEzumuk6pRXHQTKXsRj"


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, str]:
    """A key file, and the peer id of the key."""
    identity = Identity.generate()
    identity.save(tmp_path / "my.key")
    return str(tmp_path / "my.key"), str(identity.peer_id)


@pytest.mark.parametrize("command", [["ping", "--count", "1"], ["identify"], ["explain"], ["perf", "--upload", "1"]])
def test_who_dials_may_have_a_key(command: list[str], key: tuple[str, str], peer: Peer) -> None:
    file, _ = key
    assert cli(*command, peer.address, "--identity", file).code == 0
    ran = cli(*command, peer.address, "--identity", "missing.key")
    assert ran.code == 2
    assert "missing.key does not exist; make it with: peerstack id new --out missing.key" in ran.err


def test_a_peer_with_our_own_key_may_be_another_host(key: tuple[str, str]) -> None:
    file, peer_id = key
    with serving(identity=Identity.load(Path(file))) as twin:
        ran = cli("ping", twin.address, "--identity", file)
        named = cli("ping", twin.full_address, "--identity", file)
    assert "it is this host itself, or another one with a copy of it; if it is another host, give each one" in ran.err
    assert (ran.code, named.code) == (2, 2)
    assert named.err == f"peerstack: {peer_id} is this host itself, or another one that runs with a copy of its key\n"


def test_addresses_are_announced() -> None:
    far = "/dns4/example.com/tcp/4001"
    with listening("--announce", far, "--announce", "/ip4/203.0.113.7/udp/1/quic-v1") as (_, first):
        told = cli("identify", first["addresses"][0], "--json").events[0]
    assert first["addresses"][1:] == [
        f"{far}/p2p/{first['peer_id']}",
        f"/ip4/203.0.113.7/udp/1/quic-v1/p2p/{first['peer_id']}",
    ]
    assert set(first["addresses"][1:]) <= set(told["addresses"])


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("203.0.113.7:4001", "type /ip4/203.0.113.7/tcp/4001"),
        ("/ip4/0.0.0.0/tcp/4001", "this is for listening; announce the address that others dial"),
        ("/ip4/203.0.113.7/tcp/0", "port 0 is for listening"),
        ("/ip4/203.0.113.7", "it has no port"),
        ("/unix/tmp/x", "other machines cannot use a path of this one"),
        (f"/ip4/203.0.113.7/tcp/1/p2p/{OTHER_ID}", "leave out the peer id, ours is added"),
    ],
)
def test_what_cannot_be_announced_is_refused_in_one_line(address: str, says: str) -> None:
    ran = cli("listen", "--announce", address)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["-v", "ping"], ["ping", "-v"], ["ping", "-vv"], ["--verbose", "ping"]])
def test_logs_go_to_stderr_in_lines_that_can_be_read(arguments: list[str], peer: Peer) -> None:
    ran = cli(*arguments, peer.address, "--count", "1", "--json")
    assert ran.code == 0
    assert [event["event"] for event in ran.events] == ["connected", "pong", "summary"]
    lines = ran.err.splitlines()
    assert any(f" INFO    events  connected to {peer.peer_id} at {peer.address}" in line for line in lines)
    assert any(" DEBUG " in line for line in lines) == ("-vv" in arguments)


def test_without_it_nothing_is_logged(peer: Peer) -> None:
    assert cli("ping", peer.address, "--count", "1").err == ""


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_the_logs_of_other_libraries_are_never_shown(verbose: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with logs.shown(verbose, stderr):
        logging.getLogger("quic").error("noise of another library")
        logging.getLogger("peerstack.stack").error("said by a peer: \x1b[31m")
    shown = stderr.getvalue()
    assert "noise" not in shown
    assert ("ERROR   stack  said by a peer: \\x1b[31m\n" in shown) == (verbose > 0)


def test_lines_of_a_pipe_are_messages_without_an_option() -> None:
    with started("pubsub", "subscribe", "news", "--count", "2") as (_, first):
        command = (*COMMAND, "pubsub", "publish", "news", "--peer", first["addresses"][0])
        ran = subprocess.run(command, input="one\n/two\n", capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "published  2 messages" in ran.stdout


def test_a_pipe_without_a_line_is_nothing_to_publish() -> None:
    with started("pubsub", "subscribe", "news") as (_, first):
        command = (*COMMAND, "pubsub", "publish", "news", "--peer", first["addresses"][0])
        ran = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == (
        "peerstack: nothing to publish; give DATA, --file FILE, or --lines for the lines of standard input\n"
    )
