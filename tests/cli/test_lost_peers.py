"""Processes that lose their --peer say so, dial it again, and go on where they were when it is back."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .drive import cli, next_event, started

pytestmark = pytest.mark.slow


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    file = tmp_path / "peer.key"
    assert cli("id", "new", "--out", str(file)).code == 0
    return str(file)


@contextmanager
def held_port() -> Iterator[str]:
    """Yield an address that can be listened on again and again: the system gives its port to no other process."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield f"/ip4/127.0.0.1/tcp/{sock.getsockname()[1]}"


def until(popen: subprocess.Popen[str], *events: str) -> dict[str, Any]:
    """Return the next event of this name; what comes before it does not matter."""
    found = next_event(popen)
    while found["event"] not in events:
        found = next_event(popen)
    return found


def test_a_subscriber_gets_messages_again_when_its_peer_is_back(key_file: str) -> None:
    with held_port() as address:
        peer = ("pubsub", "subscribe", "news", "--identity", key_file, "--listen", address)
        with started(*peer) as (first, listening):
            with started("pubsub", "subscribe", "news", "--peer", address) as (subscriber, _):
                first.kill()
                lost = until(subscriber, "peer_lost")
                with started(*peer):
                    back = until(subscriber, "peer_back")
                    assert cli("pubsub", "publish", "news", "hello", "--peer", address).code == 0
                    message = until(subscriber, "message")
    assert list(lost) == ["event", "peer_id", "address", "reason"]
    assert (lost["peer_id"], lost["address"]) == (listening["peer_id"], address)
    assert list(back) == ["event", "peer_id", "address", "seconds"]
    assert (back["peer_id"], back["address"], back["seconds"] > 0) == (listening["peer_id"], address, True)
    assert message["data"] == "aGVsbG8="


def test_a_chat_goes_on_when_its_peer_is_back(key_file: str) -> None:
    with held_port() as address:
        peer = ("chat", "lobby", "--name", "anna", "--identity", key_file, "--listen", address)
        with started(*peer) as (first, _), started("chat", "lobby", "--name", "ben", "--peer", address) as (ben, _):
            until(ben, "joined")
            first.kill()
            assert until(ben, "peer_lost")["address"] == address
            with started(*peer) as (anna, _):
                until(ben, "peer_back")
                until(anna, "joined")
                assert ben.stdin is not None
                ben.stdin.write("welcome back\n")
                ben.stdin.flush()
                assert until(anna, "said")["text"] == "welcome back"


def test_a_publisher_that_waits_finds_its_peer_again(key_file: str) -> None:
    with held_port() as address:
        peer = ("pubsub", "subscribe", "--identity", key_file, "--listen", address)
        publish = ("pubsub", "publish", "news", "hello", "--peer", address, "--wait", "60")
        with started(*peer, "other") as (first, _), started(*publish) as (publisher, _):
            first.kill()
            assert until(publisher, "peer_lost")["address"] == address
            with started(*peer, "news", "--count", "1") as (subscriber, _):
                until(publisher, "peer_back")
                assert until(subscriber, "message")["data"] == "aGVsbG8="
                assert until(publisher, "summary")["sent"] == 1
