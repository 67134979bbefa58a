"""Turns an error into one line that says what happened and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio

from peerstack.stack.errors import DialError, NegotiationError, StackError
from peerstack.stack.report import DialReport

from .units import without_number

FAILURES = (StackError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)
"""Errors that are not bugs."""
_UNTRUSTED = "the certificate is not trusted: "
_EXTRA = "pip install '.["


class CommandError(Exception):
    """The command cannot do what was asked; the message is complete."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command failed, in one line, and the report of the dial if it came to one."""

    message: str
    report: dict[str, Any] | None = None


def failure_of(error: Exception) -> Failure:
    """Return the event for an error."""
    match error:
        case DialError(report=report):
            add_advice(report)
            return Failure(_one_line(_join(str(error), advice(report) or "")), report.to_json())
        case NegotiationError():
            return Failure(_one_line(_join(str(error), "`peerstack identify ADDRESS` lists what the peer serves")))
        case OSError(strerror=str(reason), filename=str(name)):
            return Failure(_one_line(f"{name}: {reason}"))
        case _:
            return Failure(_one_line(str(error) or type(error).__name__))


def advice(report: DialReport) -> str | None:
    """Return the advice of the report for the failure that its summary names; None if its notes say it all."""
    if report.telling is None:
        return None if report.notes else "give an address of it, such as /ip4/127.0.0.1/tcp/4001"
    _, stage = report.telling
    return stage.advice or "`peerstack explain ADDRESS` shows every stage"


_OPTIONS = {
    "the same swarm.key": "--swarm-key FILE",
    "in a private network": "--swarm-key",
}
"""Which options are meant by what the library advises."""


def add_advice(report: DialReport) -> None:
    """Advise in a report what is not in the library: options of the command, and extras."""
    for attempt in report.attempts:
        for stage in attempt.stages:
            for words, option in _OPTIONS.items():
                stage.advice = stage.advice and stage.advice.replace(words, f"{words} ({option})")
            if _EXTRA in (stage.error or ""):
                stage.advice = "install it where this command runs, and try again"
                continue
            _, found, problem = (stage.error or "").partition(_UNTRUSTED)
            if found and ("signed" in problem or "issuer" in problem):
                stage.advice = "if it is the right one, trust it or its issuer with --ca FILE"
            elif found and "mismatch" in problem:
                stage.advice = "put the name it is for in the address: /tls/sni/NAME/ws"


def _join(what: str, next_step: str) -> str:
    return f"{what.rstrip('.')}; {next_step}" if next_step else what


def _one_line(text: str) -> str:
    return " ".join(without_number(text).split())
