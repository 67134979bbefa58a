"""Where the `peerstack` command begins: without its extra it says in one line how to get it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .signals import handled, leave_at_once

EXTRA = ("cyclopts", "rich", "urwid")
"""What the extra `cli` brings, besides what every installation has."""
CLOSED_PIPE = 141
"""Exit code when the reader of our output has gone: 128 + SIGPIPE, as of programs that the signal kills."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (by default those of the process) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Until a host is open there is nothing to close: what is imported is not to be interrupted in the middle.
    with handled(leave_at_once):
        try:
            return _finished(_run(arguments))
        except BrokenPipeError:
            return _finished(CLOSED_PIPE)
        except SystemExit as end:
            # rich ends the process where it meets a broken pipe while it draws the help.
            if isinstance(end.__context__, BrokenPipeError):
                return CLOSED_PIPE
            raise


def _run(arguments: Sequence[str]) -> int:
    from importlib.util import find_spec

    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        return _without_extra(missing, json_wanted="--json" in arguments)
    from .app import run

    return run(arguments)


def _finished(code: int) -> int:
    """Write out what is held, or forget it if its reader has gone: Python would complain of it at its end."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return CLOSED_PIPE
    return code


def _without_extra(missing: Sequence[str], *, json_wanted: bool) -> int:
    import json

    from peerstack.stack.extras import how_to_install

    message = f"the command needs {' and '.join(missing)}; run: {how_to_install('cli')}"
    if json_wanted:
        print(json.dumps({"event": "error", "message": message, "report": None}), flush=True)
    print(f"peerstack: {message}", file=sys.stderr)
    return 2
