"""Hosts as on another system: `python elsewhere.py darwin|win32` hides what only Linux has, then imports peerstack.

What can be hidden is: names of modules, methods and options of sockets, and what the system calls answer. Trio runs
as on Linux, so that what it does itself on those systems is not seen here.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import trio

LIBRARIES = """
OpenSSL.SSL aioquic.quic.connection aioquic.quic.configuration aioquic.h3.connection asyncio.subprocess
cyclopts cryptography.x509 cryptography.hazmat.primitives.asymmetric.rsa dns.resolver dns.asyncresolver
msgspec multiaddr multiaddr.protocols netaddr psutil rich.console rich.live rich.progress rich.table
rich.text urwid websockets.client websockets.server google.protobuf.message Crypto.Cipher.Salsa20
nacl.bindings subprocess concurrent.futures.process multiprocessing.context logging.handlers
"""
"""They look at the system when they are imported, and are not what is tried here."""

UNIX_ONLY = {
    socket: "AF_UNIX SO_REUSEPORT SCM_RIGHTS CMSG_LEN CMSG_SPACE",
    os: "chown fchmod fchown fork forkpty geteuid getgid getloadavg getuid getpgid killpg lchown mkfifo nice openpty "
    "pread pwrite readv setsid setuid statvfs sysconf uname wait3 writev O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW "
    "O_NONBLOCK",
    signal: "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH "
    "alarm pause pthread_kill pthread_sigmask setitimer sigwait",
    errno: "ENONET ESHUTDOWN ENOTBLK",
}
LINUX_ONLY = {
    socket: "SOCK_CLOEXEC SOCK_NONBLOCK AF_ALG AF_CAN AF_NETLINK AF_PACKET AF_VSOCK SO_BINDTODEVICE SO_DOMAIN SO_MARK "
    "SO_PROTOCOL SO_PEERSEC IP_RECVERR IP_MTU_DISCOVER MSG_ERRQUEUE MSG_NOSIGNAL TCP_QUICKACK TCP_USER_TIMEOUT",
    os: "eventfd getrandom memfd_create pipe2 posix_fadvise posix_fallocate preadv2 sched_getaffinity splice "
    "O_DIRECT O_NOATIME O_PATH O_TMPFILE",
    signal: "SIGPWR SIGRTMAX SIGRTMIN SIGSTKFLT pidfd_send_signal",
    errno: "ENONET EREMOTEIO ENOMEDIUM",
}
UNIX_MODULES = ["fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"]
MAX_DATAGRAM = 9216
SIZE = 600_000
LARGEST_BUFFER = 1024 * 1024
LINUX_OPTIONS = {(0, 10), (0, 11), (41, 23), (41, 25), (17, 103), (17, 104)}
OTHERS_OPTIONS = {(0, 28), (41, 62), (0, 14), (41, 14)}
BUFFERS = (socket.SO_RCVBUF, socket.SO_SNDBUF)


class Socket(socket.socket):
    """Refuses what the other system does."""

    def setsockopt(self, *choice: Any) -> None:
        """Linux takes any size of a buffer and cuts it; the others have other options."""
        level, option, value = choice[:3]
        assert (level, option) not in LINUX_OPTIONS, f"an option of Linux: {choice}"
        if level == socket.SOL_SOCKET and option in BUFFERS and value > LARGEST_BUFFER:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        if (level, option) not in OTHERS_OPTIONS:
            super().setsockopt(*choice)

    def sendto(self, data: Any, *rest: Any) -> int:
        """Of large datagrams macOS takes none, not even on loopback."""
        if self.type == socket.SOCK_DGRAM and len(data) > MAX_DATAGRAM:
            REFUSED.append(len(data))
            raise OSError(errno.EMSGSIZE, "Message too long")
        return super().sendto(data, *rest)


class WindowsSocket(Socket):
    """Has no ancillary data, either."""

    def __getattribute__(self, name: str) -> Any:
        """Hide the methods."""
        if name in ("sendmsg", "recvmsg", "recvmsg_into", "sendmsg_afalg"):
            raise AttributeError(name)
        return super().__getattribute__(name)


REFUSED: list[int] = []
"""Bytes of the datagrams that were too large."""


def change(module: object, name: str, value: object) -> None:
    """Give a module something else by this name, of whatever type."""
    setattr(module, name, value)


def hide(system: str) -> None:
    """Become the other system, as far as that goes."""
    for library in LIBRARIES.split():
        import_module(library)
    change(socket, "socketpair", partial(socket.socketpair, getattr(socket, "AF_UNIX", 1)))  # Trio's own
    for names in (LINUX_ONLY, UNIX_ONLY if system == "win32" else {}):
        for module, listed in names.items():
            for name in listed.split():
                if hasattr(module, name):
                    delattr(module, name)
    if system == "win32":
        for module_name in UNIX_MODULES:
            sys.modules[module_name] = None  # type: ignore[assignment]  # an import of it fails
        change(signal, "SIGBREAK", signal.SIGTERM)
        change(ctypes, "FormatError", lambda number: f"the system's words for {number}. ")
        change(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        real = ctypes.CDLL
        change(ctypes, "CDLL", lambda name, *rest, **more: real(os.fspath(name), *rest, **more))  # None: TypeError
    change(socket, "socket", WindowsSocket if system == "win32" else Socket)
    sys.platform = system
    del asyncio.run  # nothing of ours runs there


def say(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{line}\n")


async def echo(address: str) -> None:
    """Listen and dial, and carry more than a buffer's worth there and back."""
    from peerstack import Identity, Stream, open_host, ping
    from peerstack.transports.quic import QuicTransport
    from peerstack.transports.tcp import TcpTransport
    from peerstack.transports.unix import UnixTransport
    from peerstack.transports.websocket import WebSocketTransport

    async def serve(stream: Stream) -> None:
        async for chunk in stream:
            await stream.send_all(chunk)

    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(30))
        hosts = []
        for listen in ([address], []):
            identity = Identity.generate()
            host = open_host(
                identity=identity,
                transports=[TcpTransport(), UnixTransport(), WebSocketTransport(TcpTransport())],
                native_transports=[QuicTransport(identity)],
                listen=listen,
            )
            hosts.append(await stack.enter_async_context(host))
        alice, bob = hosts
        alice.handle("/echo/1", serve)
        peer = await bob.connect(*alice.addresses)
        async with await bob.open_stream(peer, "/echo/1") as stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(SIZE))
            got = 0
            while got < SIZE:
                got += len(await stream.receive_some())
        await ping(bob, peer)
        say(f"echo {address}")


async def refused(system: str) -> None:
    """See what is told of a closed port, and of unix sockets where there are none."""
    from peerstack.stack.addressing import parse_address
    from peerstack.transports.tcp import TcpTransport
    from peerstack.transports.unix import UnixTransport

    try:
        await TcpTransport().dial(parse_address("/ip4/127.0.0.1/tcp/1"))
    except ConnectionRefusedError as error:
        say(f"refused: {error.strerror}")
    if system == "win32":
        for use in (UnixTransport().dial, UnixTransport().listen):
            try:
                await use(parse_address("/unix/tmp/a.sock"))
            except OSError as error:
                say(f"unix: {error.strerror}")


def commands(folder: Path) -> None:
    """Run commands that touch files, the clock and the memory."""
    from peerstack.cli.entry import main
    from peerstack.stack.identity import Identity

    key = folder / "key"
    simulate = ["simulate", "gossip", "--nodes", "8", "--messages", "1"]
    for arguments in (["id", "new", "--out", str(key)], ["id", "show", str(key)], simulate):
        say(f"{arguments[0]}: exit code {main(arguments)}")
    Identity.load(key).save(key, overwrite=True)


def main() -> None:
    """Try everything."""
    system = sys.argv[1]
    hide(system)
    with tempfile.TemporaryDirectory() as name:
        addresses = ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"]
        addresses += ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip6/::1/udp/0/quic-v1"]
        # Lists of interfaces are laid out in each system's own way, which tests of their own see to.
        addresses += [f"/unix{name}/a.sock"] if system == "darwin" else ["/ip4/0.0.0.0/tcp/0"]
        for address in addresses:
            trio.run(echo, address)
        trio.run(refused, system)
        commands(Path(name))
    say(f"too large: {len(REFUSED)}")


if __name__ == "__main__":
    main()
