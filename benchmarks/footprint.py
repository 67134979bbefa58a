"""What it costs to have the package at all: import time and installed size, in environments made for it."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.measures import BARE, FOUR, OURS, TRIO

ROOT = Path(__file__).resolve().parent.parent
FOUR_NAMES = ("trio", "cryptography", "multiaddr", "protobuf")
TOOLS = {"pip", "setuptools", "wheel"}
"""What an environment may hold for its own sake."""
IMPORTS = {
    OURS: "from peerstack import open_host",
    "py": "from libp2p import new_host",
    TRIO: "import trio",
    BARE: "pass",
}
PACKAGE = {OURS: OURS, "py": "libp2p"}
"""The one distribution of an environment that is not a third party's."""


class CanNotInstall(Exception):
    """An environment cannot be made, for lack of pip or of a package index; the message says which."""


def make_environments(folder: Path) -> dict[str, Path]:
    """Install ours as a wheel, and the four dependencies alone; return the interpreters. Raises CanNotInstall."""
    wheels = folder / "wheels"
    _pip(["wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)])
    return {
        OURS: _make_environment(folder / OURS, [str(wheel) for wheel in wheels.glob("*.whl")]),
        FOUR: _make_environment(folder / FOUR, four_requirements((ROOT / "pyproject.toml").read_text())),
    }


def four_requirements(pyproject: str) -> list[str]:
    """Return what a pyproject.toml says of the four dependencies."""
    wanted: list[str] = tomllib.loads(pyproject)["project"]["dependencies"]
    return [line for line in wanted if re.split(r"[^\w.-]", line, maxsplit=1)[0] in FOUR_NAMES]


def import_time(python: Path, entrant: str, starts: int) -> dict[str, float]:
    """Return the milliseconds of an import above a bare interpreter, and of the whole process."""
    bare = _median_start(python, IMPORTS[BARE], starts)
    if entrant == BARE:
        return {"start": bare}
    whole = _median_start(python, IMPORTS[entrant], starts)
    return {"import": whole - bare, "start": whole}


def installed(pythons: Mapping[str, Path], entrant: str) -> dict[str, float]:
    """Return for an environment how many third-party packages it has, how many of them the four dependencies do not
    bring, and the size of everything in MB (10^6 bytes).
    """
    found = packages(_site_packages(pythons[entrant]))
    third_party = found.keys() - {PACKAGE.get(entrant, "")}
    four = packages(_site_packages(pythons[FOUR])).keys()
    size = sum(map(_size, found.values())) / 1e6
    return {"packages": len(third_party), "beyond": len(third_party - four), "size": size}


def packages(site_packages: Path) -> dict[str, Distribution]:
    """Return what is installed, by name, without the tools of the environment."""
    found = {_normal(d.metadata["Name"]): d for d in distributions(path=[str(site_packages)])}
    return {name: found[name] for name in found.keys() - TOOLS}


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _size(package: Distribution) -> int:
    places = (Path(str(file.locate())) for file in package.files or [])
    return sum(place.stat().st_size for place in places if place.is_file())


def _make_environment(folder: Path, requirements: Iterable[str]) -> Path:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = folder / "bin" / "python"
    _pip(["--python", str(python), "install", *requirements])
    return python


def _site_packages(python: Path) -> Path:
    return Path(_run([str(python), "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())


def _median_start(python: Path, code: str, starts: int) -> float:
    return median(_start(python, code) for _ in range(starts))


def _start(python: Path, code: str) -> float:
    begun = perf_counter()
    _run([str(python), "-I", "-c", code])
    return (perf_counter() - begun) * 1000


def _pip(arguments: Iterable[str]) -> None:
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = next((line.strip() for line in lines if "ERROR:" in line), lines[-1] if lines else "")
        raise CanNotInstall(f"{Path(command[0]).name} {' '.join(command[1:3])} failed: {reason or 'no reason given'}")
    return done.stdout
