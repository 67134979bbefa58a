"""Dials from the port that is listened on, over real loopback."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import DialOptions, Direction, RawConnection
from peerstack.transports.tcp import TcpListener, TcpPipe, TcpTransport

if not hasattr(socket, "SO_REUSEPORT"):
    pytest.skip("this system cannot share ports", allow_module_level=True)

FROM_LISTENER = DialOptions(from_listener=True)
SERVE = DialOptions(from_listener=True, direction=Direction.INBOUND)
LOOPBACK = ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0", "/ip4/0.0.0.0/tcp/0"]


def port(address: Multiaddr) -> str | None:
    return address.value_for_protocol("tcp")


def on_loopback(listener: TcpListener) -> Multiaddr:
    return Multiaddr(str(listener.address).replace("0.0.0.0", "127.0.0.1"))


async def close(*connections: RawConnection) -> None:
    for connection in connections:
        assert isinstance(connection.stream, TcpPipe)
        # A reset, so that no address is left in TIME_WAIT.
        connection.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await connection.stream.aclose()


@pytest.mark.parametrize("address", LOOPBACK)
async def test_a_peer_sees_the_port_that_is_listened_on(address: str) -> None:
    ours = TcpTransport(reuse_port=True)
    async with await ours.listen(Multiaddr(address)) as here, await TcpTransport().listen(Multiaddr(address)) as there:
        dialed = await ours.dial(on_loopback(there))
        accepted = await there.accept()
        assert port(accepted.remote_address) == port(here.address) == port(dialed.local_address)
        second = await ours.dial(on_loopback(there))  # the port is connected there already
        accepted_second = await there.accept()
        assert port(accepted_second.remote_address) != port(here.address)
        await close(dialed, second, accepted, accepted_second)


@pytest.mark.parametrize("address", LOOPBACK)
async def test_one_dial_may_ask_for_it(address: str) -> None:
    ours = TcpTransport()
    async with await ours.listen(Multiaddr(address)) as here, await TcpTransport().listen(Multiaddr(address)) as there:
        dialed = await ours.dial(on_loopback(there), FROM_LISTENER)
        accepted = await there.accept()
        assert port(accepted.remote_address) == port(here.address) == port(dialed.local_address)
        await close(dialed, accepted)


async def test_without_a_listener_the_system_chooses_a_port() -> None:
    async with await TcpTransport().listen(Multiaddr(LOOPBACK[0])) as there:
        dialed = await TcpTransport().dial(there.address, FROM_LISTENER)
        accepted = await there.accept()
        await close(dialed, accepted)


async def test_a_dial_as_the_server_leaves_from_no_other_port() -> None:
    ours = TcpTransport()
    any_port = Multiaddr(LOOPBACK[0])
    async with await ours.listen(any_port), await TcpTransport().listen(any_port) as there:
        dialed = await ours.dial(there.address, SERVE)
        accepted = await there.accept()
        with pytest.raises(OSError, match="connected there already"):
            await ours.dial(there.address, SERVE)
        await close(dialed, accepted)


@pytest.mark.parametrize("options", [FROM_LISTENER, SERVE])
async def test_where_that_port_cannot_be_used_only_a_server_gives_up(
    options: DialOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, any_port = TcpTransport(), Multiaddr(LOOPBACK[0])

    def refuse(listener: TcpListener, sock: socket.socket) -> None:
        raise OSError(errno.EACCES, "not from there")

    monkeypatch.setattr(TcpListener, "lend_port", refuse)
    async with await ours.listen(any_port), await TcpTransport().listen(any_port) as there:
        if options is SERVE:
            with pytest.raises(OSError, match="not from there"):
                await ours.dial(there.address, options)
        else:
            dialed = await ours.dial(there.address, options)
            await close(dialed, await there.accept())


async def test_by_default_the_system_chooses_a_port() -> None:
    ours = TcpTransport()
    any_port = Multiaddr(LOOPBACK[0])
    async with await ours.listen(any_port) as here, await TcpTransport().listen(any_port) as there:
        dialed = await ours.dial(there.address)
        assert port(dialed.local_address) != port(here.address)
        await close(dialed)


@pytest.mark.parametrize("address", LOOPBACK)
async def test_a_host_that_dials_itself_does_not_meet_its_own_socket(address: str) -> None:
    ours = TcpTransport(reuse_port=True)
    async with await ours.listen(Multiaddr(address)) as here:
        with trio.fail_after(5):
            dialed = await ours.dial(on_loopback(here))
            accepted = await here.accept()
        assert port(dialed.local_address) != port(here.address)
        await close(dialed, accepted)


async def test_other_programs_get_no_part_of_the_port() -> None:
    """Such as kubo, which asks for a part in every port that it listens on."""
    ours = TcpTransport()
    async with await ours.listen(Multiaddr(LOOPBACK[0])) as here:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="Address already in use"):
                other.bind(here.name)


async def test_a_shared_port_has_one_listener_all_the_same() -> None:
    ours, other = TcpTransport(reuse_port=True), TcpTransport(reuse_port=True)
    async with await ours.listen(Multiaddr(LOOPBACK[0])) as here:
        with pytest.raises(OSError, match="Address already in use"):
            await other.listen(here.address)


async def test_a_port_is_dialed_from_only_while_it_is_listened_on() -> None:
    ours = TcpTransport(reuse_port=True)
    async with await TcpTransport().listen(Multiaddr(LOOPBACK[0])) as there:
        here = await ours.listen(Multiaddr(LOOPBACK[0]))
        first = await ours.dial(there.address)
        await here.aclose()
        second = await ours.dial(there.address)
        assert port(second.local_address) != port(here.address)
        again = await ours.listen(here.address)  # while the connection from it goes on
        await again.aclose()
        await close(first, second)
