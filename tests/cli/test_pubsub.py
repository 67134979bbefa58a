"""What one process publishes, another one prints; receipts and exit codes say what became of it."""

from __future__ import annotations

import base64
import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peerstack.cli import events
from peerstack.cli.output import Output
from peerstack.cli.publish import MAX_MESSAGE
from peerstack.cli.render import describe
from peerstack.cli.shapes import plain_lines

from .drive import COMMAND, Ran, Screen, cli, closed_port, next_event, serving, started

LOOPBACK = ("--listen", "/ip4/127.0.0.1/tcp/0")

EVENT = ["event", "topic", "from", "seqno", "data", "gap", "late", "closes", "missing", "missed", "fetched"]


def piped(text: bytes, *arguments: str) -> Ran:
    """Run a command in a process of its own, with this on its standard input."""
    ran = subprocess.run((*COMMAND, *arguments), input=text, capture_output=True, check=False)
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def payload(message: dict[str, Any]) -> bytes:
    return base64.b64decode(message["data"])


def shown(event: events.OutputEvent) -> list[str]:
    return [text for shape in describe(event) for text in plain_lines(shape)]


# ---- from one process to another


def test_what_is_published_comes_to_a_subscriber() -> None:
    with started("pubsub", "subscribe", "news", "weather", "--count", "2") as (subscriber, listening):
        assert list(listening) == ["event", "peer_id", "addresses", "engines"]
        (address,) = listening["addresses"]
        ran = cli("pubsub", "publish", "news", "hello", "grüße", "--peer", address, "--json")
        messages = [next_event(subscriber), next_event(subscriber)]
        rest, complaints = subscriber.communicate(timeout=30)
    assert (ran.code, ran.err) == (0, "")
    assert (subscriber.returncode, rest, complaints) == (0, "", "")
    receipts = [event for event in ran.events if event["event"] == "receipt"]
    summary = ran.events[-1]
    assert [list(message) for message in messages] == [EVENT] * 2
    assert [payload(message).decode() for message in messages] == ["hello", "grüße"]
    assert [message["seqno"] for message in messages] == [receipt["seqno"] for receipt in receipts]
    assert {message["topic"] for message in messages} == {"news"}
    assert [message["gap"] for message in messages] == [0, 0]
    for receipt in receipts:
        assert list(receipt) == ["event", "topic", "id", "seqno", "bytes", "sent", "queued", "uncertain", "dropped"]
        assert (receipt["sent"], receipt["queued"], receipt["dropped"]) == ([listening["peer_id"]], [], [])
        assert bytes.fromhex(receipt["id"]).endswith(receipt["seqno"].to_bytes(8, "big"))
    assert [receipt["bytes"] for receipt in receipts] == [5, 7]
    expected = {"published": 2, "bytes": 12, "sent": 2, "dropped": 0, "reached_nobody": 0, "peers": 1}
    assert summary.items() >= {"event": "summary", **expected}.items()


def test_a_thousand_messages_come_in_order_and_are_acknowledged() -> None:
    with started("pubsub", "subscribe", "news") as (subscriber, listening):
        lines = "".join(f"line {number}\n" for number in range(1000)).encode()
        ran = piped(lines, "pubsub", "publish", "news", "--lines", "--peer", listening["addresses"][0], "--json")
        messages = [next_event(subscriber) for _ in range(1000)]
        subscriber.send_signal(signal.SIGINT)
        _, complaints = subscriber.communicate(timeout=30)
    assert (ran.code, ran.err, subscriber.returncode, complaints) == (0, "", 130, "")
    assert [payload(message) for message in messages] == lines.splitlines()
    assert [sum(message[name] for message in messages) for name in ("gap", "missed")] == [0, 0]
    assert [event["event"] for event in ran.events] == ["receipt"] * 1000 + ["summary"]
    assert (ran.events[-1]["published"], ran.events[-1]["acknowledged"]) == (1000, 1)


def test_a_file_is_one_message_however_often(tmp_path: Path) -> None:
    content = bytes(range(256)) * 400
    file = tmp_path / "photo"
    file.write_bytes(content)
    with started("pubsub", "subscribe", "news", "--count", "4") as (subscriber, listening):
        address = listening["addresses"][0]
        ran = cli("pubsub", "publish", "news", "--file", str(file), "--count", "3", "--peer", address, "--json")
        by_pipe = piped(content, "pubsub", "publish", "news", "--file", "-", "--peer", address)
        received = [payload(next_event(subscriber)) for _ in range(4)]
    assert (ran.code, by_pipe.code) == (0, 0)
    assert received == [content] * 4
    assert ran.events[-1]["bytes"] == 3 * len(content)
    ends = [event for event in ran.events if event["event"] == "progress"]
    assert (ends[-1]["direction"], ends[-1]["bytes"]) == ("publish", 3 * len(content))


def test_a_publisher_that_listens_waits_for_subscribers_to_come() -> None:
    publish = ("pubsub", "publish", "news", "hello", "--subscribers", "2", "--wait", "60")
    with started(*publish) as (publisher, listening):
        address = listening["addresses"][0]
        arguments = ("pubsub", "subscribe", "news", "--count", "1", "--peer", address)
        with started(*arguments) as (one, first), started(*arguments) as (other, second):
            messages = [next_event(one), next_event(other)]
            receipt, summary = next_event(publisher), next_event(publisher)
    assert [message["from"] for message in messages] == [listening["peer_id"]] * 2
    assert set(receipt["sent"]) == {first["peer_id"], second["peer_id"]}
    assert summary["sent"] == 2


def test_without_signatures_no_author_is_named() -> None:
    with started("pubsub", "subscribe", "news", "--no-sign", "--count", "1") as (subscriber, listening):
        ran = cli("pubsub", "publish", "news", "x", "--no-sign", "--peer", listening["addresses"][0], "--json")
        message = next_event(subscriber)
    assert ran.code == 0
    assert (message["from"], message["seqno"], payload(message)) == (None, None, b"x")
    assert ran.events[0]["seqno"] is None


def test_a_key_file_makes_the_author_known(tmp_path: Path) -> None:
    file = tmp_path / "my.key"
    cli("id", "new", "--out", str(file))
    (me,) = cli("id", "show", str(file), "--json").events
    with started("pubsub", "subscribe", "news", "--count", "1") as (subscriber, listening):
        address = listening["addresses"][0]
        assert cli("pubsub", "publish", "news", "x", "--peer", address, "--identity", str(file)).code == 0
        assert next_event(subscriber)["from"] == me["peer_id"]


# ---- no subscriber


def test_no_subscriber_gives_exit_code_1() -> None:
    with started("pubsub", "subscribe", "other") as (_, listening):
        arguments = ("pubsub", "publish", "news", "x", "--peer", listening["addresses"][0], "--wait", "0.05")
        ran, as_json = cli(*arguments), cli(*arguments, "--json")
    text = "no peer subscribes to 'news' after 0.05 s; start one there with: peerstack pubsub subscribe news"
    assert (ran.code, ran.out, ran.err) == (1, "", f"peerstack: {text}\n")
    assert (as_json.code, as_json.events) == (1, [{"event": "error", "message": text, "report": None}])


def test_too_few_subscribers_are_counted() -> None:
    with started("pubsub", "subscribe", "news") as (_, listening):
        address = listening["addresses"][0]
        # The second peer never comes: however long the first one takes to subscribe, time runs out.
        ran = cli("pubsub", "publish", "news", "x", "--peer", address, "--subscribers", "2", "--wait", "1")
    assert ran.code == 1
    assert "only 1 of 2 peers subscribe to 'news' after 1 s" in ran.err


# ---- what cannot be meant


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["publish", "t", *LOOPBACK], "nothing to publish; give DATA, --file FILE, or --lines"),
        (["publish", "t", "", *LOOPBACK], "DATA is empty; a message has at least one byte"),
        (
            ["publish", "t", "x" * (MAX_MESSAGE + 1), *LOOPBACK],
            f"DATA is too large; a message has at most {MAX_MESSAGE}",
        ),
        (["publish", "t", "--file", "/dev/zero", *LOOPBACK], "the file /dev/zero is too large"),
        (["publish", "t", "--file", "/dev/null", *LOOPBACK], "the file /dev/null is empty"),
        (["publish", "t", "--file", "missing", *LOOPBACK], "missing: No such file or directory"),
        (
            ["publish", "t", "x", "--lines", *LOOPBACK],
            "publish one thing at a time; give DATA, --file FILE, or --lines",
        ),
        (["publish", "t", "--lines", "--count", "2", *LOOPBACK], "can be read only once; leave out --count"),
        (
            ["publish", "t", "x", "--no-sign", "--count", "2", *LOOPBACK],
            "--count needs signatures, since equal unsigned messages are one",
        ),
        (["publish", "t", "x"], "no peer can be reached; give the address of a subscriber with --peer"),
        (["publish", "t", "x", "--peer", "nonsense"], "a multiaddr begins with '/'"),
        (["publish", "", "x", *LOOPBACK], "a topic name has 1 to 1024 bytes, not 0"),
        (["publish", "t", "x", *LOOPBACK, "--wait", "nan"], "Give seconds from 0 to 86400"),
        (["publish", "t", "x", *LOOPBACK, "--count", "0"], "Must be >= 1"),
        (["subscribe", *LOOPBACK], "TOPIC requires an argument"),
        (["subscribe", "t" * 1025, *LOOPBACK], "a topic name has 1 to 1024 bytes, not 1025"),
        (["subscribe", "t\udcff", *LOOPBACK], "a topic name is UTF-8"),
        (["subscribe", "t", "/ip4/127.0.0.1/tcp/1"], "/ip4/127.0.0.1/tcp/1 is an address, not a topic; give it with"),
        (["subscribe", "t", "--listen", "4001"], "'4001' is not a multiaddr; type /ip4/127.0.0.1/tcp/4001"),
        (["subscribe", "t", "--buffer", "0", *LOOPBACK], "Must be >= 1"),
        (["subscribe", "t", "--when-full", "explode", *LOOPBACK], 'Choose from: "wait", "drop-oldest", "fail"'),
        (["subscribe", "t", "--identity", "missing.key", *LOOPBACK], "peerstack id new --out missing.key"),
    ],
)
def test_arguments_that_cannot_be_meant(arguments: list[str], says: str) -> None:
    ran = cli("pubsub", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("command", [["subscribe", "t", *LOOPBACK], ["publish", "t", "x"]])
def test_a_peer_that_cannot_be_reached(command: list[str]) -> None:
    with closed_port() as address:
        ran = cli("pubsub", *command, "--peer", address)
    assert (ran.code, ran.out) == (2, "")
    assert "Connection refused; nothing listens there" in ran.err


@pytest.mark.parametrize("binary", [b"good\n\xff\xfe\n", b"good\na\0b\n", b"good\n" + b"x" * (MAX_MESSAGE + 1)])
def test_lines_that_are_no_text_end_it_after_the_good_ones(binary: bytes) -> None:
    with started("pubsub", "subscribe", "news") as (subscriber, listening):
        ran = piped(binary, "pubsub", "publish", "news", "--lines", "--peer", listening["addresses"][0], "--json")
        assert payload(next_event(subscriber)) == b"good"
    assert ran.code == 2
    assert [event["event"] for event in ran.events] == ["receipt", "error"]
    assert ran.err.count("\n") == 1


def test_a_closed_standard_input_is_reported() -> None:
    with started("pubsub", "subscribe", "news") as (_, listening):
        command = [*COMMAND, "pubsub", "publish", "news", "--lines", "--peer", listening["addresses"][0]]
        program = f"import os; os.close(0); os.execv({sys.executable!r}, {command!r})"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (2, "peerstack: standard input is closed\n")


def test_a_peer_without_pubsub_is_no_subscriber() -> None:
    with serving() as peer:
        ran = cli("pubsub", "publish", "news", "x", "--peer", peer.address, "--wait", "0.05")
    assert ran.code == 1
    assert "no peer subscribes to 'news'" in ran.err


# ---- for people


def test_people_see_text_that_cannot_steer_their_terminal() -> None:
    evil = base64.b64encode(b"\x1b[31m\xff\nhello\n").decode()
    (text,) = shown(events.MessageReceived("t\x07", "12D3KooWabcdefgh", 1, evil, 0, False, False, 0, 0))
    assert text == "t\\x07  …abcdefgh  \\x1b[31m\\xff\\nhello"


def test_missing_messages_are_reported() -> None:
    data = base64.b64encode(b"x" * 5000).decode()
    skipped, missed, text = shown(events.MessageReceived("t", None, None, data, 3, False, False, 3, 2))
    assert skipped.startswith("anonymous skipped 3 numbers")
    assert missed.startswith("2 messages before this one were dropped")
    assert text.endswith("x… (4.9 KiB)")


def test_people_see_who_got_a_message_and_who_did_not() -> None:
    dropped = (events.NotSent("12D3KooWijklmnop", "the connection is gone"),)
    lines = shown(events.Receipt("t", "00ff", None, 5, ("12D3KooWabcdefgh",) * 5, (), (), dropped))
    assert lines == [
        "sent to …abcdefgh, …abcdefgh, …abcdefgh and 2 more  5 B  00ff",
        "   not to …ijklmnop: the connection is gone",
    ]
    assert shown(events.Receipt("t", "00ff", None, 5, (), (), (), ())) == ["reached no peer  5 B  00ff"]
    summary = events.PublishSummary(2, 10, 1, 0, 1, 1, 1, 0)
    assert shown(summary) == [
        "published  2 messages, 10 B",
        "sent       1 time, to 1 peer",
        "received   by 0 of 1 hosts; their pubsub may still have dropped it",
        "dropped    1 time",
        "unsent     1 message",
    ]


def test_on_a_terminal_a_bar_stands_for_the_receipts_of_many() -> None:
    out, err = Screen(), Screen()
    with started("pubsub", "subscribe", "news") as (_, listening):
        address = listening["addresses"][0]
        assert cli("pubsub", "publish", "news", "x", "--count", "50", "--peer", address, out=out, err=err).code == 0
    assert "publish" in err.getvalue()
    assert "━" in err.getvalue()
    assert "sent to" not in out.getvalue()
    assert "50 messages" in out.getvalue()


def test_whether_people_watch_is_known() -> None:
    assert Output(json=False, stdout=io.StringIO(), stderr=Screen()).live
    assert not Output(json=True, stdout=io.StringIO(), stderr=Screen()).live


def test_the_arrival_of_all_skipped_messages_is_reported() -> None:
    data = base64.b64encode(b"x").decode()
    assert len(shown(events.MessageReceived("t", "12D3KooWabcdefgh", 1, data, 0, True, True, 3, 0))) == 1
    _, closed = shown(events.MessageReceived("t", "12D3KooWabcdefgh", 1, data, 0, True, True, 0, 0))
    assert closed == "all skipped numbers have arrived late"
