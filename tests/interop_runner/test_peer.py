"""How the runner's side of a peer process behaves when the program does not."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import interop.peer
from interop.peer import CommandFailed, NoAnswer, Peer, Unsupported

FAKE = str(Path(__file__).with_name("fake_peer.py"))


def fake(*arguments: str, patience: float = 30.0, **faults: dict[str, Any]) -> Peer:
    argv = [sys.executable, FAKE, "--faults", json.dumps(faults), *arguments]
    return Peer("fake", argv, key_type="ed25519", patience=patience)


@pytest.mark.trio
async def test_says_who_it_is() -> None:
    async with fake() as peer:
        assert (peer.implementation, peer.version, peer.peer_id) == ("fake", "v1", "Qmfake")
        assert peer.address == "/ip4/127.0.0.1/tcp/4001/p2p/Qmfake"


@pytest.mark.trio
async def test_answers_find_their_command_in_any_order() -> None:
    answers: dict[str, dict[str, Any]] = {}

    async def call(op: str) -> None:
        answers[op] = await peer.call(op, count=2)

    async with fake(ping={"hold": True}) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "ping")
            await wait_all_tasks_blocked()
            await call("streams")
    assert answers["streams"]["completed"] == 2
    assert answers["ping"]["rtt_us"] == [1.5, 1.5]


@pytest.mark.trio
async def test_failed_command_leaves_the_peer_usable() -> None:
    async with fake(echo={"ok": False, "error": "no stream"}) as peer:
        with pytest.raises(CommandFailed, match=r"^fake, echo: no stream$"):
            await peer.call("echo", bytes=1)
        assert (await peer.call("reset"))["outcome"] == "reset"


@pytest.mark.trio
async def test_silence_is_named_with_its_limit() -> None:
    async with fake(ping={"silent": True}, patience=0.3) as peer:
        with pytest.raises(NoAnswer, match=r"^fake, ping: gave no answer within 0\.3 s"):
            await peer.call("ping", count=1)


@pytest.mark.trio
async def test_a_peer_that_leaves_shows_its_code_and_last_words() -> None:
    async with fake(ping={"leave": True}) as peer:
        with pytest.raises(NoAnswer, match="fake, ping: left with code 7\n    a last word"):
            await peer.call("ping", count=1)
        with pytest.raises(NoAnswer, match="left with code 7"):
            await peer.call("reset")


@pytest.mark.trio
@pytest.mark.parametrize("junk", ["not json", "[1]", '{"no": "id"}', "7"])
async def test_a_line_outside_the_contract_is_shown(junk: str) -> None:
    async with fake(ping={"junk": junk, "silent": True}) as peer:
        with pytest.raises(NoAnswer, match="wrote what the contract does not know"):
            await peer.call("ping", count=1)


@pytest.mark.trio
async def test_unsupported_key_type_carries_the_reason() -> None:
    with pytest.raises(Unsupported, match="none here") as caught:
        async with fake("--unsupported", "ed25519"):
            pytest.fail("it should not have started")
    assert caught.value.what == "key-type ed25519"


@pytest.mark.trio
async def test_further_options_reach_the_program() -> None:
    options = ("--unsupported", "ed25519")
    with pytest.raises(Unsupported):
        async with Peer("fake", [sys.executable, FAKE], key_type="ed25519", options=options):
            pytest.fail("it should not have started")


@pytest.mark.trio
async def test_a_program_that_does_not_exist_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="cannot be started"):
        async with Peer("ghost", ["/nonexistent/peer"], key_type="rsa"):
            pytest.fail("it should not have started")


@pytest.mark.trio
async def test_a_peer_that_ignores_the_end_of_input_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interop.peer, "LEAVE_SECONDS", 0.1)
    async with fake("--ignore-end") as peer:
        process = peer._process
    assert process.returncode == -9


@pytest.mark.trio
async def test_an_exception_of_the_block_leaves_as_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        async with fake():
            raise ZeroDivisionError
