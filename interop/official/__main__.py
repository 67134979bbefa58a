"""Plays one role of libp2p's own test contracts: python -m interop.official transport|perf|gossipsub."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

if __package__ in (None, ""):  # started as a script: make `interop` importable, behind everything installed
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from interop.official import perf, transport
from interop.official.gossipsub import run as run_gossipsub
from interop.official.resp import RedisError
from interop.official.settings import Settings, Unsupported
from peerstack.stack.errors import StackError

CONTRACTS = ("transport", "perf", "gossipsub")
CONTRACT_VARIABLE = "CONTRACT"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play a role; the results go to standard output, everything else to standard error."""
    parser = argparse.ArgumentParser(prog="python -m interop.official", description=__doc__)
    default = os.environ.get(CONTRACT_VARIABLE)
    parser.add_argument("contract", choices=CONTRACTS, nargs="?" if default in CONTRACTS else None, default=default)
    parser.add_argument("--params", type=Path, help="the script of a gossipsub experiment")
    options = parser.parse_args(arguments)
    if options.contract == "gossipsub" and options.params is None:
        parser.error("gossipsub needs --params")
    try:
        sys.stdout.write(_play(options.contract, options.params))
    except Unsupported as error:
        return _failed(f"unsupported: {error}")
    except (RedisError, StackError, OSError, ValueError, trio.TooSlowError) as error:
        return _failed(f"{type(error).__name__}: {error}")
    except ExceptionGroup as group:
        return _failed("; ".join(f"{type(error).__name__}: {error}" for error in group.exceptions))
    return 0


def _play(contract: str, params: Path) -> str:
    if contract == "gossipsub":
        run_gossipsub(params)
        return ""
    settings = Settings.of(os.environ)
    if contract == "perf":
        return trio.run(perf.run, settings, perf.Load.of(os.environ))
    return trio.run(transport.run, settings)


def _failed(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
