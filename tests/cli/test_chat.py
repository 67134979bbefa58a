"""Processes that chat in plain lines get one another's lines and names, and so do programs that only know topics."""

from __future__ import annotations

import base64
import getpass
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from peerstack.cli import events
from peerstack.cli.chat import MAX_LINE, NO_PEER_REACHED, own_name
from peerstack.cli.render import describe
from peerstack.cli.shapes import plain_lines

from .drive import COMMAND, Ran, cli, closed_port, next_event, started


def say(text: str, *arguments: str) -> Ran:
    """Say lines in a process of its own, and leave."""
    command = (*COMMAND, "chat", "lobby", "--listen", "/ip4/127.0.0.1/tcp/0", *arguments)
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def until(popen: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return the events up to the first that is wanted."""
    found = [next_event(popen)]
    while not wanted(found[-1]):
        found.append(next_event(popen))
    return found


def write(popen: subprocess.Popen[str], text: str) -> None:
    assert popen.stdin is not None
    popen.stdin.write(text)
    popen.stdin.flush()


def is_(event: str, **fields: Any) -> Callable[[dict[str, Any]], bool]:
    return lambda found: found.items() >= {"event": event, **fields}.items()


def is_named(name: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a member is known by this name now; on a busy machine it may come after the announcement."""
    return lambda found: found["event"] in ("joined", "renamed") and found["name"] == name


def test_what_is_said_comes_with_the_name_of_who_said_it() -> None:
    with started("chat", "lobby", "--name", "anna") as (anna, listening):
        ran = say("hello\nand goodbye\n", "--name", "ben", "--peer", listening["addresses"][0])
        heard = until(anna, is_("left"))
    assert (ran.code, ran.err) == (0, "")
    ben = heard[0]["peer_id"]
    assert heard == [
        {"event": "joined", "peer_id": ben, "name": "ben"},
        {"event": "said", "peer_id": ben, "label": "ben", "text": "hello"},
        {"event": "said", "peer_id": ben, "label": "ben", "text": "and goodbye"},
        {"event": "left", "peer_id": ben, "name": "ben"},
    ]


def test_two_talk_and_get_receipts() -> None:
    with started("chat", "lobby", "--name", "anna") as (anna, listening):
        with started("chat", "lobby", "--name", "ben", "--peer", listening["addresses"][0]) as (ben, second):
            until(anna, is_named("ben"))
            until(ben, is_named("anna"))
            write(anna, "hello ben\n")
            receipt = until(anna, is_("receipt"))[-1]
            until(ben, is_("said", label="anna", text="hello ben"))
            write(ben, "  hello anna\n\n")
            until(anna, is_("said", label="ben", text="  hello anna"))
            assert ben.stdin is not None
            ben.stdin.close()
            assert ben.wait(timeout=30) == 0
            until(anna, is_("left", name="ben"))
    assert (receipt["sent"], receipt["dropped"], receipt["bytes"]) == ([second["peer_id"]], [], 9)


def test_what_comes_from_a_pipe_is_said_whatever_it_begins_with() -> None:
    with started("chat", "lobby", "--name", "anna") as (anna, listening):
        ran = say("/etc/hosts\n/quit\n/who is there?\n", "--name", "ben", "--peer", listening["addresses"][0])
        heard = until(anna, is_("left"))
    assert (ran.code, ran.err) == (0, "")
    assert [told["text"] for told in heard if told["event"] == "said"] == ["/etc/hosts", "/quit", "/who is there?"]


def test_a_program_that_only_publishes_text_takes_part() -> None:
    with started("chat", "lobby") as (chat, listening):
        address = listening["addresses"][0]
        with started("pubsub", "subscribe", "lobby", "--count", "1", "--peer", address) as (subscriber, second):
            (joined,) = until(chat, is_("joined"))
            assert joined == {"event": "joined", "peer_id": second["peer_id"], "name": None}
            write(chat, "grüße, all\n")
            assert base64.b64decode(next_event(subscriber)["data"]).decode() == "grüße, all"
        assert cli("pubsub", "publish", "lobby", "evil\x1b[31m\n", "--peer", address).code == 0
        said = until(chat, is_("said"))[-1]
    assert said["text"] == "evil\x1b[31m"
    assert said["label"] == f"…{said['peer_id'][-8:]}"


def test_a_line_that_reaches_no_peer_gives_exit_code_1() -> None:
    ran = say("is anybody here?\n", "--json")
    assert (ran.code, ran.err) == (NO_PEER_REACHED, "")
    _, receipt, warning = ran.events
    assert (receipt["event"], receipt["sent"], receipt["dropped"]) == ("receipt", [], [])
    assert warning == {
        "event": "note",
        "level": "warning",
        "text": "not sent: no other member is here yet",
    }
    as_text = say("is anybody here?\n")
    assert as_text.code == NO_PEER_REACHED
    assert as_text.out.splitlines()[-1] == "! not sent: no other member is here yet"


def test_a_line_that_is_too_long_ends_it() -> None:
    ran = say("x" * (MAX_LINE + 1))
    assert ran.code == 2
    assert ran.err == f"peerstack: a line of standard input is over the limit of {MAX_LINE} bytes for a message\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chat"], "ROOM requires an argument"),
        (["chat", ""], "a room name has at least one character"),
        (["chat", "x" * 1020], "a topic name has 1 to 1024 bytes, not 1029"),
        (["chat", "lobby", "--name", " \x1b "], "Give a name with at least one character that can be seen"),
        (["chat", "lobby", "--peer", "nonsense"], "a multiaddr begins with '/'"),
        (["chat", "lobby", "--wait", "-1"], "Give seconds from 0 to 86400"),
    ],
)
def test_arguments_that_cannot_be_meant(arguments: list[str], says: str) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert ran.err.count("\n") == 1


def test_a_peer_that_cannot_be_reached() -> None:
    with closed_port() as address:
        ran = say("hello\n", "--peer", address)
    assert (ran.code, ran.out) == (2, "")
    assert "nothing listens there" in ran.err


def test_a_user_without_a_name_is_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", getuser)
    assert own_name() == "anonymous"


def test_people_see_plain_lines_that_cannot_steer_their_terminal() -> None:
    def shown(event: events.OutputEvent) -> list[str]:
        return [text for shape in describe(event) for text in plain_lines(shape)]

    assert shown(events.Said("12D3KooWabcdefgh", "ben", "a\x1b[31m")) == ["ben: a\\x1b[31m"]
    assert shown(events.Joined("12D3KooWabcdefgh", None)) == ["* …abcdefgh is here"]
    assert shown(events.Left("12D3KooWabcdefgh", "ben")) == ["* ben (…abcdefgh) has left"]
    assert shown(events.Renamed("12D3KooWabcdefgh", "eva")) == ["* …abcdefgh is now eva"]
    assert shown(events.Noted("info", "x")) == ["* x"]
    assert shown(events.Noted("warning", "x")) == ["! x"]
