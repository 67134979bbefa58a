"""Hooks of several services beside each connection."""

from __future__ import annotations

import trio

from peerstack.stack.swarm import Connection
from peerstack.stack.swarm.hooks import ConnectionHook

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
