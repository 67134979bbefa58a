"""Runs the interop matrix: python interop/run.py --with go,rust,js,py --json out.json --markdown out.md."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import trio

if __package__ in (None, ""):  # started as a script: make `interop` importable, behind everything installed
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from interop.build import INTEROP, RECIPES, BuildFailed, ToolchainMissing, start_command
from interop.matrix import KEY_TYPES, Cell, Outcome, Program, run_pair
from interop.pubsub_matrix import run_pubsub
from interop.pubsub_mesh import run_meshes
from interop.readme_table import NoPlace, write_table
from interop.report import Report, reasons, to_json, to_markdown
from interop.transport_matrix import KEY_TYPE, run_transports

OURS = "peerstack"
CONNECTIONS, TRANSPORTS, PUBSUB = SUITES = ("connections", "transports", "pubsub")
REQUIRE_VARIABLE = "INTEROP_REQUIRE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a cell failed or a required peer is missing."""
    options = _parse(arguments)
    ours = program(options.ours)
    programs, left_out = available(options.names)
    report = trio.run(_run, ours, programs, options, left_out)
    if options.json:
        options.json.write_text(to_json(report) + "\n")
    if options.markdown:
        options.markdown.write_text(to_markdown(report))
    if options.readme:
        write_table(options.readme, report)
    for reason in reasons(report.cells, Outcome.FAILED):
        print(f"FAILED {reason}")
    print(report.summary())
    return 1 if report.count(Outcome.FAILED) or required() & left_out.keys() else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--with", dest="names", type=_names([*RECIPES, OURS]), default=[*RECIPES])
    parser.add_argument("--key-types", type=_names(KEY_TYPES), default=[*KEY_TYPES])
    parser.add_argument("--suites", type=_names(SUITES), default=[*SUITES])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--readme", type=Path, help="page whose table of transports is to be written anew")
    parser.add_argument("--ours", choices=[*RECIPES, OURS], default=OURS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.readme and (lacking := {CONNECTIONS, TRANSPORTS} - {*options.suites}):
        parser.error(f"--readme tells of suites that are not run: {', '.join(sorted(lacking))}")
    if options.readme and KEY_TYPE not in options.key_types:
        parser.error(f"--readme tells of keys that are not used: {KEY_TYPE}")
    return options


class _names:
    def __init__(self, known: Sequence[str]) -> None:
        self.known = known

    def __call__(self, text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        if unknown := [name for name in chosen if name not in self.known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(self.known)}")
        return chosen


def program(name: str) -> Program:
    """Return how peer `name` is started, built if need be; raises ToolchainMissing or BuildFailed."""
    if name == OURS:
        return Program(name=name, argv=[sys.executable, str(INTEROP / "peerstack" / "peer.py")])
    return Program(name=name, argv=start_command(name))


def available(names: Sequence[str]) -> tuple[list[Program], dict[str, str]]:
    """Return the peers that can be had, and why the others cannot."""
    programs: list[Program] = []
    left_out: dict[str, str] = {}
    for name in names:
        try:
            programs.append(program(name))
        except ToolchainMissing as missing:
            left_out[name] = str(missing)
            print(f"{name} is left out: {missing}", file=sys.stderr)
    return programs, left_out


def required() -> set[str]:
    """Return the names of the peers that must not be left out."""
    return {name.strip() for name in os.environ.get(REQUIRE_VARIABLE, "").split(",") if name.strip()}


async def _run(
    ours: Program, programs: Sequence[Program], options: argparse.Namespace, left_out: dict[str, str]
) -> Report:
    begun = perf_counter()
    cells: list[Cell] = []
    versions: dict[str, str] = {}
    if CONNECTIONS in options.suites:
        for theirs in programs:
            found, named = await run_pair(ours, theirs, options.key_types)
            _say(f"{ours.name} and {theirs.name}", found)
            cells += found
            versions |= named
    if TRANSPORTS in options.suites:
        found, named = await run_transports(ours, programs)
        _say("transports", found)
        cells += found
        versions |= named
    if PUBSUB in options.suites:
        found, named = await run_pubsub(ours, programs, options.key_types)
        found += await run_meshes(ours, programs)
        _say("publish/subscribe", found)
        cells += found
        versions |= named
    return Report(
        ours=ours.name,
        machine=f"{os.cpu_count()} x {platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        seconds=perf_counter() - begun,
        cells=cells,
        versions=versions,
        left_out=left_out,
    )


def _say(what: str, cells: Sequence[Cell]) -> None:
    bad = sum(cell.outcome is Outcome.FAILED for cell in cells)
    print(f"{what}: {len(cells)} cells, {bad} failed", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BuildFailed, NoPlace) as failure:
        sys.exit(f"{failure}")
