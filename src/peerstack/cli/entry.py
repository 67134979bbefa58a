"""Where the `peerstack` command begins: without its extra it says in one line how to get it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec

EXTRA = ("cyclopts", "rich", "urwid")
"""What the extra `cli` brings, besides what every installation has."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (by default those of the process) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        return _without_extra(missing, json_wanted="--json" in arguments)
    from .app import run

    return run(arguments)


def _without_extra(missing: Sequence[str], *, json_wanted: bool) -> int:
    from peerstack.stack.extras import how_to_install

    message = f"the command needs {' and '.join(missing)}; run: {how_to_install('cli')}"
    if json_wanted:
        print(json.dumps({"event": "error", "message": message, "report": None}), flush=True)
    print(f"peerstack: {message}", file=sys.stderr)
    return 2
