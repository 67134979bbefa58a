"""Starts a peer program of the contract under trio, sends it commands and awaits their answers."""

import json
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import trio

LISTEN = "/ip4/127.0.0.1/tcp/0"
PATIENCE_SECONDS = 60.0
LEAVE_SECONDS = 5.0
KEPT_LOG_LINES = 20
START = "start"


class PeerError(Exception):
    """Something a peer program did or failed to do; the message names the peer."""


class CommandFailed(PeerError):
    """The peer answered a command with an error, which is the message."""


class NoAnswer(PeerError):
    """The peer did not answer in time, left, or wrote what the contract does not know."""


class Unsupported(PeerError):
    """The peer said that it cannot do `what`, because of `reason`."""

    def __init__(self, name: str, what: str, reason: str):
        super().__init__(f"{name} does not support {what}: {reason}")
        self.what = what
        self.reason = reason


@dataclass(eq=False)
class _Pending:
    answered: trio.Event = field(default_factory=trio.Event)
    answer: dict[str, Any] | None = None


class Peer:
    """One peer process, alive inside `async with`, which kills it in the end.

    Entering waits for the peer to listen; raises Unsupported or NoAnswer.
    """

    implementation: str
    version: str
    peer_id: str
    addresses: list[str]

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        key_type: str,
        listen: str = LISTEN,
        options: Sequence[str] = (),
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """`options` are further words of the command line; no answer may take longer than `patience` seconds."""
        self.name = name
        self.key_type = key_type
        self._argv = [*argv, "--key-type", key_type, "--listen", listen, *options]
        self._patience = patience
        self._pending: dict[int | str, _Pending] = {START: _Pending()}
        self._next_id = 1
        self._log: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self._fault: str | None = None
        self._sending = trio.Lock()

    @property
    def address(self) -> str:
        """The first address it listens on, with its peer id."""
        return self.addresses[0]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        pipe = subprocess.PIPE
        try:
            self._process = await trio.lowlevel.open_process(self._argv, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise NoAnswer(f"{self.name} cannot be started: {error}") from error
        self._readers = trio.open_nursery()
        nursery = await self._readers.__aenter__()
        self._cancel = nursery.cancel_scope
        nursery.start_soon(self._read_answers)
        nursery.start_soon(self._read_log)
        try:
            self._greet(await self._answer_to(START, START))
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End its input and wait for it to leave; kill it if it does not."""
        with trio.CancelScope() as scope:
            scope.shield = True
            with trio.move_on_after(LEAVE_SECONDS):
                await self._stdin.aclose()
                await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
        self._cancel.cancel()
        # Without the exception of the block, which so leaves as itself, not inside a group.
        await self._readers.__aexit__(None, None, None)

    async def call(self, op: str, **arguments: object) -> dict[str, Any]:
        """Return the answer to one command; raises CommandFailed or NoAnswer."""
        number = self._next_id
        self._next_id += 1
        self._pending[number] = _Pending()
        line = json.dumps({"id": number, "op": op, **arguments}) + "\n"
        try:
            async with self._sending:
                await self._stdin.send_all(line.encode())
        except trio.BrokenResourceError:
            self._fail("closed its input")
        answer = await self._answer_to(number, op)
        if answer.get("ok") is not True:
            raise CommandFailed(f"{self.name}, {op}: {answer.get('error', 'no reason given')}")
        return answer

    @property
    def _stdin(self) -> trio.abc.SendStream:
        assert self._process.stdin is not None
        return self._process.stdin

    async def _answer_to(self, number: int | str, op: str) -> dict[str, Any]:
        pending = self._pending[number]
        try:
            with trio.move_on_after(self._patience):
                await pending.answered.wait()
        finally:
            del self._pending[number]
        if pending.answer is not None:
            return pending.answer
        reason = self._fault or f"gave no answer within {self._patience:g} s"
        raise NoAnswer(f"{self.name}, {op}: {reason}{self._log_tail()}")

    def _greet(self, hello: dict[str, Any]) -> None:
        if hello["event"] == "unsupported":
            raise Unsupported(self.name, str(hello["what"]), str(hello["reason"]))
        self.implementation = str(hello["implementation"])
        self.version = str(hello["version"])
        self.peer_id = str(hello["peer_id"])
        self.addresses = [str(address) for address in hello["addresses"]]

    async def _read_answers(self) -> None:
        assert self._process.stdout is not None
        async for line in _lines(self._process.stdout):
            self._take(line)
        with trio.move_on_after(LEAVE_SECONDS):
            await self._process.wait()
        self._fail(f"left with code {self._process.returncode}")

    def _take(self, line: str) -> None:
        try:
            message = json.loads(line)
            number = START if "event" in message else message["id"]
        except (ValueError, TypeError, KeyError):
            self._fail(f"wrote what the contract does not know: {line[:200]!r}")
            return
        # An id without a waiter belongs to a command that timed out.
        if (pending := self._pending.get(number)) is not None:
            pending.answer = message
            pending.answered.set()

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        async for line in _lines(self._process.stderr):
            self._log.append(line)

    def _fail(self, fault: str) -> None:
        self._fault = self._fault or fault
        for pending in self._pending.values():
            pending.answered.set()

    def _log_tail(self) -> str:
        return "".join(f"\n    {line}" for line in self._log)


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    pending = bytearray()
    async for data in stream:
        pending += data
        while (end := pending.find(b"\n")) >= 0:
            yield pending[:end].decode(errors="replace")
            del pending[: end + 1]
    if pending:
        yield pending.decode(errors="replace")
