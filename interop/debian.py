"""Programs of Debian: the one on PATH, or the package unpacked into the cache, without installing anything."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from interop.build import BuildFailed, ToolchainMissing, cache_root, make_atomically, run_command


class Server(NamedTuple):
    """How a server is started."""

    program: str
    environment: dict[str, str]


def debian_program(name: str, packages: Sequence[str], path: str, *, fetch: bool = True) -> Server:
    """Find a program, or fetch its packages, in which it is at `path`.

    Raises ToolchainMissing where none can be had, and without `fetch` where it is neither on PATH nor in the cache.
    """
    if found := shutil.which(name):
        return Server(found, dict(os.environ))
    root = _unpacked(name, packages, fetch=fetch)
    libraries = sorted({str(library.parent) for library in root.rglob("*.so*")})
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    return Server(str(root / path), environment)


def _unpacked(name: str, packages: Sequence[str], *, fetch: bool) -> Path:
    if missing := [tool for tool in ("apt-get", "dpkg", "dpkg-deb") if shutil.which(tool) is None]:
        raise ToolchainMissing(f"no {name}, and no {' or '.join(missing)} to unpack Debian's with")
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    place = cache_root() / f"{name.removesuffix('-server')}-{architecture.stdout.strip()}"
    if place.is_dir():
        return place
    if not fetch:
        raise ToolchainMissing(f"no {name}, neither on PATH nor in the cache of interop")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        make_atomically(partial(_unpack, packages), place)
    except OSError:
        if not place.is_dir():  # another run was faster otherwise
            raise
    except BuildFailed as error:
        raise ToolchainMissing(f"no {name}, and Debian's cannot be fetched: {error}") from error
    return place


def _unpack(packages: Sequence[str], target: Path) -> None:
    with TemporaryDirectory() as folder:
        run_command(["apt-get", "download", *packages], Path(folder))
        for package in sorted(Path(folder).glob("*.deb")):
            run_command(["dpkg-deb", "-x", str(package), str(target)], target)


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
