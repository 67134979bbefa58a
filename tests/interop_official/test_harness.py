"""The harness: what it tells each role, how it checks a dialer, and a real run where Redis is at hand."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

import interop.official.harness
import interop.official.redis_server
from interop.build import INTEROP, ToolchainMissing, cache_root
from interop.debian import Server, free_port
from interop.official.harness import Case, Result, cases, failure_of, foreign_cases, main, run_cases
from interop.official.redis_server import redis_server, running_redis
from interop.official.resp import open_redis
from interop.official.settings import Settings

PERF = "  min: 1.00\n  q1: 1.00\n  median: 1.00\n  q3: 1.00\n  max: 1.00\n  outliers: []\n  samples: [1.00, 1.00]\n"


@pytest.fixture
def server() -> Server:
    """Redis, if it is at hand: a test may not fetch a package, and running the harness once installs it."""
    if shutil.which("redis-server") is None and not list(cache_root().glob("redis-*/usr/bin/redis-server")):
        pytest.skip("no redis-server on PATH or in the cache")
    return redis_server()


def ended(stdout: str, code: int = 0, stderr: str = "") -> subprocess.CompletedProcess[bytes]:
    return subprocess.CompletedProcess(["dialer"], code, stdout.encode(), stderr.encode())


def block(name: str, unit: str) -> str:
    return f"{name}:\n  iterations: 2\n{PERF}  unit: {unit}\n"


PASSING = {
    "transport": "latency:\n  handshake_plus_one_rtt: 5.011\n  ping_rtt: 0.599\n  unit: ms\n",
    "legacy": '{"handshakePlusOneRTTMillis": 5.011, "pingRTTMilllis": 0.599}\n',
    "perf": "\n".join((block("upload", "Gbps"), block("download", "Gbps"), block("latency", "ms"))),
}


@pytest.mark.parametrize("contract", PASSING)
def test_a_dialer_that_says_what_it_should_passes(contract: str) -> None:
    assert failure_of(contract, ended(PASSING[contract])) == ""


@pytest.mark.parametrize("contract", PASSING)
def test_an_end_that_is_cut_off_and_silence_fail(contract: str) -> None:
    for said in (PASSING[contract][:-2], PASSING[contract] + "more\n", ""):
        assert failure_of(contract, ended(said)).startswith("the dialer said")


@pytest.mark.parametrize("contract", ["transport", "perf"])
def test_an_indent_of_four_fails(contract: str) -> None:
    assert failure_of(contract, ended(PASSING[contract].replace("  ", "    "))).startswith("the dialer said")


def test_a_dialer_that_fails_is_quoted() -> None:
    assert (
        failure_of("transport", ended(PASSING["transport"], 1, "no route\n")) == "the dialer left with code 1: no route"
    )


@pytest.mark.parametrize("dialer", [True, False])
def test_the_programs_understand_what_each_case_tells_them(dialer: bool) -> None:
    found = [
        (case, Settings.of(case.environment("r:1", "k", dialer=dialer))) for case in cases(["transport", "legacy"])
    ]
    assert all(settings.transport == case.transport and settings.dialer is dialer for case, settings in found)
    assert [settings.legacy for _, settings in found] == [False] * 5 + [True]


def test_without_redis_the_run_says_so_and_fails_only_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Server:
        raise ToolchainMissing("no redis-server")

    monkeypatch.setattr(interop.official.harness, "redis_server", missing)
    monkeypatch.delenv("INTEROP_REQUIRE", raising=False)
    assert main([]) == 0
    monkeypatch.setenv("INTEROP_REQUIRE", "go,redis")
    assert main([]) == 1
    assert capsys.readouterr().err.count("left out: no redis-server") == 2


def test_a_foreign_stack_that_cannot_be_built_is_left_out_and_fails_only_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> list[str]:
        raise ToolchainMissing(f"no compiler for {name}")

    async def all_well(wanted: Sequence[Case], server: Server) -> list[Result]:
        assert {case.names for case in wanted} == {("peerstack", "peerstack")}
        return [Result(case, 1.0) for case in wanted]

    monkeypatch.setattr(interop.official.harness, "redis_server", lambda: Server("redis-server", {}))
    monkeypatch.setattr(interop.official.harness, "start_command", missing)
    monkeypatch.setattr(interop.official.harness, "run_cases", all_well)
    monkeypatch.delenv("INTEROP_REQUIRE", raising=False)
    assert main(["--with", "go,peerstack"]) == 0
    told = capsys.readouterr()
    assert told.err == "go is left out: no compiler for go\n"
    assert told.out.endswith("official contracts: 11 ok, 0 FAILED, 0 impossible\n")
    monkeypatch.setenv("INTEROP_REQUIRE", "go")
    assert main(["--with", "go"]) == 1


@pytest.mark.slow
async def test_listener_and_dialer_find_each_other_through_redis(server: Server) -> None:
    argv = (sys.executable, "-m", "interop.official")
    good = [Case(contract=name, transport="tcp", security="noise", listener=argv, dialer=argv) for name in PASSING]
    bad = Case(contract="transport", transport="webtransport", security="", listener=argv, dialer=argv)
    results = {result.case: result.reason for result in await run_cases([*good, bad], server)}
    assert [results[case] for case in good] == ["", "", ""]
    assert "unsupported: transport 'webtransport'" in results[bad]


@pytest.mark.slow
async def test_a_foreign_peer_takes_part_through_the_adapter(server: Server) -> None:
    peer = [sys.executable, str(INTEROP / "peerstack" / "peer.py")]
    wanted = [case for case in foreign_cases("other", peer) if (case.transport, case.security) == ("tcp", "noise")]
    results = await run_cases(wanted, server)
    assert [(str(result.case), result.reason) for result in results if result.reason] == []
    assert {result.case.names for result in results} == {("other", "peerstack"), ("peerstack", "other")}


@pytest.mark.slow
async def test_redis_takes_another_port_if_its_own_is_taken(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        ports = [quicker.getsockname()[1], free_port()]
        monkeypatch.setattr(interop.official.redis_server, "free_port", iter(ports).__next__)
        async with running_redis(server) as redis, open_redis(redis) as client:
            assert await client.command("PING") == b"PONG"
        assert redis == f"127.0.0.1:{ports[1]}"


@pytest.mark.slow
async def test_a_listener_that_leaves_is_quoted_at_once(server: Server) -> None:
    leaves = (sys.executable, "-c", "import sys; sys.stderr.write('not today'); sys.exit(3)")
    waits = (sys.executable, "-m", "interop.official")
    case = Case(contract="transport", transport="tcp", security="noise", listener=leaves, dialer=waits)
    [result] = await run_cases([case], server)
    assert "of code 3, said: not today" in result.reason
    assert result.impossible
