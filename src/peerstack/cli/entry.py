"""Where the `peerstack` command begins: without its extra it says in one line how to get it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

EXTRA = ("cyclopts", "rich")
"""What the extra `cli` brings, besides what every installation has."""

CLOSED_PIPE = 141
"""Exit code when whoever read our output has gone: 128 + SIGPIPE, as of programs that the signal kills."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (by default those of the process) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        return _without_extra(missing, json_wanted="--json" in arguments)
    from .app import run

    code = run(arguments)
    if code == CLOSED_PIPE:
        _discard_output()
    return code


def _without_extra(missing: Sequence[str], *, json_wanted: bool) -> int:
    message = f"the command needs {' and '.join(missing)}; run: pip install 'peerstack[cli]'"
    if json_wanted:
        print(json.dumps({"event": "error", "message": message, "report": None}), flush=True)
    print(f"peerstack: {message}", file=sys.stderr)
    return 2


def _discard_output() -> None:
    # Python writes what is left in the buffer on its way out, and would complain of the pipe again.
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)
