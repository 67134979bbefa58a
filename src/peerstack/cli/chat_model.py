"""Who is in a chat room and their names, without network, terminal or clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from multiaddr import Multiaddr

from .chat_presence import Presence, clean_name, decode, encode
from .events import Joined, Left, Noted, OutputEvent, Renamed, Said
from .render_pubsub import short, text_of

PRESENCE_INTERVAL = 15.0  # seconds
GONE_AFTER = 50.0
"""Seconds of silence after which a member that no other member sees is gone: it missed three presences."""
NAMELESS_AFTER = 2.0
"""Seconds that a new member is not announced, and its lines wait, until its name is known."""
LINGER = 0.5
"""Seconds that a member is kept after it left: earlier lines may arrive after its last presence."""
MAX_HELD = 16
"""Lines of one newcomer that wait; with one more it is announced as it is."""
MAX_MEMBERS = 1000
"""A peer can invent members. Beyond this many their lines are shown, but they are not listed."""
ANSWERS_UP_TO = 50
"""Members up to which a newcomer is answered with a presence at once, not at the next regular one."""


@dataclass(slots=True)
class Member:
    """A member of the room."""

    peer: str
    since: float
    name: str = ""
    sees: tuple[str, ...] = ()
    direct: bool = False
    """Whether we are connected."""
    last_message: float | None = None
    """When it last said anything of its own."""
    present: bool = False
    """Whether it publishes presences, as members that run this chat do."""
    lost: bool = False
    """Whether our connection has ended, and nothing was received from it since."""
    addresses: tuple[Multiaddr, ...] = ()
    """Where it says that it can be dialed, filtered."""
    leaving: bool = False
    """Whether it has said that it leaves."""
    gone: float = 0.0
    """When it was lost or left."""
    announced: bool = False
    held: list[bytes] = field(default_factory=list)
    """What it said before its name was known."""


class ChatModel:
    """The state of a room. Methods return the events to show; `now` is in seconds from any origin."""

    def __init__(self, room: str, me: str, name: str) -> None:
        self.room = room
        self.me = me
        self.name = clean_name(name)
        self.presence_due = True
        """Whether something has changed that the others should get now."""
        self._members: dict[str, Member] = {}

    @property
    def members(self) -> Mapping[str, Member]:
        """The others, by peer id."""
        return MappingProxyType(self._members)

    @property
    def sees(self) -> tuple[str, ...]:
        """The members that we are connected to."""
        return tuple(member.peer for member in self._members.values() if member.direct)

    def presence(self, addresses: Iterable[Multiaddr] = (), *, leaving: bool = False) -> bytes:
        """Return our presence, with the addresses at which we can be dialed."""
        self.presence_due = False
        return encode(Presence(self.name, self.sees, leaving, tuple(addresses)))

    def label(self, peer: str) -> str:
        """Return what to call a peer: its name, with the end of its id where another has the same name."""
        name = self._name_of(peer)
        if not name:
            return short(peer)
        others = [self._name_of(other) for other in (self.me, *self._members) if other != peer]
        return f"{name} ({short(peer)})" if name.casefold() in map(str.casefold, others) else name

    def _name_of(self, peer: str) -> str:
        if peer == self.me:
            return self.name
        member = self._members.get(peer)
        return member.name if member else ""

    # ---- what happens

    def peer_joined(self, peer: str, now: float) -> list[OutputEvent]:
        """A peer we are connected to is in the room."""
        member = self._member(peer, now)
        member.direct, member.lost = True, False
        self.presence_due = True
        return []

    def peer_left(self, peer: str, now: float) -> list[OutputEvent]:
        """A peer we are connected to has left, or the connection is gone; others may see it still."""
        member = self._members.get(peer)
        if member is None:
            return []
        member.direct, member.lost, member.gone = False, True, now
        self.presence_due = True
        return []

    def presence_received(
        self, peer: str, data: bytes, now: float, believed: Callable[[Multiaddr], bool] = lambda address: True
    ) -> list[OutputEvent]:
        """A presence of a peer has arrived; one that cannot be read is ignored. `believed` filters its addresses."""
        presence = decode(data)
        if presence is None or peer == self.me:
            return []
        known = peer in self._members
        if presence.leaving and not known:
            return []
        member = self._member(peer, now)
        member.leaving, member.gone = presence.leaving, now
        member.last_message, member.lost = now, False
        member.sees, member.present = presence.sees, True
        member.addresses = tuple(filter(believed, presence.addresses))
        if not known and len(self._members) <= ANSWERS_UP_TO:
            self.presence_due = True
        return self._named(member, presence.name)

    def _named(self, member: Member, name: str) -> list[OutputEvent]:
        before, member.name = member.name, name
        if not member.announced:
            return self._announce(member)
        listed = member.peer in self._members
        return [Renamed(member.peer, name)] if listed and name and name != before else []

    def line_received(self, peer: str, data: bytes, now: float) -> list[OutputEvent]:
        """A peer has said something in the room."""
        member = self._member(peer, now)
        member.last_message, member.lost = now, False
        if not member.announced and now - member.since < NAMELESS_AFTER and len(member.held) < MAX_HELD:
            member.held.append(data)
            return []
        return [*self._announce(member), self._said(peer, data)]

    def _said(self, peer: str, data: bytes) -> Said:
        return Said(peer, self.label(peer), text_of(data))

    def flush(self) -> list[OutputEvent]:
        """Return what waits for names, which will not come any more."""
        return [event for member in self._members.values() if member.held for event in self._announce(member)]

    def rename(self, name: str) -> list[OutputEvent]:
        """Call ourselves differently."""
        wanted = clean_name(name)
        if not wanted:
            return [Noted("warning", "a name has at least one character that can be seen: /name NAME")]
        self.name = wanted
        self.presence_due = True
        return [Noted("info", f"you are {wanted} now")]

    def tick(self, now: float) -> list[OutputEvent]:
        """Return what has become due by `now`; call it about every second."""
        return [event for member in tuple(self._members.values()) for event in self._aged(member, now)]

    def _aged(self, member: Member, now: float) -> list[OutputEvent]:
        if self._has_left(member, now):
            return self._remove(member)
        if not member.announced and now - member.since >= NAMELESS_AFTER:
            return self._announce(member)
        return []

    def _has_left(self, member: Member, now: float) -> bool:
        if member.leaving:
            return now - member.gone >= LINGER
        if member.direct or self._seen(member.peer):
            return False
        if member.lost:
            return now - member.gone >= LINGER
        return now - (member.since if member.last_message is None else member.last_message) > GONE_AFTER

    def who(self) -> list[OutputEvent]:
        """Return who is here, and who sees whom."""
        return [Noted("info", text) for text in self._who()]

    def _who(self) -> Iterator[str]:
        yield f"{self.name} ({short(self.me)}, that is you) sees {self._labels(self.sees)}"
        for member in self._members.values():
            name = f"{member.name} ({short(member.peer)})" if member.name else short(member.peer)
            sees = f"sees {self._labels(member.sees)}" if member.present else "does not say whom it sees"
            yield f"{name} {sees}"

    def _labels(self, peers: tuple[str, ...]) -> str:
        return ", ".join("you" if peer == self.me else self.label(peer) for peer in peers) or "no one"

    # ---- members

    def _member(self, peer: str, now: float) -> Member:
        member = self._members.get(peer)
        if member is None:
            listed = len(self._members) < MAX_MEMBERS
            member = Member(peer, now, announced=not listed)
            if listed:
                self._members[peer] = member
        return member

    def _announce(self, member: Member) -> list[OutputEvent]:
        if member.announced:
            return []
        member.announced = True
        held, member.held = member.held, []
        return [Joined(member.peer, member.name or None), *(self._said(member.peer, data) for data in held)]

    def _remove(self, member: Member) -> list[OutputEvent]:
        last = self._announce(member) if member.held else []
        del self._members[member.peer]
        return [*last, Left(member.peer, member.name or None)] if member.announced else []

    def _seen(self, peer: str) -> bool:
        """Whether another member says that it is connected to this one."""
        return any(peer in member.sees for member in self._members.values() if member.peer != peer)
