"""Measures ours and the others side by side: python benchmarks/run.py [--quick] [--with go,rust,js,py] [--only ping].

A full run takes about a quarter of an hour on two quiet cores (half an hour on busy ones), not counting the first
builds of the other implementations, and writes docs/benchmarks.md and docs/benchmarks.svg. --quick takes about four
minutes, and, like --only, writes nowhere unless told to.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

if __package__ in (None, ""):  # started as a script: make `benchmarks` and `interop` importable, behind the installed
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.document import to_markdown
from benchmarks.entrants import gather
from benchmarks.measures import FOREIGN, GROUPS, QUICK, Sizes
from benchmarks.plot import to_svg
from benchmarks.results import Results
from benchmarks.rounds import measure

DOCS = Path(__file__).resolve().parent.parent / "docs"
RUNS, QUICK_RUNS = 5, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a sample of ours failed."""
    options = _parse(arguments)
    results = Results.from_json(options.render.read_text()) if options.render else _measure(options)
    if options.json:
        options.json.write_text(results.to_json() + "\n")
    markdown = to_markdown(results, "benchmarks.svg")
    if (folder := _folder(options)) is None:
        print(markdown)
    else:
        (folder / "benchmarks.md").write_text(markdown)
        (folder / "benchmarks.svg").write_text(to_svg(results))
        print(f"written: {folder / 'benchmarks.md'}, {folder / 'benchmarks.svg'}")
    return 1 if results.ours_failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [group.key for group in GROUPS]
    parser.add_argument("--with", dest="names", type=_names(FOREIGN), default=[*FOREIGN], help=", ".join(FOREIGN))
    parser.add_argument("--only", type=_names(names), default=names, help=", ".join(names))
    parser.add_argument("--runs", type=int, help=f"rounds, {RUNS} by default, {QUICK_RUNS} with --quick")
    parser.add_argument("--quick", action="store_true", help="little work and few rounds, to see that all works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="write benchmarks.md and .svg there")
    parser.add_argument("--render", type=Path, metavar="FILE", help="measure nothing: take what --json wrote before")
    options = parser.parse_args(arguments)
    options.runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
    options.partial = options.quick or len(options.only) < len(names)
    return options


class _names:
    def __init__(self, known: Sequence[str]) -> None:
        self.known = known

    def __call__(self, text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        if unknown := [name for name in chosen if name not in self.known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(self.known)}")
        return chosen


def _folder(options: argparse.Namespace) -> Path | None:
    folder: Path | None = options.docs
    return folder or (None if options.partial else DOCS)


def _measure(options: argparse.Namespace) -> Results:
    groups = [group for group in GROUPS if group.key in options.only]
    with gather(options.names, groups) as entrants:
        return trio.run(measure, entrants, groups, options.runs, QUICK if options.quick else Sizes(), _command(options))


def _command(options: argparse.Namespace) -> str:
    words = ["python benchmarks/run.py", f"--with {','.join(options.names)}", f"--runs {options.runs}"]
    words += ["--quick"] * options.quick
    words += [f"--only {','.join(options.only)}"] * (len(options.only) < len(GROUPS))
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
