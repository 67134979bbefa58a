"""The command line: which subcommands there are, and what happens to arguments that fit none of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import (
    App,
    CycloptsError,
    Group,
    Parameter,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

_HELP = """Peer-to-peer networking that works with libp2p: try it, measure it, and see why a dial fails.

Every command has --help with examples, and --json for programs."""

_EPILOGUE = """First steps:
  peerstack demo                                   see the main features
  peerstack listen --listen /ip4/127.0.0.1/tcp/4001
  peerstack ping /ip4/127.0.0.1/tcp/4001           in another terminal"""

pubsub = App(
    name="pubsub",
    group_parameters=Group("Options"),
    help_epilogue="""Examples:
  peerstack pubsub subscribe news --listen /ip4/127.0.0.1/tcp/4001
  peerstack pubsub publish news hello --peer /ip4/127.0.0.1/tcp/4001""",
)
pubsub.command("peerstack.cli.subscribe:app", name="subscribe", help="Print the messages of topics.", sort_key=0)
pubsub.command(
    "peerstack.cli.publish:app",
    name="publish",
    help="Publish messages and show which peers each was sent to.",
    sort_key=1,
)

_COMMANDS = {
    "demo": ("peerstack.cli.demo:app", "Show the main features over real TCP."),
    "listen": ("peerstack.cli.listen:app", "Wait for peers and show who connects."),
    "ping": ("peerstack.cli.measure:ping_app", "Measure the round-trip time to a peer."),
    "perf": ("peerstack.cli.measure:perf_app", "Measure how fast bytes move to and from a peer."),
    "identify": ("peerstack.cli.ask:identify_app", "Ask a peer who it is and what it serves."),
    "explain": ("peerstack.cli.ask:explain_app", "Dial a peer and show every stage, and why it fails if it does."),
    "pubsub": ("peerstack.cli.app:pubsub", "Publish messages to topics and print those of others."),
    "chat": ("peerstack.cli.chat:app", "Chat in a room without a server."),
    "simulate": ("peerstack.cli.simulate:app", "Simulate whole networks in one process."),
    "swarm-key": ("peerstack.cli.swarm_key:app", "Make and show the keys of private networks."),
    "id": ("peerstack.cli.identity:app", "Make, show and convert keys and peer ids."),
}
"""Where each subcommand is; the module is imported when it is wanted."""


_VERBOSE = re.compile("-v+|--verbose")


def build() -> App:
    """Return the command with its subcommands."""
    app = App(
        name="peerstack",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        version_flags=["--version", "-V"],
        version=lambda: f"peerstack {version('peerstack')}",
        default_parameter=Parameter(negative=()),
        group_parameters=Group("Options"),
    )
    for order, (name, (path, text)) in enumerate(_COMMANDS.items()):
        app.command(path, name=name, help=text, sort_key=order)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run the subcommand that the arguments name and return its exit code."""
    app = build()
    try:
        command, bound, _ = app.parse_args(_verbose_last(arguments), print_error=False, exit_on_error=False)
    except CycloptsError as error:
        return _refuse(error, json_wanted="--json" in arguments)
    # The pages for --help and --version return nothing.
    return command(*bound.args, **bound.kwargs) or 0


def _verbose_last(arguments: Sequence[str]) -> list[str]:
    """Put each `-v` in front of the command behind it, where the options of commands are."""
    rest = list(arguments)
    verbose: list[str] = []
    while rest and _VERBOSE.fullmatch(rest[0]):
        verbose.append(rest.pop(0))
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *verbose, *rest[end:]]


def _refuse(error: CycloptsError, *, json_wanted: bool) -> int:
    from .failure import Failure
    from .mistyped import meant_command, meant_option
    from .output import Output

    page = " ".join(("peerstack", *(error.command_chain or ())))
    match error:
        case UnusedCliTokensError(unused_tokens=[*unused]):
            message = f"more arguments than expected: {' '.join(unused)}"
            if error.command_chain == ("chat",) and any(token.startswith("/") for token in unused):
                message += "; give an address with --peer to connect there, or with --listen"
        case UnknownOptionError():
            typed = error.token.keyword or error.token.value
            options = (name for each in error.argument_collection if each.parse for name in each.names)
            meant = meant_option(typed, options)
            message = f"Unknown option: {typed}.{f' Did you mean {meant}?' if meant else ''}"
        case UnknownCommandError(unused_tokens=[typed, *_]) if (
            meant := meant_command(typed)
        ) and not error.command_chain:
            message = f'Unknown command "{typed}". Did you mean "peerstack {meant}"?'
        case _:
            message = " ".join(str(error).split())
    Output(json=json_wanted).fail(Failure(f"{message} (see: {page} --help)"))
    return 2
