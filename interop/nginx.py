"""A real nginx in front of a WebSocket listener: the one on PATH, or Debian's package unpacked into the cache."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from interop.build import BuildFailed
from interop.debian import Server, debian_program, free_port

# The program, and the library that a machine without it may lack.
PACKAGES = ("nginx", "libpcre2-8-0")
START_SECONDS = 15.0
POLL_SECONDS = 0.02

# What the manual of nginx says for WebSocket, and else as little as can be: all that it writes is in its own folder.
CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port}{ssl};
        {certificate}
        location / {{
            proxy_pass http://127.0.0.1:{backend};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
        }}
    }}
}}
"""


def nginx(*, fetch: bool = True) -> Server:
    """Find or fetch nginx. Raises ToolchainMissing where none can be had; `fetch=False` only looks."""
    return debian_program("nginx", PACKAGES, "usr/sbin/nginx", fetch=fetch)


@asynccontextmanager
async def running_nginx(
    server: Server, backend: int, *, certificate: tuple[Path, Path] | None = None
) -> AsyncIterator[int]:
    """Run nginx before a port of loopback, with TLS for a certificate and its key; yield its port. Raises BuildFailed.

    nginx ends TLS: what is behind it gets plain HTTP.
    """
    port = free_port()
    files = certificate and f"ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]};"
    with TemporaryDirectory() as folder:
        configuration = CONFIGURATION.format(
            folder=folder, port=port, backend=backend, ssl=" ssl" if certificate else "", certificate=files or ""
        )
        file = Path(folder) / "nginx.conf"
        file.write_text(configuration)
        process = await trio.lowlevel.open_process(
            [server.program, "-p", folder, "-c", str(file)],
            env=server.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with trio.fail_after(START_SECONDS):
                await _wait_listening(process, port, Path(folder) / "error.log")
            yield port
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _wait_listening(process: trio.Process, port: int, log: Path) -> None:
    while not await _answers(port):
        if process.poll() is not None:
            said = await trio.Path(log).read_text() if await trio.Path(log).exists() else ""
            raise BuildFailed(f"nginx leaves at once with code {process.returncode}: {said}")
        await trio.sleep(POLL_SECONDS)


async def _answers(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


if __name__ == "__main__":
    print(nginx().program)
