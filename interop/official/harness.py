"""Plays the harness of the contracts: Redis, a listener and a dialer of each kind, and a look at what the dialer says.

python interop/official/harness.py [--contracts transport,legacy,perf]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import trio

if __package__ in (None, ""):  # started as a script: make `interop` importable, behind everything installed
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from interop.build import ToolchainMissing
from interop.official.redis_server import Server, redis_server, running_redis

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ("transport", "legacy", "perf")
LAYERS = (("tcp", "noise"), ("tcp", "tls"), ("ws", "noise"), ("ws", "tls"), ("quic-v1", ""))
PATIENCE_SECONDS = 60.0
AT_ONCE = 2
REQUIRE_VARIABLE = "INTEROP_REQUIRE"
REDIS = "redis"
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
    reason: str = field(default="")


def cases(contracts: Sequence[str]) -> list[Case]:
    """Return what is to be tested of our own program: the older contract, which has one key for all, on TCP only."""
    argv = (sys.executable, "-m", "interop.official")
    found = []
    for contract in contracts:
        for transport, security in LAYERS[:1] if contract == "legacy" else LAYERS:
            case = Case(contract=contract, transport=transport, security=security, listener=argv, dialer=argv)
            found.append(case)
    return found


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
    contract = "transport" if case.contract == "legacy" else case.contract
    with trio.move_on_after(PATIENCE_SECONDS):
        listening = _process([*case.listener, contract], case.environment(redis, key, dialer=False))
        async with listening:
            done = await trio.run_process(
                [*case.dialer, contract],
                env=_inherited() | case.environment(redis, key, dialer=True),
                cwd=ROOT,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return Result(case, perf_counter() - begun, judge(case.contract, done))
    return Result(case, perf_counter() - begun, f"not done after {PATIENCE_SECONDS:g} s")


def judge(contract: str, done: subprocess.CompletedProcess[bytes]) -> str:
    """Return what is wrong with how a dialer ended, nothing if it passed."""
    if done.returncode:
        return f"the dialer left with code {done.returncode}: {done.stderr.decode(errors='replace').strip()[-500:]}"
    said = done.stdout.decode(errors="replace")
    return "" if re.fullmatch(EXPECTED[contract], said) else f"the dialer said {said!r}"


@asynccontextmanager
async def _process(argv: Sequence[str], environment: dict[str, str]) -> AsyncIterator[None]:
    """Run a listener until the block is left; the contract ends it by killing it."""
    process = await trio.lowlevel.open_process(
        argv, env=_inherited() | environment, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def _inherited() -> dict[str, str]:
    """Return our environment without what the contracts speak by."""
    spoken = {"TEST_KEY", "SECURE_CHANNEL", "MUXER", "TRANSPORT", "transport", "security", "muxer"}
    return {name: value for name, value in os.environ.items() if name not in spoken}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a test failed or Redis is required and missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contracts", type=lambda text: text.split(","), default=[*CONTRACTS])
    options = parser.parse_args(arguments)
    if unknown := set(options.contracts) - set(CONTRACTS):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(CONTRACTS)}")
    try:
        server = redis_server()
    except ToolchainMissing as missing:
        print(f"the official contracts are left out: {missing}", file=sys.stderr)
        return 1 if REDIS in os.environ.get(REQUIRE_VARIABLE, "").split(",") else 0
    results = trio.run(run_cases, cases(options.contracts), server)
    for result in results:
        print(f"{'FAILED' if result.reason else 'ok':6} {result.case}, {result.seconds:.1f} s {result.reason}".rstrip())
    return 1 if any(result.reason for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
