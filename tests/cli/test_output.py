"""What peers send cannot steer a terminal, drawing is for terminals only, and closed pipes are quiet."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys

import pytest
import trio

from peerstack.cli import entry, events
from peerstack.cli.failure import Failure, failure_of
from peerstack.cli.output import Output, OutputClosed, to_line
from peerstack.cli.render import describe
from peerstack.cli.shapes import Span, Style, Table, Tree, line, plain_lines, printable
from peerstack.cli.terminal import Terminal
from peerstack.stack.errors import DialError
from peerstack.stack.report import DialReport, Outcome, StageName

from .drive import COMMAND, Peer, Screen, cli, listening, serving

EVIL = "\x1b]0;title\x07\u202e[bold]\r\n\x9b31m\x7f"


def identified(agent: str) -> events.Identified:
    return events.Identified("12D3", agent, "ipfs/0.1.0", ("/a", EVIL), (), None, False)


# ---- what peers send


@pytest.mark.parametrize("screen", [Screen, io.StringIO])
def test_control_characters_of_peers_are_escaped(screen: type[io.StringIO]) -> None:
    out = screen()
    Output(json=False, stdout=out, stderr=io.StringIO()).emit(identified(EVIL))
    text = out.getvalue()
    assert "\\x1b]0;title\\x07\\u202e[bold]\\r\\n\\x9b31m\\x7f" in text.replace("│\n│            │ ", "")
    assert not {"\x07", "\u202e", "\r", "\x9b", "\x7f"} & set(text)


def test_the_json_form_is_ascii_without_control_characters() -> None:
    text = to_line(identified(EVIL))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["agent"] == EVIL


def test_a_lone_surrogate_can_be_printed() -> None:
    assert printable("a\udcffb") == "a\\udcffb"
    assert to_line(events.Lost(1, "\udcff")) == '{"event": "lost", "seq": 1, "reason": "\\udcff"}'


def test_a_peer_with_a_nasty_agent_is_shown_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerstack._open.checked_agent", lambda agent, default: agent or default)
    with serving(agent="nasty\x1b[31m agent\u202e") as peer:
        ran = cli("identify", peer.address)
    assert ran.code == 0
    assert all(text.isprintable() for text in ran.out.splitlines())


# ---- people and their terminals


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_tree_is_broken_between_words_only(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    address = "/ip6zone/eth0/ip6/fe80::1/tcp/4001/p2p/12D3KooWKuuqYue5DwRK2EDZkhpazjDziAEzumuk6pRXHQTKXsRj"
    advice = f"dial it at {address} instead, where it listens"
    out = Screen()
    Terminal(out).draw(Tree(line("dialed"), (Tree(line(Span("advice  ", Style.HINT), advice)), Tree(line("end")))))
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert set(advice.split()) <= {word for text in drawn for word in text.split()}
    assert drawn[0] == "dialed"
    assert drawn[1].startswith("├── advice  dial it")
    assert drawn[-1] == "└── end"
    assert all(len(text) <= max(columns, 24) or address in text for text in drawn)


def test_a_terminal_gets_tables_and_colours() -> None:
    out = Screen()
    Output(json=False, stdout=out, stderr=Screen()).emit(identified("agent/1"))
    assert "╭" in out.getvalue()
    assert "\x1b[36m" in out.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Screen()
    Output(json=False, stdout=out, stderr=Screen()).emit(identified("agent/1"))
    assert "╭" in out.getvalue()
    assert "\x1b[36m" not in out.getvalue()


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_without_a_capable_terminal_lines_are_plain(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    out = Screen() if term == "dumb" else io.StringIO()
    Output(json=False, stdout=out, stderr=io.StringIO()).emit(identified("agent/1"))
    assert out.getvalue().splitlines()[:2] == ["peer id     12D3", "agent       agent/1"]
    assert "\x1b" not in out.getvalue()


def test_addresses_are_not_broken_so_that_they_can_be_copied() -> None:
    address = "/ip4/127.0.0.1/tcp/4001/p2p/" + "x" * 80
    out = Screen()
    Output(json=False, stdout=out, stderr=Screen()).emit(events.Listening("12D3", (address,)))
    assert address in out.getvalue()


def test_a_listener_says_which_engines_it_uses() -> None:
    out = io.StringIO()
    Output(json=False, stdout=out, stderr=out).emit(events.Listening("12D3", ("/ip4/1.2.3.4",), {"quic-v1": "aioquic"}))
    assert out.getvalue().splitlines() == ["listening as 12D3", "   /ip4/1.2.3.4", "quic-v1 by aioquic"]


def test_hints_are_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    out = Screen()
    Output(json=False, stdout=out, stderr=Screen()).hint("press a key")
    Output(json=True).hint("press a key")
    Output(json=False).hint("press a key")
    assert "press a key" in out.getvalue()
    assert capsys.readouterr().out == ""


def test_a_transfer_draws_bars_on_a_terminal() -> None:
    err = Screen()
    with Output(json=False, stdout=Screen(), stderr=err).progress({"upload": 10, "download": 0}) as show:
        show("upload", 4)
        show("upload", 10)
    assert "upload" in err.getvalue()
    assert "━" in err.getvalue()
    assert "download" not in err.getvalue()


def test_a_transfer_tells_its_end_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with Output(json=True, stdout=out, stderr=Screen()).progress({"upload": 10, "download": 5}) as show:
        for name, done in (("upload", 4), ("upload", 10), ("download", 1), ("download", 5)):
            show(name, done)
    told = [json.loads(text) for text in out.getvalue().splitlines()]
    assert [(event["direction"], event["bytes"], event["total"]) for event in told] == [
        ("upload", 10, 10),
        ("download", 5, 5),
    ]


def test_a_long_transfer_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    out = io.StringIO()
    mib = 1024**2
    with Output(json=True, stdout=out).progress({"upload": 100 * mib}) as show:
        for now[0], done in ((0.5, 1 * mib), (2.0, 8 * mib), (2.5, 9 * mib), (10.0, 100 * mib)):
            show("upload", done)
    told = [json.loads(text) for text in out.getvalue().splitlines()]
    assert [(event["bytes"] // mib, event["mib_s"]) for event in told] == [(8, 4.0), (100, 10.0)]


def test_waiting_is_shown_on_terminals_only() -> None:
    screen, file = Screen(), io.StringIO()
    for err in (screen, file):
        with Output(json=False, stdout=io.StringIO(), stderr=err).working("dialing \x1b"):
            pass
    assert "dialing \\x1b" in screen.getvalue()
    assert file.getvalue() == ""


def test_the_demo_on_a_terminal_fits_80_columns() -> None:
    out, err = Screen(), Screen()
    ran = cli("demo", "--size", "1MiB", out=out, err=err)
    assert ran.code == 0
    seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", ran.out)
    assert ("╭" in seen, "└── security handshake" in seen) == (True, True)
    addresses = [text for text in seen.splitlines() if "/p2p/" in text and text.strip().startswith("/")]
    assert len(addresses) == 1
    assert max(len(text) for text in seen.splitlines() if text not in addresses) <= 80
    assert "1.0 of 1.0 MiB" in ran.err


def test_a_ping_on_a_terminal_shows_what_is_lost() -> None:
    out = Screen()
    output = Output(json=False, stdout=out, stderr=Screen())
    output.emit(events.Lost(3, "no answer"))
    output.emit(events.PingSummary(3, 2, events.RoundTrips(1.0, 1.5, 2.0)))
    assert "lost" in out.getvalue()
    assert "2 of 3" in out.getvalue()
    assert "1.500 ms" in out.getvalue()


# ---- every event has a look


def report() -> DialReport:
    found = DialReport("12D3", epoch=0.0, notes=["left out"])
    resolution = found.resolution("/dns4/x")
    with resolution.stage(StageName.RESOLVE):
        resolution.outcome = Outcome.OK
    attempt = found.attempt("/ip4/1.2.3.4/tcp/1")
    attempt.fail(StageName.CONNECT, ConnectionRefusedError(111, "Connection refused"))
    return found


async def test_a_report_is_a_tree_of_stages() -> None:
    told = events.Report(report(), None)
    lines = [text for shape in describe(told) for text in plain_lines(shape)]
    assert lines[0] == "could not reach 12D3"
    assert lines[1] == "resolving /dns4/x  ok"
    assert lines[2].split() == ["resolve", "0.0", "ms", "ok"]
    assert lines[3] == "/ip4/1.2.3.4/tcp/1  failed"
    assert [text.split()[0] for text in lines[5:7]] == ["error", "advice"]
    assert lines[5] == "    error     Connection refused"
    assert lines[-1] == "note  left out"


async def test_a_stage_that_has_not_ended_has_no_time() -> None:
    found = DialReport(None, epoch=0.0)
    attempt = found.attempt("/ip4/1.2.3.4/tcp/1")
    stage = attempt.stage(StageName.CONNECT)
    stage.__enter__()
    lines = [text for shape in describe(events.Report(found, "12D3")) for text in plain_lines(shape)]
    assert lines[0] == "reached 12D3"
    assert lines[2].split() == ["transport", "connect", "running"]


@pytest.mark.parametrize(
    ("told", "first"),
    [
        (events.Disconnected("12D3", None), "disconnected 12D3"),
        (events.Disconnected("12D3", "it broke"), "disconnected 12D3  it broke"),
        (events.Refused("/ip4/1.2.3.4/tcp/1", "no"), "refused /ip4/1.2.3.4/tcp/1  no"),
        (events.Stopped("/ip4/1.2.3.4/tcp/1", "gone"), "stopped /ip4/1.2.3.4/tcp/1  gone"),
        (events.Dropped(3), "3 more events came too fast to print"),
        (events.Introduced("12D3", "", "", (), (), None, False), "identified 12D3  an agent without a name"),
        (events.Lost(3, "late"), "   3  lost  late"),
        (events.Progress("upload", 2**20, 2**21, 1.5), "upload    1.0 of 2.0 MiB  1.5 MiB/s"),
        (events.Converted("12D3", "hex", "00ff"), "00ff"),
        (events.Exchanged("/x", "a", "b"), "   /x  sent 'a', received 'b'"),
    ],
)
def test_an_event_reads_as_a_line(told: events.OutputEvent, first: str) -> None:
    (shape,) = describe(told)
    assert list(plain_lines(shape)) == [first]


def test_a_ping_summary_without_answers_has_no_times() -> None:
    told = events.PingSummary(2, 0, events.RoundTrips(None, None, None))
    (shape,) = describe(told)
    assert list(plain_lines(shape)) == ["answered  0 of 2  2 lost"]


def test_an_event_without_a_text_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="no text for"):
        describe(events.Failed("x", None))


def test_shapes_are_drawn_plainly() -> None:
    table = Table((("a", line("1")), ("long", line(Span("2", Style.BAD), " 3 "))))
    assert list(plain_lines(table)) == ["a     1", "long  2 3"]
    assert list(plain_lines(Table(()))) == []
    assert list(plain_lines(Tree(line("a"), (Tree(line("b"), (Tree(line("c")),)),)))) == ["a", "  b", "    c"]


# ---- failures


def test_a_failure_is_one_line_whatever_its_text() -> None:
    assert failure_of(trio.TooSlowError()).message == "TooSlowError"
    assert failure_of(OSError(24, "Too many open files")).message == "Too many open files"
    assert failure_of(PermissionError(13, "Permission denied", "/x")).message == "/x: Permission denied"
    assert failure_of(trio.BrokenResourceError("two\nlines")).message == "two lines"


async def test_the_advice_is_that_of_the_failure_in_the_summary() -> None:
    found = failure_of(report().error())
    assert found.message.endswith("; nothing listens there: is the peer running, and is the address right?")
    assert found.report is not None
    without = DialReport(None, epoch=0.0)
    stage = without.attempt("/ip4/1.2.3.4/tcp/1").stage(StageName.CONNECT)
    with pytest.raises(OSError, match="odd"), stage as recorded:
        raise OSError("odd")
    recorded.advice = None
    assert failure_of(DialError("no", without)).message == "no; `peerstack explain ADDRESS` shows every stage"


async def test_of_several_failures_the_one_that_came_furthest_is_shown_with_its_advice() -> None:
    found = DialReport(None, epoch=0.0)
    found.attempt("/ip4/1.2.3.4/tcp/1").fail(StageName.CONNECT, ConnectionRefusedError(111, "Connection refused"))
    silent = found.attempt("/ip4/1.2.3.4/tcp/2")
    with silent.stage(StageName.CONNECT):
        pass
    silent.fail(StageName.SECURITY_NEGOTIATION, trio.TooSlowError("no answer within 5 s"))
    message = failure_of(found.error()).message
    assert "/tcp/2: security negotiation: no answer within 5 s" in message
    assert message.endswith("; the port accepts but stays silent: is it a libp2p port?")


# ---- streams that are closed


class ClosedPipe(io.StringIO):
    """A pipe without a reader."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_output_without_a_reader_says_so_but_a_failure_does_not() -> None:
    output = Output(json=True, stdout=ClosedPipe(), stderr=ClosedPipe())
    with pytest.raises(OutputClosed):
        output.emit(events.Lost(1, "x"))
    output.fail(Failure("it is not read"))


def test_a_command_whose_reader_is_gone_ends_quietly(peer: Peer) -> None:
    ran = cli("ping", peer.address, "--json", out=ClosedPipe())
    assert (ran.code, ran.err) == (141, "")


@pytest.mark.parametrize("arguments", [["id", "new"], ["id", "new", "--json"], ["demo", "--size", "1", "--json"]])
def test_a_closed_pipe_is_quiet(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        ran = subprocess.run((*COMMAND, *arguments), stdout=closed, stderr=subprocess.PIPE, check=False)
    assert (ran.returncode, ran.stderr) == (141, b"")


def test_a_pipe_that_is_closed_while_peers_come_is_quiet() -> None:
    with listening() as (process, first):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        cli("ping", first["addresses"][0], "--count", "1")
        assert process.wait(timeout=30) == 141
        assert process.stderr.read() == ""


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-"])
def test_standard_streams_that_are_closed_from_the_start_do_no_harm(redirect: str) -> None:
    ran = subprocess.run(
        ["sh", "-c", f'"$@" {redirect}', "sh", *COMMAND, "id", "show", "nothing", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def test_a_full_disk_is_one_line() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        ran = subprocess.run((*COMMAND, "id", "new"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == "peerstack: No space left on device\n"


# ---- the extra that brings all this


@pytest.mark.parametrize("missing", ["rich", "cyclopts"])
@pytest.mark.parametrize("json_wanted", [False, True])
def test_without_its_extra_the_command_says_how_to_get_it(missing: str, json_wanted: bool) -> None:
    arguments = ["demo"] + ["--json"] * json_wanted
    program = (
        f"import sys; sys.modules[{missing!r}] = None\nfrom peerstack.cli import main\nsys.exit(main({arguments}))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    message = f"the command needs {missing}; run: pip install '.[cli]' in a clone of peerstack"
    assert (ran.returncode, ran.stderr) == (2, f"peerstack: {message}\n")
    error = {"event": "error", "message": message, "report": None}
    assert [json.loads(text) for text in ran.stdout.splitlines()] == [error] * json_wanted


def test_all_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "EXTRA", ("no_such_a", "no_such_b"))
    ran = cli("demo", "--json")
    assert ran.code == 2
    assert "needs no_such_a and no_such_b; run: pip install" in ran.events[0]["message"]


class Unread(io.StringIO):
    """The error of a pipe without a reader, as each system has it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        raise OSError(self._number, "closed")


@pytest.mark.parametrize(("system", "number"), [("linux", errno.EPIPE), ("win32", errno.EINVAL)])
def test_a_pipe_without_a_reader_is_known(system: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(OutputClosed):
        Output(json=True, stdout=Unread(number)).emit(identified(""))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(OSError, match="closed"):
        Output(json=True, stdout=Unread(errno.EINVAL)).emit(identified(""))
