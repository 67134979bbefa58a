"""The TCP transport: which addresses it takes, what errors say, and listeners that survive what arrives."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
import trio
import trio.testing

from peerstack.stack.addressing import parse_address, tcp_endpoint
from peerstack.stack.errors import InvalidAddress
from peerstack.transports.tcp import TcpListener, TcpTransport

LOOPBACK = parse_address("/ip4/127.0.0.1/tcp/0")


@pytest.mark.parametrize(
    ("address", "dial", "listen"),
    [
        ("/ip4/127.0.0.1/tcp/4001", True, True),
        ("/ip4/127.0.0.1/tcp/0", False, True),
        ("/ip6/::1/tcp/4001", True, True),
        ("/ip6zone/lo/ip6/fe80::1/tcp/4001", True, True),
        ("/dns4/example.com/tcp/4001", False, False),
        ("/ip4/127.0.0.1/tcp/4001/ws", False, False),
        ("/ip4/127.0.0.1/udp/4001", False, False),
        ("/memory/1", False, False),
    ],
)
def test_it_takes_plain_tcp_with_known_addresses(address: str, dial: bool, listen: bool) -> None:
    transport = TcpTransport()
    assert transport.can_dial(parse_address(address)) is dial
    assert transport.can_listen(parse_address(address)) is listen


@pytest.mark.parametrize("address", ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"])
async def test_both_ends_know_both_addresses(address: str) -> None:
    transport = TcpTransport()
    listener = await transport.listen(parse_address(address))
    dialed = await transport.dial(listener.address)
    accepted = await listener.accept()
    assert dialed.remote_address == listener.address == accepted.local_address
    assert dialed.local_address == accepted.remote_address
    for end in (dialed.stream, accepted.stream, listener):
        await end.aclose()


async def test_small_writes_leave_at_once() -> None:
    transport = TcpTransport()
    listener = await transport.listen(LOOPBACK)
    raw = await transport.dial(listener.address)
    pipe = raw.stream
    assert pipe.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[attr-defined] # a TcpPipe
    await pipe.aclose()
    await listener.aclose()


async def test_a_port_without_a_listener_refuses() -> None:
    transport = TcpTransport()
    listener = await transport.listen(LOOPBACK)
    await listener.aclose()
    with pytest.raises(ConnectionRefusedError):
        await transport.dial(listener.address)


async def test_a_port_in_use_names_the_address() -> None:
    transport = TcpTransport()
    listener = await transport.listen(LOOPBACK)
    with pytest.raises(OSError, match=f"cannot listen on {listener.address}: Address already in use") as caught:
        await transport.listen(listener.address)
    assert caught.value.errno == errno.EADDRINUSE
    await listener.aclose()


async def test_a_port_is_free_again_when_its_listener_closes() -> None:
    transport = TcpTransport()
    first = await transport.listen(LOOPBACK)
    raw = await transport.dial(first.address)
    accepted = await first.accept()
    await accepted.stream.aclose()  # leaves TIME_WAIT on the listener's port
    await first.aclose()
    second = await transport.listen(first.address)
    assert second.address == first.address
    await raw.stream.aclose()
    await second.aclose()


@pytest.mark.parametrize("call", ["dial", "listen"])
async def test_other_addresses_are_refused_with_an_example(call: str) -> None:
    transport = TcpTransport()
    method = transport.dial if call == "dial" else transport.listen
    with pytest.raises(InvalidAddress, match=r"such as /ip4/127\.0\.0\.1/tcp/4001"):
        await method(parse_address("/dns4/example.com/tcp/1"))


async def test_an_unknown_interface_is_named() -> None:
    with pytest.raises(InvalidAddress, match="no network interface 'nonesuch' here, only: lo"):
        await TcpTransport().dial(parse_address("/ip6zone/nonesuch/ip6/fe80::1/tcp/1"))


@pytest.mark.parametrize("zone", ["lo", "1"])
async def test_interfaces_are_known_by_name_and_number(zone: str) -> None:
    # No host has this address: the kernel answers at once, and not about the interface.
    with pytest.raises(OSError, match=r".") as caught:
        await TcpTransport().dial(parse_address(f"/ip6zone/{zone}/ip6/fe80::1234/tcp/1"))
    assert not isinstance(caught.value, InvalidAddress)


async def test_a_cancelled_dial_leaves_no_socket() -> None:
    transport = TcpTransport()
    listener = await transport.listen(LOOPBACK)
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.dial(listener.address)
    assert scope.cancelled_caught
    await listener.aclose()


async def test_a_closed_listener_says_so_to_who_waits() -> None:
    listener = await TcpTransport().listen(LOOPBACK)

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    await listener.aclose()


async def test_who_resets_before_being_accepted_does_not_end_the_listener() -> None:
    transport = TcpTransport()
    listener = await transport.listen(LOOPBACK)
    endpoint = tcp_endpoint(listener.address)
    assert endpoint is not None
    with socket.create_connection((endpoint.host, endpoint.port)) as rude:
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw = await transport.dial(listener.address)
    accepted = await listener.accept()
    while accepted.remote_address != raw.local_address:
        await accepted.stream.aclose()
        accepted = await listener.accept()
    await raw.stream.send_all(b"hello")
    assert await accepted.stream.receive_some() == b"hello"
    for end in (raw.stream, accepted.stream, listener):
        await end.aclose()


class FailingSocket:
    """A listening socket whose `accept` fails first as the kernel would."""

    def __init__(self, sock: socket.socket, errors: list[int]) -> None:
        self._sock = sock
        self._errors = errors

    def accept(self) -> tuple[socket.socket, object]:
        if self._errors:
            raise OSError(self._errors.pop(0), "as told")
        return self._sock.accept()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


async def failing_listener(*errors: int) -> TcpListener:
    listener = await TcpTransport().listen(LOOPBACK)
    listener._socket = FailingSocket(listener._socket, list(errors))  # type: ignore[assignment] # a stand-in
    return listener


async def test_running_out_of_files_is_waited_out(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener = await failing_listener(errno.EMFILE, errno.ENFILE)
    raw = await TcpTransport().dial(listener.address)
    accepted = await listener.accept()
    assert trio.current_time() == pytest.approx(0.2)
    for end in (raw.stream, accepted.stream, listener):
        await end.aclose()


async def test_running_out_of_files_again_and_again_writes_two_lines_a_minute(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A process at its limit runs out again with every file that it closes."""
    listener = await failing_listener()
    errors = listener._socket._errors  # type: ignore[attr-defined]
    for _ in range(5):
        errors += [errno.EMFILE] * 10
        raw = await TcpTransport().dial(listener.address)
        accepted = await listener.accept()
        await raw.stream.aclose()
        await accepted.stream.aclose()
    short, again = (f"cannot accept on {listener.address}", f"accepting on {listener.address} again")
    assert [short in caplog.messages[0], again in caplog.messages[1], len(caplog.messages)] == [True, True, 2]
    await trio.sleep(60)
    errors += [errno.EMFILE]
    raw = await TcpTransport().dial(listener.address)
    accepted = await listener.accept()
    assert len(caplog.messages) == 4
    for end in (raw.stream, accepted.stream, listener):
        await end.aclose()


async def test_a_listener_that_is_closed_while_a_connection_arrives_was_closed() -> None:
    """The task is woken by the arrival, and another closes the socket before it has its turn."""
    listener = await failing_listener(errno.EBADF)
    raw = await TcpTransport().dial(listener.address)

    async def wait_readable() -> None:
        await trio.lowlevel.checkpoint()
        await listener.aclose()

    listener._wait = wait_readable  # type: ignore[method-assign]
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    await raw.stream.aclose()


async def test_an_arrival_that_vanished_is_passed_over() -> None:
    listener = await failing_listener(errno.ECONNABORTED, errno.EAGAIN)
    raw = await TcpTransport().dial(listener.address)
    accepted = await listener.accept()
    for end in (raw.stream, accepted.stream, listener):
        await end.aclose()


async def test_a_broken_listener_does_not_spin() -> None:
    listener = await failing_listener(errno.EINVAL)
    raw = await TcpTransport().dial(listener.address)
    with pytest.raises(OSError, match="as told"):
        await listener.accept()
    await raw.stream.aclose()
    await listener.aclose()


class Forgetful:
    """A listening socket of macOS, which accepts what was reset meanwhile and has no address for it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self.forgets = sock, 1

    def accept(self) -> tuple[socket.socket, object]:
        sock, remote = self._sock.accept()
        self.forgets -= 1
        return sock, remote if self.forgets < 0 else None

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


async def test_a_connection_without_an_address_costs_no_other() -> None:
    transport = TcpTransport()
    async with await transport.listen(parse_address("/ip4/127.0.0.1/tcp/0")) as listener:
        listener._socket = Forgetful(listener._socket)  # type: ignore[assignment]  # a stand-in for the kernel
        gone = await transport.dial(listener.address)
        here = await transport.dial(listener.address)
        raw = await listener.accept()
        assert raw.remote_address == here.local_address
        assert await gone.stream.receive_some() == b""
        for end in (gone, here, raw):
            await end.stream.aclose()
