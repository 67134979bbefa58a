"""What was meant by an option or a command that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_OPTIONS = {
    "--announce": ("external", "public", "advertise"),
    "--ca": ("ca-cert", "ca-file", "cafile"),
    "--cert-key": ("tls-key", "certkey"),
    "--count": ("number", "times", "repeat", "n"),
    "--duration": ("seconds", "time"),
    "--identity": ("key", "private-key", "key-file", "keyfile", "id", "id-file"),
    "--interval": ("every", "period", "delay"),
    "--listen": ("port", "bind", "addr", "address", "host", "on"),
    "--name": ("nick", "nickname", "user", "username", "alias", "as", "n"),
    "--peer": ("peers", "connect", "dial", "bootstrap", "to", "join"),
    "--swarm-key": ("psk", "pnet", "network-key"),
    "--timeout": ("patience",),
    "--verbose": ("debug", "log", "log-level"),
    "--wait": ("timeout", "patience"),
}
"""What other programs call options, without dashes."""
_COMMANDS = {
    "pubsub subscribe": ("subscribe", "sub"),
    "pubsub publish": ("publish", "pub"),
    "listen": ("serve", "server", "daemon", "run", "start", "node"),
    "explain": ("dial", "connect", "trace", "debug"),
    "simulate gossip": ("gossip",),
    "id new": ("keygen", "key", "genkey", "generate"),
}
_LONG = "--"


def meant_option(typed: str, options: Iterable[str]) -> str | None:
    """Return which of a command's options was most likely meant by one that it has not."""
    known = [option for option in options if option.startswith(_LONG)]
    name = typed.partition("=")[0].lstrip("-").lower().replace("_", "-")
    for option, others in _OPTIONS.items():
        if name in others and option in known:
            return option
    # Without the dashes, which all have in common.
    near = get_close_matches(name, [option.removeprefix(_LONG) for option in known], 1, 0.7)
    return _LONG + near[0] if near else None


def meant_command(typed: str) -> str | None:
    """Return which command is known by another name elsewhere."""
    return next((command for command, others in _COMMANDS.items() if typed.lower() in others), None)
