"""People in a room that know one another through others connect, so that any of them may leave."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from multiaddr import Multiaddr
from trio.testing import MockClock

from peerstack import Host, open_host
from peerstack.cli.chat_model import ChatModel, Member
from peerstack.cli.chat_neighbours import ENOUGH, FIRST_WAIT, HEAD_START, DialPlan
from peerstack.cli.chat_presence import MAX_ADDRESSES, Presence, decode, encode
from peerstack.cli.chat_session import ChatSession, open_session
from peerstack.cli.events import Left, Noted, Renamed, Said
from peerstack.cli.pubsub_node import OpenNode
from peerstack.cli.redial import Redialer
from peerstack.protocols.pubsub import open_pubsub
from peerstack.stack.addressing import parse_address
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

ADDRESS = parse_address("/ip4/192.0.2.7/tcp/4001")
ME = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


class Person:
    """A member of a room that keeps its events."""

    def __init__(self, host: Host, session: ChatSession) -> None:
        self.host = host
        self.session = session
        self.received: list[object] = []
        self._more = trio.Event()

    async def listen(self) -> None:
        async for event in self.session.events:
            self.received.append(event)
            self._more.set()

    async def wait_line(self, text: str) -> None:
        while not any(isinstance(event, Said) and event.text == text for event in self.received):
            await self._more.wait()
            self._more = trio.Event()


@asynccontextmanager
async def person(exchange: MemoryNetwork, number: int, name: str, at: Host | None = None) -> AsyncIterator[Person]:
    listen = [f"/memory/{number}"]
    async with (
        open_host(listen=listen, transports=[MemoryTransport(exchange)], native_transports=[]) as host,
        open_pubsub(host) as pubsub,
    ):
        redialer = Redialer(host)
        if at is not None:
            await redialer.connect(at.addresses[0])
        async with (
            open_session(OpenNode(pubsub, redialer), "lobby", name) as session,
            trio.open_nursery() as nursery,
        ):
            found = Person(host, session)
            nursery.start_soon(found.listen)
            yield found
            nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the model has no event, and the clock is not real
        await trio.sleep(0.1)


async def test_when_the_creator_of_a_room_leaves_the_others_still_hear_each_other(autojump_clock: MockClock) -> None:
    exchange, leaving = MemoryNetwork(), trio.Event()

    async def create(task_status: trio.TaskStatus[Person]) -> None:
        async with person(exchange, 1, "anna") as anna:
            task_status.started(anna)
            await leaving.wait()
            await anna.session.leave()

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            anna: Person = await nursery.start(create)
            async with person(exchange, 2, "ben", anna.host) as ben, person(exchange, 3, "carl", anna.host) as carl:
                await until(lambda: carl.host.peer_id in ben.host.peers)
                await until(lambda: str(carl.host.peer_id) in ben.session.model.sees)
                leaving.set()
                await until(lambda: any(isinstance(event, Left) for event in ben.received))
                await ben.session.say("still here?")
                await carl.wait_line("still here?")
                await carl.session.say("yes")
                await ben.wait_line("yes")


async def test_commands_that_are_typed(autojump_clock: MockClock) -> None:
    exchange = MemoryNetwork()
    with trio.fail_after(60):
        async with person(exchange, 1, "anna") as anna, person(exchange, 2, "ben", anna.host) as ben:
            await until(lambda: "anna" in [member.name for member in ben.session.model.members.values()])
            for line in ("/who", "/help", "/nonsense", "/name benjamin"):
                assert await ben.session.enter(line)
            assert not await ben.session.enter("/quit")
            await until(lambda: any(isinstance(event, Renamed) for event in anna.received))
            notes = [event for event in ben.received if isinstance(event, Noted)]
    assert notes[0].text.startswith("ben (…")
    assert notes[0].text.endswith("that is you) sees anna")
    assert notes[1].text.startswith("anna (…")
    assert any(note.text.startswith("/quit ") for note in notes)
    assert [note.text for note in notes if note.level == "warning"] == ["/nonsense is no command; /help lists them"]


def member(peer: str, **fields: object) -> Member:
    found = Member(peer, 0.0, addresses=(ADDRESS,))
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def test_the_lower_peer_id_dials_first_and_the_other_if_that_fails() -> None:
    lower, higher = member("12D3KooWA"), member("12D3KooWZ")
    plan = DialPlan(ME, chance=lambda: 0.0)
    assert plan.next([lower, higher], 0.0) is higher
    assert plan.next([lower, higher], 1.0) is None
    assert plan.next([lower, higher], HEAD_START) is lower


def test_a_member_that_is_not_reached_is_dialed_ever_more_seldom() -> None:
    other = member("12D3KooWZ")
    plan = DialPlan(ME)
    dialed = [now for now in range(200) if plan.next([other], float(now))]
    assert dialed == [0, int(FIRST_WAIT), int(3 * FIRST_WAIT), int(7 * FIRST_WAIT)]


@pytest.mark.parametrize("fields", [{"direct": True}, {"leaving": True}, {"addresses": ()}])
def test_whom_there_is_no_need_or_way_to_dial_is_left_alone(fields: dict[str, object]) -> None:
    assert DialPlan(ME).next([member("12D3KooWZ", **fields)], 100.0) is None


def test_enough_neighbours_are_enough() -> None:
    near = [member(f"12D3KooWZ{number}", direct=True) for number in range(ENOUGH)]
    assert DialPlan(ME).next([*near, member("12D3KooWZ")], 0.0) is None
    assert DialPlan(ME).next([*near[1:], member("12D3KooWZ")], 0.0) is not None


def test_who_has_gone_is_forgotten() -> None:
    plan, other = DialPlan(ME), member("12D3KooWZ")
    assert plan.next([other], 0.0) is other
    assert plan.next([], 1.0) is None
    assert plan.next([other], 2.0) is other


# ---- what presences say


def test_a_presence_carries_addresses() -> None:
    presence = Presence("anna", (), addresses=(ADDRESS,))
    assert decode(encode(presence)) == presence


def test_addresses_of_a_member_are_few_and_usable() -> None:
    many = [f"/ip4/192.0.2.7/tcp/{port}" for port in range(1, 50)]
    found = ["nonsense", 5, "/unix/etc/passwd", f"/p2p/{ME}", *many]
    message = json.dumps({"version": 1, "name": "x", "sees": [], "addresses": found}).encode()
    presence = decode(message)
    assert presence is not None
    assert len(presence.addresses) <= MAX_ADDRESSES
    assert decode(json.dumps({"version": 1, "name": "x", "sees": [], "addresses": "/ip4/1.2.3.4"}).encode())
    old = decode(json.dumps({"version": 1, "name": "x", "sees": []}).encode())
    assert old is not None
    assert old.addresses == ()


def test_addresses_that_are_not_believed_are_not_kept() -> None:
    model = ChatModel("lobby", ME, "ben")
    other = "12D3KooWKuuqYue5DwRK2EDZkhpazjDziAEzumuk6pRXHQTKXsRj"
    near = parse_address("/ip4/10.0.0.1/tcp/1")

    def believed(address: Multiaddr) -> bool:
        return address == ADDRESS

    model.presence_received(other, encode(Presence("anna", (), addresses=(near, ADDRESS))), 0.0, believed)
    assert model.members[other].addresses == (ADDRESS,)
