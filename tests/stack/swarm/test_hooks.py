"""Hooks of several services: each is taken back alone, and one that raises harms no other."""

from __future__ import annotations

import trio

from peerstack.stack.swarm import Connection
from peerstack.stack.swarm.hooks import ConnectionHook, Hooks

from .parts import PEER, ScriptedTransport, answers, running, settle, tcp


async def test_a_connection_is_identified_by_the_hook_that_says_so_and_not_by_the_last() -> None:
    identified, never = trio.Event(), trio.Event()

    async def identify(connection: Connection) -> None:
        await identified.wait()

    async def slow(connection: Connection) -> None:
        await never.wait()

    async with running(ScriptedTransport({tcp(1): answers()})) as (swarm, _):
        swarm.on_connection.add(slow, name="slow")
        swarm.on_connection.add(identify, name="identify", identifies=True)
        connection, _report = await swarm.dial(PEER, [tcp(1)])
        await settle()
        assert not connection.identified.is_set()
        identified.set()
        await connection.identified.wait()


async def test_without_one_that_identifies_a_connection_counts_as_identified() -> None:
    async def slow(connection: Connection) -> None:
        await trio.sleep_forever()

    async with running(ScriptedTransport({tcp(1): answers()})) as (swarm, _):
        swarm.on_connection.add(slow, name="slow")
        connection, _report = await swarm.dial(PEER, [tcp(1)])
        await connection.identified.wait()


async def test_a_hook_that_raises_is_not_the_failure_of_the_one_that_identifies() -> None:
    done: list[Connection] = []

    async def fail(connection: Connection) -> None:
        raise ValueError("a bug")

    async def identify(connection: Connection) -> None:
        await settle()
        done.append(connection)

    async with running(ScriptedTransport({tcp(1): answers()})) as (swarm, _):
        swarm.on_connection.add(fail, name="broken")
        swarm.on_connection.add(identify, name="identify", identifies=True)
        connection, _report = await swarm.dial(PEER, [tcp(1)])
        await connection.identified.wait()
        assert (done, connection.hook_failure) == ([connection], None)


async def test_who_takes_a_hook_back_ends_what_runs_of_it_and_nothing_else() -> None:
    ended: list[str] = []
    asked: list[str] = []

    def hook(name: str) -> ConnectionHook:
        async def run(connection: Connection) -> None:
            asked.append(name)
            try:
                await trio.sleep_forever()
            finally:
                ended.append(name)

        return run

    async with running(ScriptedTransport({tcp(1): answers(), tcp(2): answers()})) as (swarm, _):
        remove = swarm.on_connection.add(hook("a"), name="a")
        swarm.on_connection.add(hook("b"), name="b")
        await swarm.dial(PEER, [tcp(1)])
        await settle()
        remove()
        await settle()
        assert ended == ["a"]
        await swarm.dial(None, [tcp(2)])
        await settle()
        assert sorted(asked) == ["a", "b", "b"]
        assert swarm.peers == [PEER]


# ---- hooks that are called


class Failures(list[tuple[str, str]]):
    """What was told of hooks that raised."""

    def __call__(self, error: Exception, name: str) -> None:
        self.append((name, str(error)))


def test_all_hooks_are_called_in_the_order_of_their_registration() -> None:
    seen: list[tuple[str, int]] = []
    hooks = Hooks[int](Failures())
    hooks.add(lambda value: seen.append(("a", value)), name="a")
    hooks.add(lambda value: seen.append(("b", value)), name="b")
    hooks(7)
    assert seen == [("a", 7), ("b", 7)]


def test_a_hook_is_taken_back_by_its_owner_alone_even_where_two_registered_the_same_function() -> None:
    seen: list[int] = []
    hooks = Hooks[int](Failures())
    remove = hooks.add(seen.append, name="a")
    hooks.add(seen.append, name="b")
    remove()
    remove()
    hooks(7)
    assert seen == [7]


def test_a_hook_that_raises_is_named_and_the_others_are_called() -> None:
    seen: list[int] = []
    failures = Failures()
    hooks = Hooks[int](failures)

    def fail(value: int) -> None:
        raise ValueError(f"no {value}")

    hooks.add(fail, name="a")
    hooks.add(seen.append, name="b")
    hooks(7)
    assert (seen, failures) == ([7], [("a", "no 7")])


def test_a_hook_may_take_back_itself_while_it_is_called() -> None:
    seen: list[int] = []
    hooks = Hooks[int](Failures())

    def once(value: int) -> None:
        seen.append(value)
        remove()

    remove = hooks.add(once, name="a")
    hooks.add(seen.append, name="b")
    hooks(1)
    hooks(2)
    assert seen == [1, 1, 2]
