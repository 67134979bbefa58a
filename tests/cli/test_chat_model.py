"""Who is in a chat room, what they are called, and what hostile peers cannot make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peerstack.cli import chat_model
from peerstack.cli.chat_model import GONE_AFTER, LINGER, MAX_HELD, MAX_MEMBERS, NAMELESS_AFTER, ChatModel
from peerstack.cli.chat_presence import MAX_NAME, MAX_SEES, Presence, clean_name, decode, encode, topic_of
from peerstack.cli.events import Joined, Left, Noted, OutputEvent, Renamed, Said
from peerstack.stack.identity import Identity

ME, BEN, CARL, DORA = (str(Identity.generate().peer_id) for _ in range(4))


@pytest.fixture
def model() -> ChatModel:
    return ChatModel("lobby", ME, "anna")


def presence(name: str, *sees: str, leaving: bool = False) -> bytes:
    return encode(Presence(name, sees, leaving))


def come(model: ChatModel, peer: str, name: str, *sees: str, now: float = 0.0) -> list[OutputEvent]:
    """Let a peer come that is connected and says its name."""
    return [*model.peer_joined(peer, now), *model.presence_received(peer, presence(name, *sees), now)]


# ---- coming and going


def test_a_neighbour_is_announced_with_its_name(model: ChatModel) -> None:
    assert come(model, BEN, "ben") == [Joined(BEN, "ben")]
    assert model.line_received(BEN, b"hello\n", 1) == [Said(BEN, "ben", "hello")]
    assert model.sees == (BEN,)


def test_who_does_not_say_a_name_is_announced_without_one_after_a_while(model: ChatModel) -> None:
    assert model.peer_joined(BEN, 0) == []
    assert model.tick(NAMELESS_AFTER - 0.1) == []
    assert model.tick(NAMELESS_AFTER) == [Joined(BEN, None)]
    assert model.tick(NAMELESS_AFTER + 1) == []


def test_lines_of_a_newcomer_wait_for_its_name(model: ChatModel) -> None:
    model.peer_joined(BEN, 0)
    assert model.line_received(BEN, b"one", 0.1) == []
    assert model.line_received(BEN, b"two", 0.1) == []
    assert model.presence_received(BEN, presence("ben"), 0.2) == [
        Joined(BEN, "ben"),
        Said(BEN, "ben", "one"),
        Said(BEN, "ben", "two"),
    ]


def test_lines_that_wait_are_told_when_the_newcomer_leaves_or_we_do(model: ChatModel) -> None:
    model.peer_joined(BEN, 0)
    model.line_received(BEN, b"bye", 0)
    model.peer_left(BEN, 0)
    assert [type(event) for event in model.tick(LINGER)] == [Joined, Said, Left]
    model.line_received(CARL, b"x", 0)
    assert [type(event) for event in model.flush()] == [Joined, Said]
    assert model.flush() == []


def test_a_newcomer_that_talks_much_does_not_wait(model: ChatModel) -> None:
    model.peer_joined(BEN, 0)
    events = [event for number in range(MAX_HELD + 1) for event in model.line_received(BEN, b"x", 0)]
    assert [type(event) for event in events] == [Joined, *[Said] * (MAX_HELD + 1)]


def test_a_plain_peer_of_another_program_just_talks(model: ChatModel) -> None:
    events = [*model.line_received(BEN, "grüße".encode(), 0), *model.tick(NAMELESS_AFTER)]
    assert events == [Joined(BEN, None), Said(BEN, f"…{BEN[-8:]}", "grüße")]


def test_a_neighbour_that_goes_has_left_soon(model: ChatModel) -> None:
    come(model, BEN, "ben")
    assert model.peer_left(BEN, 1) == []
    assert model.tick(1) == []
    assert model.tick(1 + LINGER) == [Left(BEN, "ben")]
    assert model.peer_left(BEN, 2) == []
    assert dict(model.members) == {}


@pytest.mark.parametrize("leaving", [True, False])
def test_lines_that_arrive_after_a_member_left_are_shown_before_its_departure(leaving: bool, model: ChatModel) -> None:
    come(model, BEN, "ben")
    model.presence_received(BEN, presence("ben", leaving=leaving), 1)
    model.peer_left(BEN, 1)
    assert model.line_received(BEN, b"last words", 1) == [Said(BEN, "ben", "last words")]
    # If it did not say so, the line may have come by way of others.
    assert model.tick(1 + LINGER) == ([Left(BEN, "ben")] if leaving else [])


def test_a_member_that_comes_back_at_once_has_never_left(model: ChatModel) -> None:
    come(model, BEN, "ben")
    model.presence_received(BEN, presence("ben", leaving=True), 1)
    model.peer_left(BEN, 1)
    come(model, BEN, "ben", now=1.1)
    assert model.tick(2) == []


def test_a_leaving_presence_counts_before_the_connection_ends(model: ChatModel) -> None:
    come(model, BEN, "ben")
    assert model.presence_received(BEN, presence("ben", leaving=True), 1) == []
    assert model.tick(1 + LINGER) == [Left(BEN, "ben")]
    assert model.peer_left(BEN, 2) == []
    assert model.presence_received(BEN, presence("ben", leaving=True), 2) == []


def test_a_member_that_others_still_see_stays_until_they_do_not(model: ChatModel) -> None:
    come(model, BEN, "ben", CARL)
    come(model, CARL, "carl", BEN)
    assert model.peer_left(CARL, 1) == []
    assert model.tick(2) == []
    model.presence_received(BEN, presence("ben"), 3)
    assert model.tick(3) == [Left(CARL, "carl")]


def test_a_silent_member_without_a_connection_is_gone_after_a_while(model: ChatModel) -> None:
    model.presence_received(DORA, presence("dora"), 0)
    assert model.tick(GONE_AFTER) == []
    assert model.tick(GONE_AFTER + 1) == [Left(DORA, "dora")]


def test_a_silent_member_that_another_sees_stays(model: ChatModel) -> None:
    come(model, BEN, "ben", DORA)
    model.presence_received(DORA, presence("dora"), 0)
    assert model.tick(GONE_AFTER + 1) == []


# ---- names


def test_a_new_name_is_told_once(model: ChatModel) -> None:
    come(model, BEN, "ben")
    assert model.presence_received(BEN, presence("benjamin"), 1) == [Renamed(BEN, "benjamin")]
    assert model.presence_received(BEN, presence("benjamin"), 2) == []


def test_two_of_the_same_name_are_told_apart(model: ChatModel) -> None:
    come(model, BEN, "ben")
    come(model, CARL, "Ben")
    assert model.label(BEN) == f"ben (…{BEN[-8:]})"
    assert model.label(CARL) == f"Ben (…{CARL[-8:]})"
    come(model, DORA, "anna")
    assert model.label(DORA) == f"anna (…{DORA[-8:]})"


def test_we_can_be_renamed_but_not_to_nothing(model: ChatModel) -> None:
    model.presence()
    assert model.rename("  eva\x1b ") == [Noted("info", "you are eva now")]
    assert model.presence_due
    assert [event.level for event in model.rename("\x07") if isinstance(event, Noted)] == ["warning"]
    assert model.name == "eva"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("anna", "anna"),
        (" a \t b ", "a b"),
        ("a\x1b[31mb", "a [31mb"),
        ("x" * 99, "x" * MAX_NAME),
        ("\u202eevil", "evil"),
        ("", ""),
    ],
)
def test_names_are_short_and_cannot_steer_a_terminal(typed: str, name: str) -> None:
    assert clean_name(typed) == name


# ---- presence


def test_presence_goes_out_when_something_changes(model: ChatModel) -> None:
    assert model.presence_due
    quiet = {"version": 1, "name": "anna", "sees": [], "leaving": False, "addresses": []}
    assert json.loads(model.presence()) == quiet
    assert not model.presence_due
    come(model, BEN, "ben")
    assert model.presence_due
    assert json.loads(model.presence(leaving=True)) == {**quiet, "sees": [BEN], "leaving": True}
    model.presence_received(BEN, presence("ben"), 1)
    assert not model.presence_due
    model.presence_received(CARL, presence("carl"), 1)
    assert model.presence_due


def test_many_newcomers_are_not_answered_one_by_one(model: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_model, "ANSWERS_UP_TO", 1)
    model.presence_received(BEN, presence("ben"), 0)
    model.presence()
    model.presence_received(CARL, presence("carl"), 0)
    assert not model.presence_due


def test_presence_survives_the_way_through_the_network() -> None:
    sent = Presence("ben", (BEN, CARL))
    assert decode(encode(sent)) == sent
    assert decode(encode(Presence("ben", (), leaving=True))) == Presence("ben", (), leaving=True)
    assert topic_of("lobby") == "lobby/presence"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"version":2,"name":"x","sees":[]}',
        b'{"version":1,"name":7,"sees":[]}',
        b'{"version":1,"name":"x","sees":"y"}',
        b'{"version":1,"name":"x","sees":[],"pad":"' + b"x" * 40_000 + b'"}',
    ],
)
def test_what_is_no_presence_changes_nothing(data: bytes, model: ChatModel) -> None:
    assert model.presence_received(BEN, data, 0) == []
    assert dict(model.members) == {}


def test_a_presence_is_cut_to_what_it_may_hold() -> None:
    def read(**fields: Any) -> Presence:
        found = decode(json.dumps({"version": 1, "name": "x", "sees": [], **fields}).encode())
        assert found is not None
        return found

    assert read(sees=[BEN, 7, None, "no peer id", BEN, CARL]).sees == (BEN, CARL)
    many = [str(Identity.generate().peer_id) for _ in range(MAX_SEES + 1)]
    assert len(read(sees=many).sees) == MAX_SEES
    assert read(name="x\x1b" * 99).name.isprintable()
    assert not read(leaving="yes").leaving


def test_our_own_presence_from_elsewhere_is_not_believed(model: ChatModel) -> None:
    assert model.presence_received(ME, presence("evil"), 0) == []
    assert model.name == "anna"


def test_made_up_peers_do_not_fill_the_memory(model: ChatModel) -> None:
    events: list[OutputEvent] = []
    for number in range(MAX_MEMBERS + 10):
        events += model.line_received(f"peer{number}", b"x", 0)
        events += model.presence_received(f"other{number}", presence("x"), 0)
    assert len(model.members) == MAX_MEMBERS
    assert not any(isinstance(event, Renamed) for event in events)
    # The lines of those beyond are shown all the same.
    assert model.line_received("beyond", b"hello", 0) == [Said("beyond", "…beyond", "hello")]


# ---- who


def test_who_tells_who_sees_whom(model: ChatModel) -> None:
    come(model, BEN, "ben", ME, CARL)
    model.line_received(CARL, b"x", 0)
    texts = [event.text for event in model.who() if isinstance(event, Noted)]
    assert texts == [
        f"anna (…{ME[-8:]}, that is you) sees ben",
        f"ben (…{BEN[-8:]}) sees you, …{CARL[-8:]}",
        f"…{CARL[-8:]} does not say whom it sees",
    ]


def test_a_line_that_is_no_text_or_very_long_is_shown_as_far_as_it_goes(model: ChatModel) -> None:
    come(model, BEN, "ben")
    assert model.line_received(BEN, b"a\xffb", 1) == [Said(BEN, "ben", "a\\xffb")]
    (long,) = model.line_received(BEN, b"x" * 10_000, 1)
    assert isinstance(long, Said)
    assert len(long.text) < 2100
    assert long.text.endswith("… (9.8 KiB)")
