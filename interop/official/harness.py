"""Plays the harness of the contracts: Redis, a listener and a dialer of each kind, and a look at what the dialer says.

python interop/official/harness.py [--contracts transport,legacy,perf] [--with go,rust,js,py]

Foreign stacks take part in the transport contract by `adapter.py`, not by programs of their own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import TypeAlias

import trio

if __package__ in (None, ""):  # started as a script: make `interop` importable, behind everything installed
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from interop.build import RECIPES, ToolchainMissing, start_command
from interop.debian import Server
from interop.official.adapter import IMPOSSIBLE
from interop.official.redis_server import redis_server, running_redis
from interop.run import OURS, required

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ("transport", "legacy", "perf")
LAYERS = (("tcp", "noise"), ("tcp", "tls"), ("ws", "noise"), ("ws", "tls"), ("quic-v1", ""))
PATIENCE_SECONDS = 60.0
SHOWN_CHARACTERS = 500
AT_ONCE = 2
REDIS = "redis"
OK, FAILED, LEFT = "ok", "FAILED", "impossible"
LOAD = {
    "UPLOAD_BYTES": "4194304",
    "DOWNLOAD_BYTES": "4194304",
    "UPLOAD_ITERATIONS": "3",
    "DOWNLOAD_ITERATIONS": "3",
    "LATENCY_ITERATIONS": "5",
    "DURATION": "20",
}
_NUMBER = r"\d+\.\d+"
_SERIES = rf"\[(?:{_NUMBER}(?:, {_NUMBER})*)?\]"


def _perf(name: str, unit: str) -> str:
    fields = "".join(rf"  {field}: {_NUMBER}\n" for field in ("min", "q1", "median", "q3", "max"))
    return rf"{name}:\n  iterations: \d+\n{fields}  outliers: {_SERIES}\n  samples: {_SERIES}\n  unit: {unit}\n"


EXPECTED = {
    "transport": rf"latency:\n  handshake_plus_one_rtt: {_NUMBER}\n  ping_rtt: {_NUMBER}\n  unit: ms\n",
    "legacy": rf'{{"handshakePlusOneRTTMillis": {_NUMBER}, "pingRTTMilllis": {_NUMBER}}}\n',
    "perf": "\n".join((_perf("upload", "Gbps"), _perf("download", "Gbps"), _perf("latency", "ms"))),
}


Ended: TypeAlias = subprocess.CompletedProcess[bytes]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test: a contract over one transport and secure channel."""

    contract: str
    transport: str
    security: str
    listener: tuple[str, ...]
    """The listener's argv, without the name of the contract."""
    dialer: tuple[str, ...]
    names: tuple[str, str] = ("peerstack", "peerstack")
    """Of listener and dialer."""

    def __str__(self) -> str:
        layers = " ".join(filter(None, (self.transport, self.security)))
        return f"{self.contract}: {self.names[1]} dials {self.names[0]}, {layers}"

    def environment(self, redis: str, key: str, *, dialer: bool) -> dict[str, str]:
        """Return the variables of one role."""
        role = "true" if dialer else "false"
        if self.contract == "legacy":
            named = {"transport": self.transport, "security": self.security, "muxer": "yamux", "is_dialer": role}
            return {**named, "ip": "127.0.0.1", "redis_addr": redis, "test_timeout_seconds": "60"}
        variables = {"IS_DIALER": role, "REDIS_ADDR": redis, "TEST_KEY": key, "TRANSPORT": self.transport}
        variables |= {"LISTENER_IP": "127.0.0.1", "DEBUG": "false"}
        if self.security:
            variables |= {"SECURE_CHANNEL": self.security, "MUXER": "yamux"}
        return variables | (LOAD if self.contract == "perf" and dialer else {})


@dataclass
class Result:
    """How a test ended; `reason` is empty where it passed."""

    case: Case
    seconds: float
    reason: str = ""
    impossible: bool = False


def cases(contracts: Sequence[str]) -> list[Case]:
    """Return what is to be tested of our own program: the older contract, which has one key for all, on TCP only."""
    argv = (sys.executable, "-m", "interop.official")
    found = []
    for contract in contracts:
        for transport, security in LAYERS[:1] if contract == "legacy" else LAYERS:
            case = Case(contract=contract, transport=transport, security=security, listener=argv, dialer=argv)
            found.append(case)
    return found


def foreign_cases(name: str, argv: Sequence[str]) -> list[Case]:
    """Return the tests of ours with a foreign peer, both ways."""
    ours = (sys.executable, "-m", "interop.official")
    theirs = (sys.executable, "-m", "interop.official.adapter", name, *argv)
    pairs = (((ours, theirs), ("peerstack", name)), ((theirs, ours), (name, "peerstack")))
    return [
        Case(contract="transport", transport=t, security=s, listener=listener, dialer=dialer, names=names)
        for t, s in LAYERS
        for (listener, dialer), names in pairs
    ]


async def run_cases(wanted: Sequence[Case], server: Server) -> list[Result]:
    """Run all with one Redis, a few side by side."""
    results: list[Result] = []
    turns = iter(enumerate(wanted))

    async def work(redis: str) -> None:
        for number, case in turns:
            results.append(await _run(case, redis, f"{number:08x}"))

    async with running_redis(server) as redis, trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(work, redis)
    return results


async def _run(case: Case, redis: str, key: str) -> Result:
    begun = perf_counter()
    done, listener = await _play(case, redis, key)
    if done is not None:
        reason, code = failure_of(case.contract, done), done.returncode
    else:
        code = listener.returncode
        said = listener.stderr.decode(errors="replace").strip()[-SHOWN_CHARACTERS:]
        reason = f"not done within {PATIENCE_SECONDS:g} s; the listener, of code {code}, said: {said}"
    return Result(case, perf_counter() - begun, reason, impossible=code == IMPOSSIBLE)


async def _play(case: Case, redis: str, key: str) -> tuple[Ended | None, Ended]:
    """Run both roles until the dialer has ended, which is None if it did not, or the listener left."""
    contract = "transport" if case.contract == "legacy" else case.contract
    done: Ended | None = None
    with TemporaryFile() as errors:
        listener = await trio.lowlevel.open_process(
            [*case.listener, contract],
            env=_inherited() | case.environment(redis, key, dialer=False),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            with trio.move_on_after(PATIENCE_SECONDS) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_after, listener, scope)
                    done = await trio.run_process(
                        [*case.dialer, contract],
                        env=_inherited() | case.environment(redis, key, dialer=True),
                        cwd=ROOT,
                        capture_stdout=True,
                        capture_stderr=True,
                        check=False,
                    )
                    nursery.cancel_scope.cancel()
        finally:
            await _end(listener)
        errors.seek(0)
        return done, Ended(case.listener, listener.returncode or 0, b"", errors.read())


async def _cancel_after(process: trio.Process, scope: trio.CancelScope) -> None:
    """Wait for nothing that a listener which has left could do."""
    await process.wait()
    scope.cancel()


async def _end(process: trio.Process) -> None:
    """Kill a listener, as the contract ends it; what an adapter has started ends with its input."""
    if process.returncode is None:
        process.kill()
    with trio.CancelScope(shield=True):
        await process.wait()


def failure_of(contract: str, done: Ended) -> str:
    """Return what is wrong with how a dialer ended, nothing if it passed."""
    if done.returncode:
        log = done.stderr.decode(errors="replace").strip()[-SHOWN_CHARACTERS:]
        return f"the dialer left with code {done.returncode}: {log}"
    said = done.stdout.decode(errors="replace")
    return "" if re.fullmatch(EXPECTED[contract], said) else f"the dialer said {said!r}"


def _inherited() -> dict[str, str]:
    """Return our environment without what the contracts speak by."""
    spoken = {"TEST_KEY", "SECURE_CHANNEL", "MUXER", "TRANSPORT", "transport", "security", "muxer"}
    return {name: value for name, value in os.environ.items() if name not in spoken}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a test failed, or what is required is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contracts", type=_names, default=[*CONTRACTS])
    parser.add_argument("--with", dest="names", type=_names, default=[])
    options = parser.parse_args(arguments)
    for chosen, known in ((options.contracts, CONTRACTS), (options.names, (*RECIPES, OURS))):
        if unknown := set(chosen).difference(known):
            parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    try:
        server = redis_server()
    except ToolchainMissing as missing:
        print(f"the official contracts are left out: {missing}", file=sys.stderr)
        return 1 if REDIS in required() else 0
    wanted, left_out = cases(options.contracts), set[str]()
    for name in dict.fromkeys(options.names) if "transport" in options.contracts else ():
        try:
            wanted += foreign_cases(name, start_command(name)) if name != OURS else []
        except ToolchainMissing as missing:
            left_out.add(name)
            print(f"{name} is left out: {missing}", file=sys.stderr)
    results = trio.run(run_cases, wanted, server)
    marks = Counter(_tell(result) for result in results)
    print("official contracts: " + ", ".join(f"{marks[mark]} {mark}" for mark in (OK, FAILED, LEFT)))
    return 1 if marks[FAILED] or required() & left_out else 0


def _tell(result: Result) -> str:
    mark = OK if not result.reason else LEFT if result.impossible else FAILED
    print(f"{mark:10} {result.case}, {result.seconds:.1f} s {result.reason}".rstrip())
    return mark


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
