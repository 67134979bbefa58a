"""Private networks on the command line: only peers with the key can connect; keys are never shown."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from peerstack.stack.security.pnet import PreSharedKey

from .drive import Ran, cli, closed_port, listening, process, started

QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
COMMANDS = (
    ["ping"],
    ["perf"],
    ["identify"],
    ["explain"],
    ["listen", "--listen"],
    ["pubsub", "subscribe", "news", "--peer"],
    ["pubsub", "subscribe", "news", "--listen"],
    ["pubsub", "publish", "news", "x", "--peer"],
    ["chat", "lobby", "--peer"],
)


def named(command: list[str]) -> str:
    return " ".join(command)


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    file = tmp_path / "swarm.key"
    PreSharedKey.generate().save(file)
    return str(file)


def line_of(ran: Ran) -> str:
    """Return the one line on stderr, after checking that it is that."""
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("peerstack: ")
    assert ran.err.count("\n") == 1
    return ran.err.removeprefix("peerstack: ").rstrip("\n")


# ---- peers with the key and without


def test_only_peers_with_the_key_can_connect(key_file: str, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    assert cli("swarm-key", "new", "--out", str(other)).code == 0
    with listening("--swarm-key", key_file, "--listen", "/ip4/127.0.0.1/tcp/0/ws") as (_, first):
        for address in first["addresses"]:
            ran = process("ping", address, "--swarm-key", key_file, "--count", "1", "--json")
            assert (ran.code, ran.err, ran.events[-1]["received"]) == (0, "", 1)
        with_another = cli("ping", first["addresses"][0], "--swarm-key", str(other))
        without = cli("ping", first["addresses"][0])
    fingerprint = PreSharedKey.load(other).fingerprint
    assert f"does it have our network key, fingerprint {fingerprint}?" in line_of(with_another)
    assert "both sides need the same swarm.key (--swarm-key FILE), or neither has one" in line_of(with_another)
    assert "security negotiation: " in line_of(without)
    assert "the peer may be in a private network" in line_of(without)
    assert "Is the peer full, or in a private network (--swarm-key)?" in line_of(without)


def test_messages_go_round_in_a_private_network(key_file: str) -> None:
    with started("pubsub", "subscribe", "news", "--count", "1", "--swarm-key", key_file) as (subscriber, first):
        address = first["addresses"][0]
        ran = cli("pubsub", "publish", "news", "hello", "--peer", address, "--swarm-key", key_file)
        heard, _ = subscriber.communicate(timeout=30)
    assert (ran.code, ran.err) == (0, "")
    assert '"event": "message"' in heard


# ---- what cannot be meant


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_quic_and_a_private_network_exclude_each_other(command: list[str], key_file: str) -> None:
    assert line_of(cli(*command, QUIC, "--swarm-key", key_file)) == (
        f"a private network cannot protect {QUIC}, whose transport has its own encryption; "
        "use TCP or WebSocket, or leave out --swarm-key"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_keys_that_cannot_be_read_end_every_command(command: list[str], tmp_path: Path) -> None:
    missing, wrong = tmp_path / "missing.key", tmp_path / "wrong.key"
    wrong.write_text("hello\n")
    wrong.chmod(0o600)
    with closed_port() as address:
        assert line_of(cli(*command, address, "--swarm-key", str(missing))) == (
            f"{missing} does not exist; copy it from a member of the network, "
            f"or make a new one with: peerstack swarm-key new --out {missing}"
        )
        text = line_of(cli(*command, address, "--swarm-key", str(wrong)))
        assert text == f"{wrong} is not the key of a private network: the first line is not /key/swarm/psk/1.0.0/"
        text = line_of(cli(*command, address, "--swarm-key", str(tmp_path)))
        assert text == f"{tmp_path} is a folder, and not a key file; check the path"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("/key/swarm/psk/1.0.0/\n/base32/\nAAAA\n", "the second line is not one of /base16/, /base64/, /bin/"),
        ("/key/swarm/psk/1.0.0/\n/base16/\nxyz\n", "the third line is no key in base16"),
        ("/key/swarm/psk/1.0.0/\n/base16/\n0011\n", "the key of a private network has 32 bytes, not 2"),
    ],
)
def test_files_that_are_almost_keys(content: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "swarm.key"
    file.write_text(content)
    file.chmod(0o600)
    assert line_of(cli("swarm-key", "show", str(file))) == f"{file} is not the key of a private network: {says}"


def test_a_key_that_others_can_read(key_file: str) -> None:
    Path(key_file).chmod(0o644)
    with closed_port() as address:
        text = line_of(cli("ping", address, "--swarm-key", key_file))
    assert text.endswith(f"(mode 644); run: chmod 600 {key_file}")


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_the_environment_can_demand_a_key(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBP2P_FORCE_PNET", "1")
    with closed_port() as address:
        text = line_of(cli(*command, address))
    assert text == (
        "LIBP2P_FORCE_PNET=1 forbids hosts without the key of a private network; give it with --swarm-key FILE"
    )


@pytest.mark.parametrize("command", [["demo"], ["demo", "pubsub"]], ids=named)
def test_the_demo_has_no_key_to_give(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBP2P_FORCE_PNET", "1")
    assert line_of(cli(*command)).endswith(
        "the demo has none and stays on this machine; run it with LIBP2P_FORCE_PNET=0"
    )


def test_a_missing_extra_is_named_in_one_line(key_file: str) -> None:
    program = (
        "import sys; sys.modules['Crypto.Cipher.Salsa20'] = None; from peerstack.cli import main;"
        f"sys.exit(main(['ping', '/ip4/127.0.0.1/tcp/1', '--swarm-key', {key_file!r}]))"
    )
    ran = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "'.[pnet]'" in ran.stderr


# ---- keys


def test_a_new_key_is_a_file_of_kubo_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "swarm.key"
    made = cli("swarm-key", "new", "--out", str(file), "--json")
    shown = cli("swarm-key", "show", str(file), "--json")
    assert (made.code, made.err, shown.code) == (0, "", 0)
    header, encoding, key = file.read_text().splitlines()
    assert (header, encoding, len(bytes.fromhex(key))) == ("/key/swarm/psk/1.0.0/", "/base16/", 32)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    fingerprint = PreSharedKey.load(file).fingerprint
    assert made.events == [{"event": "swarm_key", "fingerprint": fingerprint, "file": str(file)}]
    assert shown.events == made.events


def test_people_see_the_fingerprint_and_never_the_key(tmp_path: Path) -> None:
    file = tmp_path / "swarm.key"
    ran = cli("swarm-key", "new", "--out", str(file))
    assert ran.out == f"fingerprint  {PreSharedKey.load(file).fingerprint}\nkey file     {file}\n"
    assert file.read_text().split()[-1] not in ran.out


def test_two_keys_are_not_the_same(tmp_path: Path) -> None:
    files = [tmp_path / "one.key", tmp_path / "other.key"]
    first, second = (cli("swarm-key", "new", "--out", str(file), "--json").events[0] for file in files)
    assert first["fingerprint"] != second["fingerprint"]


def test_a_key_is_never_overwritten(key_file: str) -> None:
    before = Path(key_file).read_bytes()
    text = line_of(cli("swarm-key", "new", "--out", key_file))
    assert text == f"{key_file} exists already, and keys are never overwritten; choose another file or move this one"
    assert Path(key_file).read_bytes() == before


def test_a_key_needs_a_file_that_can_be_written(tmp_path: Path) -> None:
    assert "--out requires an argument" in line_of(cli("swarm-key", "new"))
    text = line_of(cli("swarm-key", "new", "--out", str(tmp_path / "none" / "swarm.key")))
    assert "cannot be written: No such file or directory" in text
