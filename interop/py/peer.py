"""An interop peer made with py-libp2p, driven by JSON lines as ../CONTRACT.md says."""

import argparse
import json
import logging
import os
import sys
from functools import partial
from importlib.metadata import version

import benches
import operations
import trio
from hosts import KEY_MAKERS, UNSUPPORTED_KEYS, make_host
from layers import add_options, unsupported_layers
from libp2p.exceptions import MultiError
from multiaddr import Multiaddr
from pubsub import run_pubsub, unsupported_pubsub
from serve import serve
from topics import Topics

EXIT_UNSUPPORTED = 3


class Answers:
    """Writes one JSON object a line to the real standard output; other prints go to standard error."""

    def __init__(self):
        self._file = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def write(self, message):
        """Write `message` as one line, at once."""
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()


def explain(error):
    """Return the messages of `error`, of the members of its group and of its causes, on one line."""
    parts, todo = [], [error]
    while todo:
        current = todo.pop(0)
        text = " ".join(str(current).split())
        parts.append(f"{type(current).__name__}: {text}" if text else type(current).__name__)
        todo.extend(current.exceptions if isinstance(current, BaseExceptionGroup) else ())
        todo.extend(current.errors if isinstance(current, MultiError) else ())
        todo.extend([current.__cause__] if current.__cause__ else ())
    return " <- ".join(dict.fromkeys(parts))


async def input_lines():
    """Yield the lines of standard input."""
    pending = bytearray()
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        async for data in stdin:
            pending += data
            while (end := pending.find(b"\n")) >= 0:
                line = bytes(pending[:end])
                del pending[: end + 1]
                yield line


async def answer(answers, operation, command):
    """Run one command and write its answer; its failure is an answer too."""
    arguments = {name: value for name, value in command.items() if name not in ("id", "op")}
    try:
        result = await operation(**arguments)
        answers.write({"id": command["id"], "ok": True, **result})
    except Exception as error:  # noqa: BLE001  the contract: a failed command never ends the process
        answers.write({"id": command["id"], "ok": False, "error": explain(error)})


async def unknown(**_):
    """Refuse a command that is not in the contract."""
    raise ValueError("unknown op")


async def obey(answers, host, options, pubsub):
    """Run the commands side by side until `exit` or the end of input."""
    one_peer = ("connect", "disconnect", "identify", "ping", "echo", "streams", "digest", "reset", "perf")
    table = {name: partial(getattr(operations, name), host) for name in one_peer}
    table["bench_streams"] = partial(benches.bench_streams, host)
    async with trio.open_nursery() as hosts, trio.open_nursery() as commands:
        table["bench_dial"] = partial(benches.bench_dial, hosts, options)
        table["idle_connections"] = partial(benches.idle_connections, hosts, options)
        table |= Topics(pubsub, hosts).commands
        async for line in input_lines():
            command = json.loads(line)
            if command["op"] == "exit":
                answers.write({"id": command["id"], "ok": True})
                break
            commands.start_soon(answer, answers, table.get(command["op"], unknown), command)
        # Leave at once: closing costs py-libp2p two sleeps of 100 ms for each connection, one after another.
        os._exit(0)


def unsupported(options):
    """Return `(what, reason)` of the first option that cannot be had, or None."""
    key_type = options.key_type
    if key_type in UNSUPPORTED_KEYS:
        return f"key-type {key_type}", UNSUPPORTED_KEYS[key_type]
    return unsupported_layers(options) or unsupported_pubsub(options)


async def main(options):
    """Listen, say so, and serve until told to leave."""
    answers = Answers()
    if impossible := unsupported(options):
        what, reason = impossible
        answers.write({"event": "unsupported", "what": what, "reason": reason})
        return EXIT_UNSUPPORTED
    listen = options.listen
    host = make_host(options)
    await serve(host)
    async with host.run([Multiaddr(address) for address in listen]), run_pubsub(host, options) as pubsub:
        addresses = [str(address) for address in host.get_addrs()]
        if len(addresses) < len(listen):
            print(f"could not listen on all of {listen}: {addresses}", file=sys.stderr)
            return 1
        answers.write(
            {
                "event": "listening",
                "implementation": "py-libp2p",
                "version": f"v{version('libp2p')}",
                "peer_id": str(host.get_id()),
                "addresses": addresses,
            }
        )
        await obey(answers, host, options, pubsub)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key-type", required=True, choices=[*KEY_MAKERS, *UNSUPPORTED_KEYS])
    parser.add_argument("--listen", action="append", required=True)
    add_options(parser)
    parser.add_argument("--pubsub")
    parser.add_argument("--pubsub-sign", default="strict")
    parser.add_argument("--pubsub-backoff")
    parser.add_argument("--pubsub-degree")
    parser.add_argument("--pubsub-queues", default="long")
    sys.exit(trio.run(main, parser.parse_args()))
