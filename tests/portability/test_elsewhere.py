"""macOS and Windows as far as Linux can play them: without the names that they lack, and with the answers they give."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("elsewhere.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="hides what only Linux has")


@cache
def ran(system: str) -> str:
    """Return what the hosts of another system did, and the commands."""
    done = subprocess.run([sys.executable, str(PROGRAM), system], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("system", ["darwin", "win32"])
@pytest.mark.parametrize(
    "address",
    [
        "/ip4/127.0.0.1/tcp/0",
        "/ip6/::1/tcp/0",
        "/ip4/127.0.0.1/tcp/0/ws",
        "/ip4/127.0.0.1/udp/0/quic-v1",
        "/ip6/::1/udp/0/quic-v1",
    ],
)
def test_hosts_listen_dial_and_echo(system: str, address: str) -> None:
    assert f"echo {address}\n" in ran(system)


def test_unix_sockets_of_macos() -> None:
    assert "/a.sock\n" in ran("darwin")


def test_windows_has_no_unix_sockets_and_is_told_so_in_one_line() -> None:
    line = "unix: Python has no unix sockets on this system; use TCP on 127.0.0.1\n"
    assert ran("win32").count(line) == 2


def test_interfaces_of_windows_come_from_its_routes() -> None:
    assert "echo /ip4/0.0.0.0/tcp/0\n" in ran("win32")


@pytest.mark.parametrize(
    ("system", "words"), [("darwin", "Connection refused"), ("win32", "the system's words for 111.")]
)
def test_a_refused_dial_is_told_in_the_words_of_the_system(system: str, words: str) -> None:
    assert f"refused: {words}\n" in ran(system)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_datagrams_that_are_too_large_are_met_once_and_not_sent_again(system: str) -> None:
    count = int(ran(system).rpartition("too large: ")[2])
    assert 0 < count < 100, "300 would carry the megabytes that were moved"


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_commands_keep_keys_and_simulate(system: str) -> None:
    assert ran(system).count(": exit code 0\n") == 3
    assert ("of memory at most" in ran(system)) is (system == "darwin")
