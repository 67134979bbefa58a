"""What people mistype gets one line that says what is wrong and what to do, exit code 2, and never a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from peerstack import Host
from peerstack.cli import listen as listen_command

from .drive import Peer, Ran, cli, closed_port, process, serving

PEER_ID = "12D3KooWKuuqYue5DwRK2EDZkhpazjDziAEzumuk6pRXHQTKXsRj"


def line_of(ran: Ran) -> str:
    """Return the one line on stderr, after checking that it is that."""
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("peerstack: ")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("\n")
    return ran.err.removeprefix("peerstack: ").rstrip("\n")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:4001", "'127.0.0.1:4001' is not a multiaddr; type /ip4/127.0.0.1/tcp/4001"),
        ("ws://example.com", "type /dns/example.com/tcp/80/ws"),
        ("nonsense", "a multiaddr begins with '/', like /ip4/127.0.0.1/tcp/4001; got 'nonsense'"),
        ("", "/ip4/127.0.0.1/tcp/4001"),
        ("/", "empty"),
        ("/ip4/127.0.0.1/tpc/4001", "unknown protocol 'tpc'"),
        ("/ip4/127.0.0.1/tcp/99999", "a port from 0 to 65535, not '99999'"),
        ("/ip4/127.0.0.1/tcp/4001/p2p/12D3", "'12D3' is not a peer id"),
        (PEER_ID, f"{PEER_ID} says who the peer is, but not where; put its address in front"),
        (f"/p2p/{PEER_ID}", "says who the peer is, but not where; put its address in front"),
        ("/ip4/127.0.0.1/udp/4001", "for QUIC type /ip4/127.0.0.1/udp/4001/quic-v1"),
        ("/ip4/127.0.0.1/udp/4001/quic", "nothing speaks any more; type /ip4/127.0.0.1/udp/4001/quic-v1"),
        ("/ip4/127.0.0.1/tcp/0", "port 0 is for listening"),
        ("/ip4/127.0.0.1", "it has no port; type /ip4/127.0.0.1/tcp/4001"),
        ("/dns4/" + "a" * 70 + "/tcp/1", "needs a host name"),
    ],
)
@pytest.mark.parametrize("command", ["ping", "perf", "identify"])
def test_an_address_that_cannot_be_dialed(command: str, address: str, says: str) -> None:
    assert says in line_of(cli(command, address))


def test_explain_advises_where_nothing_can_be_dialed() -> None:
    ran = cli("explain", "/ip4/127.0.0.1/udp/4001")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        "could not reach the address",
        "note  /ip4/127.0.0.1/udp/4001 is left out: UDP alone carries no connection; "
        "for QUIC type /ip4/127.0.0.1/udp/4001/quic-v1",
    ]


def test_explain_refuses_what_is_no_address() -> None:
    assert "unknown protocol" in line_of(cli("explain", "/ip4/127.0.0.1/tpc/4001"))


@pytest.mark.parametrize("command", ["ping", "perf", "identify"])
def test_a_port_without_a_listener(command: str) -> None:
    with closed_port() as address:
        text = line_of(cli(command, address))
    assert text == (
        f"could not dial the address: {address}: transport connect: Connection refused; "
        "nothing listens there: is the peer running, and is the address right?"
    )


def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*arguments: object, **options: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    text = line_of(cli("ping", "/dns4/nowhere.example/tcp/4001"))
    assert "resolve: " in text
    assert "nowhere.example: Name or service not known" in text
    assert text.endswith("check the name, and that DNS works from here")


def test_another_peer_than_expected_is_named_with_both_ids(peer: Peer) -> None:
    text = line_of(cli("ping", f"{peer.address}/p2p/{PEER_ID}"))
    assert f"expected peer {PEER_ID}, but the peer proved to be {peer.peer_id}; check the /p2p/ part" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pingg"], 'Unknown command "pingg". Did you mean "ping"?'),
        (["ping"], "ADDRESS requires an argument. (see: peerstack ping --help)"),
        (["ping", "/ip4/1.2.3.4/tcp/1", "x", "y"], "more arguments than expected: x y (see: peerstack ping --help)"),
        (["ping", "x", "--count", "0"], '"0" for --count. Must be >= 1'),
        (["ping", "x", "--count", "many"], 'unable to convert "many" into int'),
        (["ping", "x", "--interval", "nan"], "Give seconds from 0 to 86400"),
        (["ping", "x", "--interval", "-1"], "Give seconds from 0 to 86400"),
        (["ping", "x", "--timeout", "inf"], "Give seconds from 0 to 86400"),
        (["perf", "x", "--uplaod", "1"], "Unknown option: --uplaod. Did you mean --upload?"),
        (
            ["chat", "lobby", "--nick", "bob"],
            "Unknown option: --nick. Did you mean --name? (see: peerstack chat --help)",
        ),
        (["chat", "lobby", "--peers", "x"], "Did you mean --peer?"),
        (["listen", "--port", "4001"], "Unknown option: --port. Did you mean --listen?"),
        (["listen", "--key=x"], "Unknown option: --key=x. Did you mean --identity?"),
        (["ping", "-n", "3"], "Unknown option: -n. Did you mean --count?"),
        (["ping", "x", "--ip", "3"], "Unknown option: --ip. (see"),
        (["subscribe", "news"], 'Unknown command "subscribe". Did you mean "peerstack pubsub subscribe"?'),
        (["perf", "x", "--upload", "3q"], "'3q' is no size; write bytes (500000), or a unit such as 64MiB"),
        (["perf", "x", "--download", "99999999TB"], "more than any peer could move"),
        (["demo", "--size", "-1"], "'-1' is no size"),
        (["id", "new", "--type", "dsa"], 'Choose from: "ed25519", "secp256k1", "ecdsa", "rsa"'),
        (["id", "new", "--bits", "4096"], "--bits is for RSA keys, ed25519 keys have one size; leave it out"),
        (["id", "new", "--type", "rsa", "--bits", "1024"], "RSA keys have 2048 to 8192 bits, not 1024"),
        (["id", "show", "nothing"], "'nothing' is not an existing file, a peer id or a public key"),
        (["id", "show", "a" * 300], "is not an existing file, a peer id or a public key"),
        (["id", "convert", "nothing", "--to", "hex"], "'nothing' is not a peer id"),
        (["id", "convert", "00ff", "--to", "hex"], "'00ff' is not a peer id"),
        (["id", "convert", PEER_ID], "--to requires an argument"),
        (["id", "convert", PEER_ID, "--to", "base64"], 'Choose from: "base58", "cid", "base36", "hex"'),
        (["listen", "--listen"], "--listen requires an argument"),
        (["listen", "4001"], "'4001' is not a multiaddr; type /ip4/127.0.0.1/tcp/4001"),
        (["listen", "--listen", "/ip4/127.0.0.1/udp/0"], "for QUIC type /ip4/127.0.0.1/udp/0/quic-v1"),
        (["listen", f"/unix/{'a' * 120}"], "aaa has 121"),
        (
            ["chat", "lobby", "/ip4/1.2.3.4/tcp/1"],
            "/ip4/1.2.3.4/tcp/1; give an address with --peer to connect",
        ),
        (["listen", "--listen", "4001"], "type /ip4/127.0.0.1/tcp/4001"),
        (["listen", "--listen", "/dns4/localhost/tcp/0"], "to listen takes an IP address, such as"),
        (["listen", "--listen", "/ip4/203.0.113.7/tcp/0"], "this machine does not have that address; /ip4/0.0.0.0"),
    ],
)
def test_arguments_that_cannot_be_meant(arguments: list[str], says: str) -> None:
    assert says in line_of(cli(*arguments))


def test_a_port_in_use(peer: Peer) -> None:
    text = line_of(cli("listen", "--listen", peer.address))
    assert text == (f"cannot listen on {peer.address}: the port is in use; choose another one, or 0 for any free port")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (13, "ports below 1024 need privileges; choose a higher one"),
        (97, "tcp/80: Address family not supported by protocol"),
    ],
)
def test_a_port_that_the_system_refuses(number: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen(self: Host, address: object) -> None:
        raise OSError(number, f"cannot listen on {address}: Address family not supported by protocol")

    monkeypatch.setattr(Host, "listen", listen)
    assert line_of(cli("listen", "--listen", "/ip4/127.0.0.1/tcp/80")).endswith(says)
    assert listen_command.EVERYWHERE == "/ip4/0.0.0.0/tcp/0"


# ---- key files


def test_a_key_file_that_is_not_there() -> None:
    text = line_of(cli("listen", "--identity", "missing.key"))
    assert text == "missing.key does not exist; make it with: peerstack id new --out missing.key"


@pytest.mark.parametrize("command", [["listen", "--identity"], ["id", "show"]])
def test_a_key_file_that_others_can_read(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "open.key"
    assert cli("id", "new", "--out", str(file)).code == 0
    file.chmod(0o644)
    assert line_of(cli(*command, str(file))).endswith(f"(mode 644); run: chmod 600 {file}")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x01\x12\x00", b"CAESQA=="])
def test_a_key_file_that_holds_no_key(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "no.key"
    file.write_bytes(content)
    file.chmod(0o600)
    assert f"{file} is not a key file" in line_of(cli("id", "show", str(file)))


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "a.key"
    cli("id", "new", "--out", str(file))
    before = file.read_bytes()
    text = line_of(cli("id", "new", "--out", str(file)))
    assert text == f"{file} exists already, and keys are never overwritten; choose another file or move this one"
    assert file.read_bytes() == before


def test_a_key_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    text = line_of(cli("id", "new", "--out", str(tmp_path / "none" / "a.key")))
    assert "cannot be written: No such file or directory" in text


# ---- peers that are there, but lack what was asked for


def test_a_peer_without_perf() -> None:
    with serving(lambda host: None) as peer:
        ran = cli("perf", peer.address)
    assert ran.code == 2
    assert ran.err == (
        "peerstack: the peer does not serve /perf/1.0.0; if it is yours, run it as: peerstack listen --perf\n"
    )


def test_a_peer_without_identify() -> None:
    with serving(lambda host: host.unhandle("/ipfs/id/1.0.0")) as peer:
        text = line_of(cli("identify", peer.address))
    assert text == (
        f"{peer.peer_id} can be reached, but does not answer identify; "
        f"`peerstack explain {peer.address}` shows every stage"
    )


def test_a_peer_without_ping() -> None:
    with serving(lambda host: host.unhandle("/ipfs/ping/1.0.0")) as peer:
        ran = cli("ping", peer.address)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("; `peerstack identify ADDRESS` lists what the peer serves\n")


def test_nothing_that_is_mistyped_reaches_the_terminal_as_it_is() -> None:
    text = line_of(cli("ping", "/ip4/\x1b[31m\u202e\n\udcff"))
    assert text.isprintable()
    assert "\\x1b[31m" in text


def test_a_process_of_its_own_says_the_same() -> None:
    text = line_of(process("ping", "/ip4/127.0.0.1/tpc/4001"))
    assert text == "unknown protocol 'tpc' in '/ip4/127.0.0.1/tpc/4001'; did you mean /ip4/127.0.0.1/tcp/4001?"
