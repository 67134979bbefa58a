"""Unix sockets: their files and who may open them, stale ones, paths too long, and hosts that use them."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from peerstack import DialError, Identity, open_host, ping
from peerstack.stack.abc import StreamTransport
from peerstack.stack.addressing import parse_address
from peerstack.stack.addressing.reach import is_loopback, is_private, is_public
from peerstack.stack.errors import InvalidAddress
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.unix import UnixTransport
from peerstack.transports.unix.address import MAX_PATH, unix_address, unix_path

if sys.platform == "win32":
    pytest.skip("Python has no unix sockets on Windows", allow_module_level=True)
assert sys.platform != "win32"

UNIX = UnixTransport()


# ---- addresses


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/unix/run/app.sock", "/run/app.sock"),
        ("/unix/%2Frun%2Fapp.sock", "/run/app.sock"),
        ("/unix/tmp/a%20b.sock", "/tmp/a b.sock"),
        ("/unix/tmp/caf%C3%A9/p2p/x", "/tmp/café/p2p/x"),
        ("/ip4/127.0.0.1/tcp/1", None),
        ("/memory/1", None),
    ],
)
def test_the_path_in_an_address(text: str, path: str | None) -> None:
    address = parse_address(text)
    assert unix_path(address) == path
    assert UNIX.can_dial(address) is UNIX.can_listen(address) is (path is not None)
    if path is not None:
        assert unix_address(path) == address


def test_it_stays_on_this_machine() -> None:
    address = parse_address("/unix/run/app.sock")
    assert (is_loopback(address), is_private(address), is_public(address)) == (True, True, False)


async def test_other_addresses_and_long_paths_are_refused_in_one_line(tmp_path: Path) -> None:
    long = unix_address("/" + "x" * MAX_PATH)
    for use in (UNIX.dial, UNIX.listen):
        with pytest.raises(InvalidAddress, match=r"not the address of a unix socket such as /unix/run/app\.sock"):
            await use(parse_address("/ip4/127.0.0.1/tcp/1"))
        with pytest.raises(InvalidAddress, match=f"has at most {MAX_PATH} bytes, that of {long} has {MAX_PATH + 1}"):
            await use(long)


async def test_the_longest_path(tmp_path: Path) -> None:
    path = f"{tmp_path}/".ljust(MAX_PATH, "x")
    async with await UNIX.listen(unix_address(path)) as listener:
        await (await UNIX.dial(listener.address)).stream.aclose()
        await (await listener.accept()).stream.aclose()


# ---- files


@pytest.mark.parametrize("mode", [0o600, 0o660])
async def test_only_who_may_open_the_file_may_connect(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    transport = UNIX if mode == 0o600 else UnixTransport(mode=mode)
    umask = os.umask(0)
    try:
        async with await transport.listen(unix_address(str(path))):
            status = path.stat()
            assert stat.S_ISSOCK(status.st_mode)
            assert stat.S_IMODE(status.st_mode) == mode
    finally:
        os.umask(umask)
    assert not path.exists()


async def test_a_file_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with await UNIX.listen(unix_address(str(path))) as listener:
        await (await UNIX.dial(listener.address)).stream.aclose()


@pytest.mark.parametrize("kind", ["file", "folder", "link to a file"])
async def test_what_is_no_socket_is_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case _:
            (tmp_path / "precious").write_text("precious")
            path.symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"cannot listen on /unix/.*app\.sock: Address already in use") as caught:
        await UNIX.listen(unix_address(str(path)))
    assert caught.value.errno == errno.EADDRINUSE
    assert path.exists()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot listen on .*: No such file or directory"):
        await UNIX.listen(unix_address(f"{tmp_path}/none/app.sock"))


async def test_a_listener_leaves_the_file_of_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    old = await UNIX.listen(unix_address(str(path)))
    path.unlink()
    async with await UNIX.listen(unix_address(str(path))) as fresh:
        await old.aclose()
        await (await UNIX.dial(fresh.address)).stream.aclose()
    assert not path.exists()


async def test_where_there_is_no_socket_the_dial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError, match="there is no socket at"):
        await UNIX.dial(unix_address(f"{tmp_path}/none.sock"))
    (tmp_path / "file").write_text("no socket")
    with pytest.raises(ConnectionRefusedError, match=r"Connection refused: .*/file"):
        await UNIX.dial(unix_address(f"{tmp_path}/file"))


async def test_a_dial_waits_while_the_backlog_is_full(tmp_path: Path) -> None:
    path = f"{tmp_path}/app.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        first = await UNIX.dial(unix_address(path))
        async with trio.open_nursery() as nursery:

            async def dial() -> None:
                await (await UNIX.dial(unix_address(path))).stream.aclose()
                nursery.cancel_scope.cancel()

            nursery.start_soon(dial)
            await trio.testing.wait_all_tasks_blocked()
            assert not nursery.cancel_scope.cancel_called
            busy.accept()[0].close()
            await trio.sleep_forever()
        await first.stream.aclose()


# ---- hosts


async def test_hosts_meet_over_tcp_and_unix(tmp_path: Path) -> None:
    path, identity = tmp_path / "app.sock", Identity.generate()
    both: list[StreamTransport] = [TcpTransport(), UnixTransport()]
    async with (
        open_host(identity=identity, transports=both, listen=["/ip4/127.0.0.1/tcp/0", f"/unix{path}"]) as alice,
        open_host(transports=both) as bob,
        open_host(transports=both) as carol,
    ):
        tcp, unix = alice.addresses
        assert str(tcp).endswith(f"/p2p/{alice.peer_id}")
        assert str(unix) == f"/unix{path}"  # nothing can follow a path
        assert await bob.connect(unix) == alice.peer_id
        assert await carol.connect(tcp) == alice.peer_id
        (connection,) = bob.connections()
        assert connection.info.remote_address == unix
        assert await ping(bob, alice.peer_id) >= 0
        assert [str(address) for address in await alice.listen(f"/unix{path}2")] == [f"/unix{path}2"]
    assert os.listdir(tmp_path) == []


async def test_the_peer_behind_a_path_can_be_named_beside_it(tmp_path: Path) -> None:
    async with (
        open_host(transports=[UnixTransport()], listen=[f"/unix{tmp_path}/app.sock"]) as alice,
        open_host(transports=[UnixTransport()]) as bob,
    ):
        with pytest.raises(DialError, match="expected peer"):
            await bob.connect(Identity.generate().peer_id, *alice.addresses)
        assert await bob.connect(alice.peer_id, *alice.addresses) == alice.peer_id


async def test_identify_does_not_tell_the_path(tmp_path: Path) -> None:
    transports: list[StreamTransport] = [TcpTransport(), UnixTransport()]
    path = f"/unix{tmp_path}/app.sock"
    async with (
        open_host(listen=["/ip4/127.0.0.1/tcp/0", path], transports=transports) as alice,
        open_host(transports=[TcpTransport()]) as bob,
    ):
        assert len(alice.addresses) == 2
        peer = await bob.connect(alice.addresses[0])
        assert bob.peerstore.addresses(peer)
        assert all("unix" not in str(address) for address in bob.peerstore.addresses(peer))


async def test_no_peer_is_seen_at_the_path(tmp_path: Path) -> None:
    async with (
        open_host(listen=[f"/unix{tmp_path}/app.sock"], transports=[UnixTransport()]) as alice,
        open_host(transports=[UnixTransport()]) as bob,
    ):
        await bob.connect(*alice.addresses)
        (connection,) = alice.swarm.connections(bob.peer_id)
        await connection.identified.wait()
        assert alice.peerstore.agent(bob.peer_id)
        assert bob.peerstore.observed(alice.peer_id) is None
        assert alice.peerstore.observed(bob.peer_id) is None
