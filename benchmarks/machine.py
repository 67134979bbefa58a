"""Describes the machine and the versions of what a run stands on."""

import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

from peerstack.stack.identity.schemes import ed25519

LIBRARIES = ("trio", "cryptography", "multiaddr", "protobuf")


def describe_machine() -> dict[str, str]:
    """Return what is known of the machine, by name, in the order to show it."""
    known = {
        "Processor": _first(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo") or platform.processor() or platform.machine(),
        "Cores": _cores(),
        "Memory": _memory(),
        "Kernel": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Ed25519 of ours": f"PyNaCl {version('pynacl')}" if ed25519.SODIUM else "OpenSSL",
        "Libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES) + f", {backend.openssl_version_text()}",
    }
    return {name: value for name, value in known.items() if value}


def load() -> str:
    """Return how busy the machine has been, in words."""
    if sys.platform == "win32":
        return "unknown"
    return "{:.1f} in the last minute, {:.1f} in the last 5".format(*os.getloadavg())


def _cores() -> str:
    if sys.platform != "linux":
        return f"{os.cpu_count()}"
    return f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}"


def _memory() -> str:
    total = _first(r"^MemTotal:\s*(\d+) kB$", "/proc/meminfo")
    return f"{int(total) / 2**20:.1f} GiB" if total else ""


def _first(pattern: str, file: str) -> str:
    try:
        found = re.search(pattern, Path(file).read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""
