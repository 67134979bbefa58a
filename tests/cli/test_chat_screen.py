"""What the chat draws on a terminal: lines, receipts, who is here; and a whole chat through a pseudo terminal."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from peerstack.cli import events
from peerstack.cli.chat_model import ChatModel
from peerstack.cli.chat_presence import Presence, encode
from peerstack.cli.chat_screen import MAX_LINES, ChatScreen
from peerstack.cli.events import PeerBack, PeerLost
from peerstack.protocols.pubsub import Receipt
from peerstack.stack.identity import Identity

from .drive import COMMAND, next_event, started

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo terminals", allow_module_level=True)

import fcntl
import pty
import termios

assert sys.platform != "win32"

ME, BEN, CARL = (str(Identity.generate().peer_id) for _ in range(3))
ADDRESS = f"/ip4/192.0.2.7/tcp/4001/p2p/{ME}"
SIZE = (80, 16)


@dataclass
class Chat:
    """A chat that is drawn nowhere."""

    model: ChatModel = field(default_factory=lambda: ChatModel("lobby", ME, "anna"))
    typed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        where = events.Listening(ME, (f"/ip4/127.0.0.1/tcp/4001/p2p/{ME}", ADDRESS))
        self.screen = ChatScreen(self.model, where, self.typed.append)

    def add(self, *shown: events.OutputEvent) -> None:
        for event in shown:
            self.screen.add_event(event)

    def come(self, peer: str, name: str, *sees: str) -> None:
        self.model.peer_joined(peer, 0)
        self.add(*self.model.presence_received(peer, encode(Presence(name, sees)), 0))

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.screen.widget.keypress(SIZE, key)

    def draw(self, size: tuple[int, int] = SIZE) -> list[str]:
        return [text.decode().rstrip() for text in self.screen.widget.render(size, focus=True).text]


@pytest.fixture
def chat() -> Chat:
    return Chat()


def said(text: str) -> events.Said:
    return events.Said(BEN, "ben", text)


def sent_to(receipt: Receipt, *peers: str) -> events.Receipt:
    return events.Receipt("lobby", receipt.id.hex(), 1, receipt.size, peers, (), (), ())


def test_a_peer_that_is_lost_and_comes_back_is_a_line_each(chat: Chat) -> None:
    chat.add(PeerLost(BEN, "/ip4/192.0.2.8/tcp/4001", "it fell"), PeerBack(CARL, "/ip4/192.0.2.8/tcp/4001", 12.34))
    drawn = chat.draw((160, 16))
    assert any(f"! lost …{BEN[-8:]} at /ip4/192.0.2.8/tcp/4001; dialing it until it is back" in row for row in drawn)
    assert any(f"* …{CARL[-8:]} at /ip4/192.0.2.8/tcp/4001 is back after 12.3 s" in row for row in drawn)


def test_the_first_screen_says_where_others_come_and_what_to_type(chat: Chat) -> None:
    drawn = chat.draw()
    assert drawn[0] == f" lobby   no others here   you are anna (…{ME[-8:]})"
    assert "/help lists commands" in "".join(drawn)
    assert f"others join with --peer {ADDRESS}" in "".join(drawn)
    assert drawn[-1] == ">"


def test_lines_and_who_is_here_are_drawn(chat: Chat) -> None:
    chat.come(BEN, "ben", ME, CARL)
    chat.add(*chat.model.line_received(BEN, b"hello \x1b[31mall", 1))
    chat.model.line_received(CARL, b"x", 1)
    chat.add(*chat.model.flush(), events.Renamed(BEN, "benjamin"), events.Left(BEN, "benjamin"))
    chat.add(events.Noted("info", "a note"), events.Noted("warning", "a warning"))
    drawn = chat.draw((100, 20))
    left, right = [text[:66].rstrip() for text in drawn], [text[66:].strip("│ ") for text in drawn]
    assert drawn[0].startswith(" lobby   2 others here")
    wanted = [
        f" + ben (…{BEN[-8:]}) is here",
        " ben  hello \\x1b[31mall",
        f" + …{CARL[-8:]} is here",
        f" …{CARL[-8:]}  x",
        f" * …{BEN[-8:]} is now benjamin",
        f" - benjamin (…{BEN[-8:]}) has left",
        " * a note",
        " ! a warning",
    ]
    assert [text for text in left if text in wanted] == wanted
    assert right[2:5] == ["anna (you) sees 1", "ben sees 2", f"…{CARL[-8:]} (via others)"]


def test_a_receipt_is_filled_in_when_it_comes(chat: Chat) -> None:
    one, two = (Receipt("lobby", bytes([number]), number, 2) for number in range(2))
    chat.screen.said("one", one)
    chat.screen.said("two \x07", two)
    assert " anna  one  ..." in [text[:30].rstrip("│ ") for text in chat.draw()]
    chat.model.rename("eva")
    chat.add(sent_to(one, BEN, CARL), sent_to(two))
    drawn = "\n".join(chat.draw())
    assert " anna  one  ✓ 2" in drawn
    assert " anna  two \\x07  ! not sent" in drawn
    assert "..." not in drawn


def test_enter_says_what_was_typed_and_nothing_else(chat: Chat) -> None:
    chat.keys("enter", " ", "enter", "h", "x", "backspace", "i", "enter")
    assert chat.typed == ["hi"]
    assert chat.draw()[-1] == ">"


def test_it_follows_new_lines_unless_scrolled_back(chat: Chat) -> None:
    chat.add(*(said(f"line {number}.") for number in range(100)))
    assert "line 99." in "".join(chat.draw())
    chat.keys("page up", "page up")
    assert "line 99." not in "".join(chat.draw())
    chat.add(said("line 100."))
    assert "line 100." not in "".join(chat.draw())
    chat.keys(*["page down"] * 20)
    assert "line 100." in "".join(chat.draw())
    chat.keys("o", "k", "enter")
    assert chat.typed == ["ok"]


def test_old_lines_make_room(chat: Chat) -> None:
    chat.add(*(said(str(number)) for number in range(MAX_LINES + 50)))
    chat.keys(*["page up"] * MAX_LINES)
    assert "/help lists commands" not in "".join(chat.draw())


@pytest.mark.parametrize("size", [(20, 8), (40, 10), (200, 60)])
def test_any_size_can_be_drawn(size: tuple[int, int], chat: Chat) -> None:
    chat.come(BEN, "ben")
    chat.add(said("x" * 500))
    assert len(chat.draw(size)) == size[1]


# ---- a whole chat, on a pseudo terminal


class Terminal:
    """The end of a pseudo terminal where a person would sit."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._before = termios.tcgetattr(number)
        self.shown = ""

    @property
    def changed(self) -> bool:
        """Whether the terminal has other settings than at first."""
        return termios.tcgetattr(self._number) != self._before

    def type(self, text: str) -> None:
        os.write(self._number, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until what was drawn since the last call matches; escape sequences are left out."""
        while (found := re.search(pattern, self.shown)) is None:
            try:
                more = os.read(self._number, 65536).decode(errors="replace")
            except OSError:  # Linux says so at the end
                raise AssertionError(f"{pattern!r} was not drawn: {self.shown!r}") from None
            self.shown += re.sub(r"\x1b(\[[?>=0-9;]*[a-zA-Z]|[()][0-9A-B]|[=>78])|[\x0e\x0f]", "", more)
        self.shown = self.shown[found.end() :]
        return found


@contextmanager
def chat_on_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
    """Run a chat on a pseudo terminal of 24 lines of 100 columns."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    terminal = Terminal(outer)
    command = (*COMMAND, "chat", "lobby", "--listen", "/ip4/127.0.0.1/tcp/0", *arguments)
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=env, start_new_session=True) as popen:
        os.close(inner)
        late = threading.Timer(60, popen.kill)
        late.start()
        try:
            yield popen, terminal
        finally:
            late.cancel()
            popen.kill()
            os.close(outer)


def test_a_chat_on_a_terminal_talks_to_one_in_lines() -> None:
    with started("chat", "lobby", "--name", "ben") as (ben, listening):
        with chat_on_terminal("--name", "anna", "--peer", listening["addresses"][0]) as (anna, terminal):
            terminal.wait_for(r"ben \(…\w{8}\) is here")
            terminal.type("grüße\r")
            terminal.wait_for("anna  grüße  ")
            heard = next_event(ben)
            while heard["event"] != "said":
                heard = next_event(ben)
            assert (heard["label"], heard["text"]) == ("anna", "grüße")
            terminal.wait_for("✓ 1")
            assert ben.stdin is not None
            ben.stdin.write("hello anna\n")
            ben.stdin.flush()
            terminal.wait_for("ben  hello anna")
            terminal.type("/quit\r")
            assert anna.wait(timeout=30) == 0
        while heard["event"] != "left":
            heard = next_event(ben)
        assert heard["name"] == "anna"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_terminal_as_it_was(number: int) -> None:
    with chat_on_terminal() as (process, terminal):
        terminal.wait_for("no others here")
        assert terminal.changed
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
        assert not terminal.changed
