"""`peerstack simulate`: whole networks in one process."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import trio
from cyclopts import App, Group, Parameter, Token
from cyclopts.validators import Number

from peerstack.protocols.pubsub.simulation import Attack, Lateness, Protocol, Results, Scenario, Simulation

from . import simulate_events as events
from .failure import CommandError
from .options import Json, seconds_option, size_option
from .output import Output
from .runner import run
from .simulate_plot import to_svg

Milliseconds = tuple[float, float]
Version = Literal["1.0", "1.1", "1.2"]
AttackName = Literal["none", "sybil", "spam", "eclipse", "censor", "flash"]

_EPILOGUE = """Every node has the router and codec of peerstack and exchanges the bytes of real
RPCs over links with latency and jitter, in simulated time. The layers below the
router (Noise, yamux, streams), signatures and queues are left out. The same
arguments give the same run and trace hash.

The attacks are those of the GossipSub 1.1 evaluation report, made smaller:
sybil (they pass nothing on), spam (the same, and a GRAFT every second),
eclipse (of one node), censor (of one author), flash (they behave, and stop
all at once).

Examples:
  peerstack simulate gossip
  peerstack simulate gossip --nodes 250 --seed 7 --plot gossip.svg
  peerstack simulate gossip --nodes 200 --version 1.1 --attack sybil --no-score"""

app = App(
    name="simulate",
    group_parameters=Group("Options"),
    help_epilogue="""Examples:
  peerstack simulate gossip --nodes 250""",
)


def _read_range(_: Any, tokens: Sequence[Token]) -> Milliseconds:
    least, _sign, greatest = tokens[0].value.partition("-")
    try:
        return float(least), float(greatest or least)
    except ValueError:
        raise ValueError("Give milliseconds, such as 10-150, or 25") from None


def _write_range(value: Milliseconds) -> str:
    return f"{value[0]:g}-{value[1]:g}"


def _count(text: str, least: int = 1, most: int = 100_000) -> Parameter:
    return Parameter(help=text, metavar="N", validator=Number(gte=least, lte=most))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Network:
    """What is simulated, as people write it."""

    nodes: Annotated[int, _count("Honest nodes.", 2)] = 1000
    seed: Annotated[int, Parameter(help="Seed of all random choices.", metavar="N")] = 1
    messages: Annotated[int, _count("Messages to publish.")] = 60
    sources: Annotated[int, _count("Nodes that publish them, chosen at random.")] = 5
    interval: Annotated[float, seconds_option("Time between messages.")] = 1.0
    size: Annotated[int, _count("Bytes of a message.", 0, 1 << 20)] = 256
    degree: Annotated[int, _count("Connections that each node dials, to random nodes.")] = 20
    latency: Annotated[
        Milliseconds,
        Parameter(
            help="One way, drawn for each connection.",
            metavar="MS-MS",
            converter=_read_range,
            n_tokens=1,
            show_default=_write_range,
        ),
    ] = (10.0, 150.0)
    jitter: Annotated[float, Parameter(help="Percent of it on top, drawn for each frame.", metavar="PERCENT")] = 10.0
    bandwidth: Annotated[int, size_option("Per second, in each direction of a connection; 0 is no limit.")] = 0
    loss: Annotated[float, Parameter(help="Percent of frames that must be sent again.", metavar="PERCENT")] = 0.0
    version: Annotated[Version, Parameter(help="Of gossipsub, that all honest nodes speak.")] = "1.0"
    unscored: Annotated[
        bool, Parameter(name="--no-score", help="Without peer scores; 1.0 never has any.", show_default=False)
    ] = False
    attack: Annotated[AttackName, Parameter(help="What sybils do.")] = "none"
    sybils: Annotated[int | None, _count("How many; two for each node if not given.")] = None
    sybil_degree: Annotated[int, _count("Honest nodes that each sybil dials.")] = 20
    warm_up: Annotated[float, seconds_option("Before the first message.")] = 10.0
    linger: Annotated[float, seconds_option("After the last message.")] = 10.0

    def scenario(self) -> Scenario:
        """Return it as the simulation takes it. Raises ValueError."""
        sybils = 0 if self.attack == "none" else 2 * self.nodes
        return Scenario(
            nodes=self.nodes,
            seed=self.seed,
            messages=self.messages,
            sources=self.sources,
            interval=self.interval,
            size=self.size,
            warm_up=self.warm_up,
            linger=self.linger,
            connections=self.degree,
            latency=(self.latency[0] / 1000, self.latency[1] / 1000),
            jitter=self.jitter / 100,
            bandwidth=self.bandwidth or inf,
            loss=self.loss / 100,
            protocol=Protocol(self.version),
            scored=not self.unscored,
            attack=Attack(self.attack),
            sybils=sybils if self.sybils is None else self.sybils,
            sybil_connections=self.sybil_degree,
        )


_DEFAULT = Network()


@app.command(help_epilogue=_EPILOGUE)
def gossip(
    *,
    network: Network = _DEFAULT,
    plot: Annotated[Path | None, Parameter(help="Draw latencies and meshes.", metavar="FILE.svg")] = None,
    json: Json = False,
) -> int:
    """Simulate a gossipsub network, with or without an attack."""
    return run(partial(_simulate, network, plot), json=json)


async def _simulate(network: Network, plot: Path | None, output: Output) -> int:
    await trio.lowlevel.checkpoint()
    try:
        scenario = network.scenario()
    except ValueError as error:
        raise CommandError(str(error)) from error
    return await _gossip(scenario, plot, output)


async def _gossip(scenario: Scenario, plot: Path | None, output: Output) -> int:
    began = time.perf_counter()
    with output.working(f"simulating {scenario.ends:g} s of {scenario.nodes + scenario.sybils} nodes"):
        # In a thread, so that a signal ends it at once: a second of a large network is computed for many.
        results = await trio.to_thread.run_sync(_run_world, scenario, abandon_on_cancel=True)
    output.emit(summary(scenario, results, time.perf_counter() - began))
    if plot is not None:
        await trio.Path(plot).write_text(to_svg(scenario, results, _title(scenario)), encoding="utf-8")
    return 0


def _run_world(scenario: Scenario) -> Results:
    world = Simulation(scenario)
    for _ in world.run():
        pass
    return world.results()


def _title(scenario: Scenario) -> str:
    title = f"gossipsub {scenario.protocol}, {scenario.nodes} nodes"
    if scenario.score is not None:
        title += " with scores"
    return title if scenario.attack is Attack.NONE else f"{title}, {scenario.sybils} sybils: {scenario.attack}"


def summary(scenario: Scenario, results: Results, seconds: float) -> events.Simulated:
    """Return the event for a simulation."""
    traffic = asdict(results.traffic)
    return events.Simulated(
        nodes=scenario.nodes,
        connections=results.connections,
        messages=scenario.messages,
        seed=scenario.seed,
        version=scenario.protocol,
        scored=scenario.score is not None,
        attack=scenario.attack,
        sybils=scenario.sybils,
        deliveries=results.deliveries,
        sends_per_delivery=round(results.sends_per_delivery, 3),
        duplicates=results.duplicates,
        latency=_latencies(results.lateness),
        histogram=results.histogram,
        affected=_latencies(results.affected),
        settled=_latencies(results.settled),
        mesh=_meshes(results),
        sent=events.Sent(messages=traffic.pop("copies"), **traffic),
        trace_hash=results.trace_hash,
        wall_seconds=round(seconds, 3),
        peak_memory_bytes=peak_memory(),
    )


def _latencies(lateness: Lateness) -> events.Latencies:
    def rounded(seconds: float | None) -> float | None:
        return None if seconds is None else round(1000 * seconds, 3)

    return events.Latencies(
        lateness.expected,
        lateness.missing,
        rounded(lateness.median),
        rounded(lateness.p99),
        rounded(lateness.max),
    )


def _meshes(results: Results) -> events.Meshes:
    census = results.census
    return events.Meshes(
        min=min(census.degrees),
        mean=round(census.mean_degree, 3),
        max=max(census.degrees),
        degrees=tuple(census.degrees.get(degree, 0) for degree in range(max(census.degrees) + 1)),
        sybil_share=round(census.sybil_share, 4),
        suspects=census.suspects,
    )


def peak_memory() -> int | None:
    """Return the most bytes that this process has held at once; None on Windows, where Python has no such number."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
