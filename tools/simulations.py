"""Puts numbers and pictures into docs/notes/simulation.md: tools/simulations.py [peace newer sensitivity attacks].

All of it takes about half an hour on two cores. Every simulation runs in a process of its own, so that its memory
can be told.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

from peerstack.cli.simulate import peak_memory
from peerstack.cli.simulate_plot import Comparison, compare, to_svg
from peerstack.protocols.pubsub.simulation import Attack, Lateness, Protocol, Results, Scenario, Simulation

NOTES = Path(__file__).resolve().parent.parent / "docs" / "notes"
PAGE = NOTES / "simulation.md"
SEEDS = (1, 2, 3)
PUBLISHED = {250: 6.42, 500: 6.31, 1000: 6.29}
PUBLISHED_11 = {250: 6.67, 500: 6.44, 1000: 6.37}
"""Sends per delivery of v1.1 without scores, from the same three records."""
PUBLISHED_LATENCIES = (1334, 20818, 36508, 1280)

FIELD = Scenario(nodes=200, sources=20, interval=0.2, messages=600)
"""The field of battle."""
DEFENCES: Mapping[str, dict[str, object]] = {
    "--version 1.0": {"protocol": Protocol.V10},
    "--version 1.1 --no-score": {"protocol": Protocol.V11, "scored": False},
    "--version 1.1": {"protocol": Protocol.V11},
}
LABELS = dict(zip(DEFENCES, ("1.0", "1.1 without scores", "1.1 with scores"), strict=True))
VARIANTS: Mapping[str, dict[str, object]] = {
    "as above": {},
    "`--degree 10`": {"connections": 10},
    "`--degree 40`": {"connections": 40},
    "`--latency 80`": {"latency": (0.08, 0.08)},
    "`--latency 10-300`": {"latency": (0.01, 0.3)},
    "`--jitter 0`": {"jitter": 0.0},
    "`--sources 50`": {"sources": 50},
    "`--warm-up 30`": {"warm_up": 30.0},
    "`--messages 300 --interval 0.2`": {"messages": 300, "interval": 0.2},
}


@dataclass(frozen=True)
class Run:
    """One simulation, and what it took."""

    scenario: Scenario
    results: Results
    seconds: float
    """Of the processor."""
    memory: int
    """Bytes at most."""


def simulate(scenario: Scenario) -> Run:
    """Run one simulation."""
    began = time.process_time()
    world = Simulation(scenario)
    for _ in world.run():
        pass
    results = world.results()
    return Run(scenario, results, time.process_time() - began, peak_memory() or 0)


def main() -> None:
    """Run what the parts asked for need, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[*PARTS], help=", ".join(PARTS))
    names = parser.parse_args().parts
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}")
    with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1) as pool:

        def runs(scenarios: Mapping[Any, Scenario]) -> dict[Any, Run]:
            return dict(zip(scenarios, pool.map(simulate, scenarios.values()), strict=True))

        for name in names:
            for section, rows in PARTS[name](runs):
                _write(section, rows)


def _write(section: str, rows: Iterable[str]) -> None:
    begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->"
    before, found, rest = PAGE.read_text().partition(begin)
    if not found:
        raise ValueError(f"{PAGE} has no place for {section}")
    PAGE.write_text(before + begin + "\n" + "\n".join(rows) + "\n\n" + end + rest.partition(end)[2])


# ---- the parts of the page

Runs = Callable[[Mapping[Any, Scenario]], dict[Any, Run]]
Sections = Iterator[tuple[str, Iterable[str]]]


def peace(runs: Runs) -> Sections:
    """Beside the published table, v1.0."""
    found = runs({(nodes, seed): Scenario(nodes=nodes, seed=seed) for nodes in PUBLISHED for seed in SEEDS})
    yield "sends", _sends({nodes: [found[nodes, seed] for seed in SEEDS] for nodes in PUBLISHED}, PUBLISHED)
    yield "latencies", _latencies([found[1000, seed] for seed in SEEDS])
    one = found[1000, 1]
    picture = to_svg(one.scenario, one.results, "gossipsub 1.0, 1000 nodes, 60 messages")
    (NOTES / "simulation.svg").write_text(picture)


def newer(runs: Runs) -> Sections:
    """The same, v1.1."""
    found = runs({nodes: Scenario(nodes=nodes, protocol=Protocol.V11, scored=False) for nodes in PUBLISHED_11})
    yield "newer", _sends({nodes: [run] for nodes, run in found.items()}, PUBLISHED_11)


def sensitivity(runs: Runs) -> Sections:
    """With other set-ups."""
    base = Scenario(nodes=500)
    found = runs({name: replace(base, **changes) for name, changes in VARIANTS.items()})  # type: ignore[arg-type]  # fields of a scenario
    yield "sensitivity", _sensitivity(found)


def attacks(runs: Runs) -> Sections:
    """Under attack."""
    scenarios = {
        (attack, name): replace(FIELD, attack=attack, sybils=0 if attack is Attack.NONE else 400, **changes)  # type: ignore[arg-type]  # fields of a scenario
        for attack in Attack
        for name, changes in DEFENCES.items()
    }
    found = runs(scenarios)
    yield "attacks", _attacks(found)
    (NOTES / "simulation-attacks.svg").write_text(_picture(found))


PARTS: Mapping[str, Callable[[Runs], Sections]] = {part.__name__: part for part in (peace, newer, sensitivity, attacks)}


# ---- tables


def _table(*head: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' + '---:|' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _sends(runs: Mapping[int, Sequence[Run]], published: Mapping[int, float]) -> Iterator[str]:
    rows = []
    for nodes, found in runs.items():
        sends = [run.results.sends_per_delivery for run in found]
        rows.append(
            (
                f"{nodes}",
                f"{published[nodes]:.2f}",
                f"{mean(sends):.2f}" + (f" ({min(sends):.2f} to {max(sends):.2f})" if len(sends) > 1 else ""),
                f"{100 * (mean(sends) / published[nodes] - 1):+.1f} %",
                f"{sum(run.results.lateness.missing for run in found)}",
                f"{mean(run.results.census.mean_degree for run in found):.2f}",
                f"{mean(run.seconds for run in found):.0f} s",
                f"{max(run.memory for run in found) / 2**20:.0f} MiB",
            )
        )
    head = ("nodes", "published", "ours", "difference", "missing", "mesh peers", "CPU", "memory")
    yield from _table(*head, rows=rows)


def _latencies(runs: Sequence[Run]) -> Iterator[str]:
    rows = []
    for index, published in enumerate(PUBLISHED_LATENCIES):
        counts = [_bucket(run.results.histogram, index) for run in runs]
        rows.append((f"{100 * index}-{100 * index + 100} ms", f"{published}", *(f"{count}" for count in counts)))
    yield from _table("latency", "published", *(f"seed {seed}" for seed in SEEDS), rows=rows)


def _bucket(histogram: Sequence[int], index: int) -> int:
    return histogram[index] if index < len(histogram) else 0


def _sensitivity(runs: Mapping[str, Run]) -> Iterator[str]:
    rows = []
    for name, run in runs.items():
        results = run.results
        rows.append(
            (
                name,
                f"{results.sends_per_delivery:.2f}",
                _milliseconds(results.lateness.median),
                _milliseconds(results.lateness.p99),
                f"{results.census.mean_degree:.2f}",
            )
        )
    yield from _table("500 nodes, seed 1", "sends per delivery", "median", "99 %", "mesh peers", rows=rows)


def _attacks(runs: Mapping[tuple[Attack, str], Run]) -> Iterator[str]:
    rows = []
    for (attack, name), run in runs.items():
        results = run.results
        rows.append(
            (
                f"`--attack {attack} {name}`",
                _rate(results.affected),
                _milliseconds(results.affected.median),
                _milliseconds(results.affected.p99),
                _rate(results.settled),
                _milliseconds(results.settled.p99),
                f"{results.census.sybil_share:.0%}",
                f"{results.census.suspects}",
            )
        )
    head = ("as above, with", "delivered", "median", "99 %", "delivered at last", "99 % at last")
    yield from _table(*head, "sybils in meshes", "honest suspects", rows=rows)


def _rate(lateness: Lateness) -> str:
    return f"{100 * lateness.delivered / lateness.expected:.3f} %" if lateness.missing else "100 %"


def _milliseconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{1000 * seconds:.0f} ms"


# ---- the picture


def _picture(runs: Mapping[tuple[Attack, str], Run]) -> str:
    titles = {
        Attack.SYBIL: "Sybils from the start, that pass nothing on",
        Attack.ECLIPSE: "Eclipse: what the victim gets",
        Attack.CENSOR: "Censorship: the messages of its target",
        Attack.FLASH: "Covert flash: sybils that stop to behave",
    }
    comparisons = [
        Comparison(
            title,
            runs[attack, "--version 1.0"].scenario,
            {label: runs[attack, name].results for name, label in LABELS.items()},
        )
        for attack, title in titles.items()
    ]
    return compare("200 honest nodes, 400 sybils", comparisons)


if __name__ == "__main__":
    main()
