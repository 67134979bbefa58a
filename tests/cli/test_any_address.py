"""Every command takes every address that what is installed can carry, and loads libraries only at need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerstack.transports.quic.engines import find_engine

from .drive import cli, listening

LISTEN = ("--listen", "/ip4/127.0.0.1/tcp/0/ws", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
KINDS = ("unix", "ws", "quic-v1", "tcp")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of one listener, by the kind."""
    path = tmp_path_factory.mktemp("sockets") / "app.sock"
    with listening(*LISTEN, "--listen", f"/unix{path}") as (_, first):
        yield {next(kind for kind in KINDS if f"/{kind}/" in address): address for address in first["addresses"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_ping_reaches_the_listener_by_each_of_its_addresses(addresses: dict[str, str], kind: str) -> None:
    ran = cli("ping", addresses[kind], "--count", "2", "--json")
    assert ran.code == 0, ran.err
    assert ran.events[-1]["received"] == 2


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("none/app.sock", "its folder does not exist; make it, or choose another path"),
        ("file", "another program listens there, or it is not a socket; choose another path"),
        ("file/app.sock", "its folder is a file; choose another path"),
    ],
)
def test_a_unix_socket_that_cannot_be_is_one_line(tmp_path: Path, path: str, problem: str) -> None:
    (tmp_path / "file").write_text("precious")
    ran = cli("listen", "--listen", f"/unix{tmp_path / path}")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"peerstack: cannot listen on /unix{tmp_path / path}: {problem}\n"
    assert (tmp_path / "file").read_text() == "precious"


def test_the_stages_of_quic_are_explained(addresses: dict[str, str]) -> None:
    ran = cli("explain", addresses["quic-v1"])
    assert ran.code == 0
    assert "security handshake" in ran.out
    assert "multistream" not in ran.out
    engine = find_engine(None).name
    assert f"by {engine}" in ran.out
    (report,) = cli("explain", addresses["quic-v1"], "--json").events
    assert [attempt["engine"] for attempt in report["attempts"]] == [engine]


def test_tcp_loads_no_library_of_other_transports() -> None:
    program = (
        "import sys; from peerstack.cli.host_options import open_any_host; open_any_host();"
        "print(*{'aioquic', 'websockets', 'OpenSSL'} & set(sys.modules))"
    )
    ran = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_a_missing_extra_is_named_in_one_line(addresses: dict[str, str]) -> None:
    program = (
        "import sys; sys.modules['aioquic'] = None; from peerstack.cli import main;"
        f"sys.exit(main(['ping', {addresses['quic-v1']!r}, '--count', '1']))"
    )
    ran = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "pip install '.[quic]' in a clone of peerstack; install it where this command runs" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_to_listen_without_the_extra_is_one_line_that_names_it() -> None:
    program = (
        "import sys; sys.modules['aioquic'] = None; from peerstack.cli import main;"
        "sys.exit(main(['listen', '/ip4/127.0.0.1/udp/0/quic-v1']))"
    )
    ran = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (
        2,
        "peerstack: QUIC needs the extra `quic`: pip install '.[quic]' in a clone of peerstack\n",
    )
