"""`peerstack chat`: chat in a room without a server, on a terminal or in plain lines."""

from __future__ import annotations

import getpass
import sys
from functools import partial
from typing import Annotated

from cyclopts import App, Parameter

from peerstack.stack.background import open_background

from . import events, standard_input
from .chat_presence import clean_name, topic_of
from .chat_session import ChatSession, open_session
from .failure import CommandError
from .listen import EVERYWHERE, LOOPBACK
from .options import NODE, Json, NodeOptions, seconds_option
from .output import Output
from .pubsub_node import Listen, Node, Peers, check_topics, listening, open_node
from .runner import run

NO_PEER_REACHED = 1
"""Exit code when a line of standard input reached no peer."""
MAX_LINE = 32 * 1024  # bytes; rust-libp2p reads RPCs of twice that by default

app = App(
    name="chat",
    help_epilogue="""There is no server: messages are passed on from member to member. The name of
the room is a topic with plain text, so other libp2p programs can take part.
Names and connections are published to ROOM/presence. Members exchange their
addresses and connect to one another, so the room survives when one leaves.
Without --listen only programs on this machine can connect to you.
/who, /name NAME, /help and /quit are commands. Lines from a pipe are sent
unchanged and received lines are printed; the exit code is 1 if a line reached
no peer. A --peer that is lost is dialed again until it is back.

Examples:
  peerstack chat lobby --listen /ip4/0.0.0.0/tcp/4001
  peerstack chat lobby --peer /ip4/127.0.0.1/tcp/4001 --name anna
  peerstack chat friends --swarm-key swarm.key
  echo "it is done" | peerstack chat lobby --peer /ip4/127.0.0.1/tcp/4001""",
)


def _check_name(_: object, name: str | None) -> None:
    if name is not None and not clean_name(name):
        raise ValueError("Give a name with at least one character that can be seen")


@app.default
def chat(
    room: Annotated[str, Parameter(help="Name of the room, which is also the topic.")],
    /,
    *,
    peer: Peers = (),
    listen: Listen = (LOOPBACK,),
    name: Annotated[
        str | None,
        Parameter(help="Your name in the room; your user name by default.", show_default=False, validator=_check_name),
    ] = None,
    wait: Annotated[
        float, seconds_option("Without a terminal: how long to wait for another member, with --peer.")
    ] = 10.0,
    options: NodeOptions = NODE,
    json: Json = False,
) -> int:
    """Chat in a room without a server."""
    node = Node(listen=listen, peers=peer, options=options)
    drawn = not json and _is_terminal()
    return run(partial(_chat, room, node, name or own_name(), wait, drawn), json=json, verbose=options.verbose)


def _is_terminal() -> bool:
    files = (sys.stdin, sys.stdout)
    return all(file is not None and file.isatty() for file in files)


def own_name() -> str:
    """Return what the user of this machine is called."""
    try:
        return clean_name(getpass.getuser()) or "anonymous"
    except (OSError, KeyError):
        return "anonymous"  # a user without an entry, as in some containers


async def _chat(room: str, node: Node, name: str, wait: float, drawn: bool, output: Output) -> int:
    if not room:
        raise CommandError("a room name has at least one character")
    check_topics([topic_of(room)])
    async with open_node(node, output) as opened, open_session(opened, room, name) as session:
        where = listening(opened.pubsub.host)
        if drawn:
            from .chat_screen import show

            await show(session, where)
            return 0
        output.emit(where)
        if node.listen == (LOOPBACK,):
            output.hint(f"Only programs on this machine can connect; use --listen {EVERYWHERE} to let others in.")
        await _plain(session, output, patience=wait if node.peers else 0.0)
    return NO_PEER_REACHED if session.reached_no_peer else 0


async def _plain(session: ChatSession, output: Output, *, patience: float) -> None:
    """Send the lines of standard input and print what happens, until the lines end."""
    typed = not standard_input.is_given()
    failures: list[CommandError] = []

    async def say_lines() -> None:
        await session.wait_company(patience)
        try:
            async for line in standard_input.lines(MAX_LINE):
                text = line.decode(errors="replace")
                # Only typed lines can be commands.
                if not typed:
                    await session.say(text.rstrip())
                elif not await session.enter(text):
                    break
        except CommandError as error:
            failures.append(error)
        await session.leave()

    async with open_background() as nursery:
        nursery.start_soon(say_lines)
        async for event in session.events:
            if output.json or not isinstance(event, events.Receipt):
                await output.emit_when_ready(event)
    if failures:
        raise failures[0]
