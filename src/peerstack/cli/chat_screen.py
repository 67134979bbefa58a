"""The chat on a terminal, drawn with urwid: what was said, who is here, and a line to type in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import trio
import urwid

from peerstack.protocols.pubsub import Receipt
from peerstack.stack.background import open_background

from . import events
from .chat_model import ChatModel
from .chat_session import ChatSession
from .events import PeerBack, PeerLost
from .listen import EVERYWHERE
from .render_pubsub import short, who
from .shapes import printable
from .signals import undone

MAX_LINES = 2000
"""Lines that can be scrolled back to."""
MAX_TYPED = 100
"""Lines that may wait to be sent."""
SCROLLING = ("up", "down", "page up", "page down")

_NAMES = ("light cyan", "light green", "yellow", "light magenta", "light blue", "light red")
PALETTE = [
    ("bar", "black", "light gray"),
    ("dim", "dark gray", "default"),
    ("me", "bold", "default"),
    ("warning", "light red", "default"),
    ("sent", "dark green", "default"),
    *((f"name {number}", colour, "default") for number, colour in enumerate(_NAMES)),
]
Markup = list[str | tuple[str, str]]


class ChatScreen:
    """The widgets of a chat. `widget` is the whole; `typed` is called with each line that is entered."""

    def __init__(self, model: ChatModel, where: events.Listening, typed: Callable[[str], None]) -> None:
        self._model = model
        self._pending: dict[str, tuple[urwid.Text, Markup]] = {}
        """Our lines whose receipt is not complete, by the id of the message."""
        self._lines = urwid.SimpleFocusListWalker[urwid.Text]([])
        self._side = urwid.Text("")
        self._head = urwid.Text("", wrap=urwid.WrapMode.CLIP)
        said = urwid.Padding(urwid.ListBox(self._lines), left=1, right=1)
        members = urwid.LineBox(urwid.Filler(self._side, urwid.VAlign.TOP), title="here")
        foot = urwid.Pile([urwid.AttrMap(_share(where), "bar"), _Entry(typed)])
        self.widget = _Frame(
            urwid.Columns([("weight", 2, said), ("weight", 1, members)]),
            header=urwid.AttrMap(self._head, "bar"),
            footer=foot,
            focus_part="footer",
        )
        self._add([("dim", "Enter sends a line, /help lists commands, page up scrolls, Ctrl-C leaves")])
        self.refresh()

    def add_event(self, event: events.OutputEvent) -> None:
        """Show something that happened."""
        match event:
            case events.Said(peer_id=peer, label=label, text=text):
                self._add([(_colour(peer), printable(label)), f"  {printable(text)}"])
            case events.Joined(peer_id=peer, name=name):
                self._add([("dim", f"+ {printable(who(peer, name))} is here")])
            case events.Left(peer_id=peer, name=name):
                self._add([("dim", f"- {printable(who(peer, name))} has left")])
            case PeerLost(peer_id=peer, address=address):
                self._add([("warning", f"! lost {short(peer)} at {address}; dialing it until it is back")])
            case PeerBack(peer_id=peer, address=address, seconds=seconds):
                self._add([("dim", f"* {short(peer)} at {address} is back after {seconds:.1f} s")])
            case events.Renamed(peer_id=peer, name=name):
                self._add([("dim", f"* {short(peer)} is now {printable(name)}")])
            case events.Noted(level="warning", text=text):
                self._add([("warning", f"! {printable(text)}")])
            case events.Noted(text=text):
                self._add([("dim", f"* {printable(text)}")])
            case events.Receipt():
                self._settle(event)
        self.refresh()

    def said(self, text: str, receipt: Receipt) -> None:
        """Show a line of our own; its deliveries are filled in when its receipt is complete."""
        markup: Markup = [("me", self._model.name), f"  {printable(text)}  "]
        self._pending[receipt.id.hex()] = self._add([*markup, ("dim", "...")]), markup

    def refresh(self) -> None:
        """Draw anew what the model knows: the head line and who is here."""
        model, others = self._model, len(self._model.members)
        company = f"{others} other{'s' if others > 1 else ''} here" if others else "no others here"
        self._head.set_text(f" {printable(model.room)}   {company}   you are {model.name} ({short(model.me)})")
        self._side.set_text(_members(model))

    # ---- lines

    def _settle(self, receipt: events.Receipt) -> None:
        if receipt.id in self._pending:
            row, markup = self._pending.pop(receipt.id)
            mark = ("sent", f"✓ {len(receipt.sent)}") if receipt.sent else ("warning", "! not sent")
            row.set_text([*markup, mark])

    def _add(self, markup: Markup) -> urwid.Text:
        row = urwid.Text(markup)
        at_end = not self._lines or self._lines.focus == len(self._lines) - 1
        self._lines.append(row)
        if len(self._lines) > MAX_LINES:
            del self._lines[0]
        if at_end:
            self._lines.set_focus(len(self._lines) - 1)
        return row


class _Frame(urwid.Frame[urwid.Columns, urwid.AttrMap[urwid.Text], urwid.Pile]):
    """Keys that scroll go to the lines, all others to the one that is typed in."""

    def keypress(self, size: Any, key: str) -> str | None:
        """Handle a key."""
        if key not in SCROLLING:
            return super().keypress(size, key)
        self.focus_position = "body"
        try:
            return super().keypress(size, key)
        finally:
            self.focus_position = "footer"


class _Entry(urwid.Edit):
    """The line that is typed in."""

    def __init__(self, typed: Callable[[str], None]) -> None:
        super().__init__("> ")
        self._typed = typed

    def keypress(self, size: Any, key: str) -> str | None:
        """Handle a key."""
        if key != "enter":
            return super().keypress(size, key)
        text = self.get_edit_text()
        self.set_edit_text("")
        if text.strip():
            self._typed(text)
        return None


def _share(where: events.Listening) -> urwid.Text:
    # The first that others than this machine can reach; the terminal can copy it, since it is not cut.
    loopback = ("/ip4/127.", "/ip6/::1/")
    far = [address for address in where.addresses if not address.startswith(loopback)]
    if not where.addresses:
        return urwid.Text(f" other peers cannot connect; use --listen {EVERYWHERE}")
    text = f" others join with --peer {(far or where.addresses)[0]}"
    if not far:
        text += f" on this machine only; use --listen {EVERYWHERE} to let others in"
    return urwid.Text(text, wrap=urwid.WrapMode.ANY)


def _members(model: ChatModel) -> Markup:
    markup: Markup = [("me", f"{model.name} (you)"), ("dim", f" sees {len(model.sees)}")]
    for member in model.members.values():
        sees = f" sees {len(member.sees)}" if member.present else ""
        far = "" if member.direct else " (via others)"
        markup += ["\n", (_colour(member.peer), printable(model.label(member.peer))), ("dim", f"{sees}{far}")]
    return markup


def _colour(peer: str) -> str:
    return f"name {crc32(peer.encode()) % len(_NAMES)}"


async def show(session: ChatSession, where: events.Listening) -> None:
    """Draw a session on the terminal until the room is left."""
    typed, to_say = trio.open_memory_channel[str](MAX_TYPED)

    def enter(text: str) -> None:
        try:
            typed.send_nowait(text)
        except trio.WouldBlock:
            screen.add_event(events.Noted("warning", f"not sent: {MAX_TYPED} lines are waiting already: {text}"))

    screen = ChatScreen(session.model, where, enter)
    session.on_said = screen.said
    running = trio.CancelScope()

    async def say() -> None:
        async for text in to_say:
            if not await session.enter(text):
                break
        await session.leave()

    async def show_events() -> None:
        async for event in session.events:
            screen.add_event(event)
        running.cancel()

    trio_loop = urwid.TrioEventLoop()
    loop = urwid.MainLoop(screen.widget, PALETTE, handle_mouse=False, event_loop=trio_loop)
    async with open_background() as nursery:
        nursery.start_soon(say)
        nursery.start_soon(show_events)
        with undone(loop.screen.stop), loop.start(), running:
            await trio_loop.run_async()
