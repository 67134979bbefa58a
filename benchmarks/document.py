"""Renders a run as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from benchmarks.goals import GOALS, Goal, Outcome
from benchmarks.measures import GROUPS, LABELS, OURS, Group, Measure, Sizes
from benchmarks.results import Results, Spread

ABSENT = "-"
MARKS = {Outcome.REACHED: "reached", Outcome.MISSED: "**missed**", Outcome.UNKNOWN: "not measured"}
GOALS_HOW = """\
Ours divided by theirs, turn by turn, or our number where no other is named. The last column is what the ceiling \
reaches against the same: encrypted frames for throughput, plain trio TCP for the rest. A goal that the ceiling itself \
misses asks for more than one thread of trio gives."""
READING = """\
## How to read this

- Each pair is one implementation against itself, in two fresh processes on loopback: Ed25519 keys, and TCP, Noise and \
yamux where nothing else is said, with the settings an application would have; only limits on connections and streams \
are raised. The programs lie in [`interop/`](../interop/CONTRACT.md). Go is compiled plainly, Rust with `--release`.
- Turns are interleaved: every pair takes its turn before any takes its next, so that drift of the machine hits all \
alike. A round has two turns of throughput over TCP and three of pings, and one of everything else; what takes long or \
hardly varies is taken in fewer rounds. Ratios are made within a turn; their median is what counts, not the ratio of \
the medians.
- The ceilings are what two processes reach through trio without a protocol: plain TCP, and TCP with \
ChaCha20-Poly1305 frames of 64 KiB, four a send, encrypted and decrypted in place (`benchmarks/ceiling.py`).
- go-libp2p and rust-libp2p use several cores in each process; peerstack, js-libp2p, py-libp2p and the ceilings one.
- Of QUIC, py-libp2p loses the last bytes of about one download in 20, which then counts as failed.
- py-libp2p waits 250 ms in each dial and 200 ms in each close; its dials per second count both, as a user would.
- Memory is what the operating system sees: garbage that a collector has not yet taken away is in it.
- An absolute number holds for this machine and this hour. Compare ratios.
"""


def to_markdown(results: Results, plot: str) -> str:
    """Return the document; `plot` is the address of the picture in it."""
    parts = [
        _head(results, plot),
        _goals(results, GOALS),
        *(_group(results, group) for group in GROUPS if _took_part(results, group)),
        READING,
        _machine(results),
        _missing(results),
    ]
    return "\n".join(part for part in parts if part)


def number(value: float) -> str:
    """Return a number with three digits that count; a whole one as such."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(found: Spread | None) -> str:
    """Return the median with the least and the greatest, where they differ."""
    if found is None:
        return ABSENT
    if found.least == found.greatest:
        return number(found.median)
    return f"{number(found.median)} ({number(found.least)} to {number(found.greatest)})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column holds words and whose others hold numbers."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, marks, *rows])


def rounds(count: int) -> str:
    """Return how many rounds there were, in words."""
    return f"{count} interleaved round{'s' * (count != 1)}"


def _head(results: Results, plot: str) -> str:
    return (
        "# Benchmarks\n\n"
        f"Written by one command, in one run of {_time(results.seconds)} on {results.began}:\n\n"
        f"```\n{results.command}\n```\n\n"
        f"{rounds(results.runs)}; every number is a median, with the least and the greatest beside it.\n\n"
        f"![Medians of all, as bars; the whiskers reach from the least to the greatest]({plot})\n"
    )


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds > 120 else f"{seconds:.0f} seconds"


def _goals(results: Results, goals: Iterable[Goal]) -> str:
    rows = [
        (
            goal.what,
            spread(goal.found(results)),
            goal.target,
            _outcome(goal, results),
            spread(goal.ceiling(results)),
        )
        for goal in goals
        if goal.measure in results.planned or goal.measure in results.samples
    ]
    if not rows:
        return ""
    return f"## The goals\n\n{GOALS_HOW}\n\n{table(('', 'peerstack', 'goal', 'outcome', 'ceiling'), rows)}"


def _outcome(goal: Goal, results: Results) -> str:
    outcome = goal.outcome(results)
    sides = (goal.whose, goal.against) if goal.against else (goal.whose,)
    reasons = [f"{LABELS[side]}: {why}" for side in sides if (why := results.why(goal.measure, side))]
    if outcome is not Outcome.UNKNOWN or not reasons:
        return MARKS[outcome]
    return f"{MARKS[outcome]}, {_one_cell('; '.join(reasons))}"


def _one_cell(text: str) -> str:
    return text.replace("|", "\\|")


def _group(results: Results, group: Group) -> str:
    sizes = Sizes(**results.sizes)  # type: ignore[arg-type]  # JSON has kept the types
    how = group.how.format(**asdict(sizes), megabytes=sizes.megabytes)
    head = ("", *(_title(measure) for measure in group.measures))
    lines = "".join(f"- {line}\n" for line in _reasons(results, group))
    return f"## {group.title}\n\n{how}\n\n{table(head, _rows(results, group))}" + (f"\n{lines}" if lines else "")


def _title(measure: Measure) -> str:
    return f"{measure.title}, {measure.unit}" if measure.unit else measure.title


def _rows(results: Results, group: Group) -> Iterator[Sequence[str]]:
    for entrant in (name for name in LABELS if name in group.entrants):
        found = [results.spread(measure.key, entrant) for measure in group.measures]
        if any(found):
            label = f"**{LABELS[entrant]}**" if entrant == OURS else LABELS[entrant]
            yield (label, *map(spread, found))


def _reasons(results: Results, group: Group) -> Iterator[str]:
    """Yield why numbers are missing, once for each reason of those who are without."""
    for entrant in (name for name in LABELS if name in group.entrants):
        reasons: dict[str, list[str]] = {}
        for measure in group.measures:
            if why := results.why(measure.key, entrant):
                reasons.setdefault(why, []).append(measure.title)
        for why, titles in reasons.items():
            what = "" if len(titles) == len(group.measures) else f", {', '.join(titles)}"
            yield f"{LABELS[entrant]}{what}: {why}"


def _took_part(results: Results, group: Group) -> bool:
    return any(measure.key in (*results.samples, *results.missing) for measure in group.measures)


def _machine(results: Results) -> str:
    versions = {LABELS.get(name, name): version for name, version in results.versions.items()}
    lines = [f"- {name}: {value}" for name, value in {**results.machine, **versions}.items()]
    return "## The machine and the versions\n\n" + "\n".join(lines) + "\n"


def _missing(results: Results) -> str:
    lines = [f"- left out: {LABELS.get(name, name)}, {reason}" for name, reason in results.left_out.items()]
    lines += [f"- failed: {line}" for line in results.failures]
    return "## What is missing\n\n" + "\n".join(lines) + "\n" if lines else ""
