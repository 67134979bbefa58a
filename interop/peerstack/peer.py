"""A peer of the interop contract made with peerstack: JSON lines in, JSON lines out; see ../CONTRACT.md."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import trio

if __package__ in (None, ""):  # started as a script: make `interop` importable, behind everything installed
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from interop.peerstack import addresses
from interop.peerstack.benches import BENCHES
from interop.peerstack.command import Answer, Id, command, describe, parse
from interop.peerstack.hosts import Identified, Refused, make_host
from interop.peerstack.layers import Layers, layers
from interop.peerstack.layers import add_options as add_layer_options
from interop.peerstack.operations import OPERATIONS, Program
from interop.peerstack.pubsub import UnsupportedOption, add_options, config
from interop.peerstack.serve import serve
from interop.peerstack.topics import TOPIC_OPERATIONS, Topics
from peerstack.protocols.pubsub import PubsubConfig, open_pubsub
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.identity.identity import KeyTypeName

UNSUPPORTED = 3
COMMAND_SECONDS = 300.0
READ_SIZE = 64 * 1024
KEY_TYPES: Mapping[str, KeyTypeName] = {name: name for name in get_args(KeyTypeName)}
_OPERATIONS = {**OPERATIONS, **BENCHES, **TOPIC_OPERATIONS}


def main() -> int:
    """Run the peer until its input ends; return the exit code."""
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("PEERSTACK_LOG", "WARNING"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key-type", default="ed25519")
    parser.add_argument("--listen", action="append", default=[])
    add_layer_options(parser)
    add_options(parser)
    options = parser.parse_args()
    key_type = KEY_TYPES.get(options.key_type)
    if key_type is None:
        return _unsupported(f"key-type {options.key_type}", "not a key type of libp2p")
    try:
        below, pubsub = layers(options), config(options)
    except UnsupportedOption as error:
        return _unsupported(error.what, error.reason)
    return trio.run(_run, key_type, below, options.listen, pubsub)


async def _run(key_type: KeyTypeName, layers: Layers, listen: Sequence[str], config: PubsubConfig | None) -> int:
    identified, refused = Identified(), Refused()
    async with make_host(key_type, layers, observers=[identified, refused]) as host, AsyncExitStack() as services:
        serve(host)
        # Before it listens, so that no peer finds one that does not speak pubsub yet.
        pubsub = None if config is None else await services.enter_async_context(open_pubsub(host, config))
        for address in listen:
            try:
                await host.listen(address)
            except InvalidAddress as error:
                return _unsupported(f"listen {address}", describe(error))
        _write(
            event="listening",
            implementation="peerstack",
            version=version("peerstack"),
            peer_id=str(host.peer_id),
            addresses=[addresses.write(address, host.peer_id) for address in host.addresses],
        )
        async with trio.open_nursery() as nursery:
            topics = None if pubsub is None else Topics(pubsub, nursery)
            program = Program(
                host=host,
                key_type=key_type,
                layers=layers,
                identified=identified,
                refused=refused,
                background=nursery,
                topics=topics,
            )
            await _obey_all(program)
            nursery.cancel_scope.cancel()
    return 0


async def _obey_all(program: Program) -> None:
    """Start each command as it comes, until the input ends or says exit."""
    async for line in _lines():
        number: Id = None
        try:
            number, message = parse(line)
            if message.get("op") == "exit":
                _write(id=number, ok=True)
                return
            program.background.start_soon(_obey, program, number, message)
        except ValueError as error:
            _write(id=number, ok=False, error=describe(error))


async def _obey(program: Program, number: Id, message: Answer) -> None:
    try:
        wanted = command(message)
        if wanted.op not in _OPERATIONS:
            raise ValueError(f"unknown op {wanted.op!r}")
        with trio.fail_after(COMMAND_SECONDS):
            answer = await _OPERATIONS[wanted.op](program, wanted)
    except Exception as error:  # noqa: BLE001 - a command that fails is an answer, whatever the reason
        _write(id=number, ok=False, error=describe(error))
    else:
        _write(id=number, ok=True, **answer)


async def _lines() -> AsyncIterator[bytes]:
    """Yield the lines of standard input; a thread waits for them, so that any kind of file will do."""
    pending = b""
    while data := await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), READ_SIZE, abandon_on_cancel=True):
        *whole, pending = (pending + data).split(b"\n")
        for line in whole:
            if line.strip():
                yield line


def _write(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def _unsupported(what: str, reason: str) -> int:
    _write(event="unsupported", what=what, reason=reason)
    return UNSUPPORTED


if __name__ == "__main__":
    sys.exit(main())
