"""Builds each foreign peer once into a cache outside the clone and says how to start it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

INTEROP = Path(__file__).resolve().parent
CACHE_VARIABLE = "PEERSTACK_INTEROP_CACHE"
KEY_DIGITS = 16
SHOWN_LINES = 30


class ToolchainMissing(Exception):
    """What a peer is built with is not on this machine; the message says what."""


class BuildFailed(Exception):
    """The toolchain is there, but the build ended with an error; the message ends with its last lines."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the peer in one folder is built and started."""

    folder: str
    """Folder below `interop/`."""
    versions: Sequence[Sequence[str]]
    """Commands whose output tells the toolchain's version; the first words must be on PATH."""
    make: Callable[[Path, Path], None]
    """Given the copied sources and the cache (for what several builds share), builds inside the former."""
    start: Callable[[Path], list[str]]
    """Given the built folder, the argv that starts the peer."""
    needs: Callable[[], None] = lambda: None
    """Raises ToolchainMissing for what `versions` does not show."""


def start_command(name: str, *, cache: Path | None = None) -> list[str]:
    """Return the argv that starts peer `name`, building it first where the cache lacks it.

    Raises ToolchainMissing, BuildFailed, or KeyError for a name without a recipe.
    """
    recipe = RECIPES[name]
    recipe.needs()
    toolchain = toolchain_version(recipe.versions)
    source = INTEROP / recipe.folder
    files = source_files(source)
    root = cache or cache_root()
    built = root / f"{name}-{cache_key(source, files, toolchain)}"
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root / f"{name}.lock"):  # who waits here finds the build of the other process
        if not built.is_dir():
            _say(f"{name}: building {built}")
            _build(recipe, source, files, built)
    _say(f"{name}: {built}")
    return recipe.start(built)


def cache_root() -> Path:
    """Return the folder that holds all built peers."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().resolve()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "peerstack-interop"


def cache_key(source: Path, files: Iterable[Path], toolchain: str) -> str:
    """Return what names a build: a digest of the toolchain's version and of each file's path and bytes."""
    digest = hashlib.sha256()
    parts = [toolchain.encode()]
    for file in sorted(files):
        parts += [file.as_posix().encode(), (source / file).read_bytes()]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:KEY_DIGITS]


def source_files(source: Path) -> list[Path]:
    """Return the files of `source` that git tracks or would track, relative to it; without git, all files."""
    command = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    return sorted(path for name in set(listed.split("\0")) if name and (source / (path := Path(name))).is_file())


def toolchain_version(commands: Iterable[Sequence[str]]) -> str:
    """Return what `commands` print; raises ToolchainMissing for one that is absent or fails."""
    return "\n".join(_version(command) for command in commands)


def _version(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainMissing(f"{command[0]} cannot be run: {error.strerror or error}") from error
    if done.returncode:
        raise ToolchainMissing(f"`{' '.join(command)}` fails: {_last_lines(done.stderr)}")
    return done.stdout.strip()


def _build(recipe: Recipe, source: Path, files: Iterable[Path], built: Path) -> None:
    def make(target: Path) -> None:
        for file in files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / file, target / file)
        recipe.make(target, built.parent)

    make_atomically(make, built)


def make_atomically(make: Callable[[Path], None], place: Path) -> None:
    """Let `make` fill a folder that appears at `place` only when it is whole."""
    # Beside its place and renamed into it, so that a half-made folder is never taken for a whole one.
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as temporary:
        target = Path(temporary) / "made"
        target.mkdir()
        make(target)
        target.rename(place)


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    if sys.platform == "win32":
        raise ToolchainMissing("the foreign peers are built on Linux and macOS only")
    import fcntl

    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_command(command: Sequence[str], folder: Path) -> None:
    """Run a command in a folder. Raises ToolchainMissing where it is absent, BuildFailed with its last lines."""
    _say(f"  {' '.join(command)}")
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError as error:
        raise ToolchainMissing(f"{command[0]} cannot be run: {error.strerror or error}") from error
    if done.returncode:
        raise BuildFailed(f"`{' '.join(command)}` ended with {done.returncode}:\n{_last_lines(done.stdout)}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-SHOWN_LINES:])


def _make_go(target: Path, _: Path) -> None:
    run_command(["go", "build", "-trimpath", "-o", "peer", "."], target)


def _make_rust(target: Path, cache: Path) -> None:
    # The crates of one build serve the next, so a change of the peer compiles the peer only.
    crates = cache / "rust-target"
    run_command(["cargo", "build", "--release", "--target-dir", str(crates)], target)
    manifest = tomllib.loads((target / "Cargo.toml").read_text())
    shutil.copy2(crates / "release" / manifest["package"]["name"], target / "peer")


def _make_js(target: Path, _: Path) -> None:
    # Not `npm ci`: it wants the lock file to name the native QUIC of every platform, and a registry may lack some.
    run_command(["npm", "install", "--no-save", "--no-audit", "--no-fund"], target)


def _make_py(target: Path, cache: Path) -> None:
    # 150 MB that change with the pins only; the peer's folder holds a link to it.
    pins = Path("requirements.txt")
    environment = cache / f"py-venv-{cache_key(target, [pins], sys.version)}"
    if not environment.is_dir():
        make_atomically(partial(_make_venv, target / pins), environment)
    (target / "venv").symlink_to(environment)


def _make_venv(pins: Path, target: Path) -> None:
    run_command([sys.executable, "-m", "venv", "--clear", str(target)], pins.parent)
    run_command([str(target / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(pins)], pins.parent)


def _needs_gmp() -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise ToolchainMissing("no C compiler (cc), which pip needs to build fastecdsa")
    found = subprocess.run(
        [compiler, "-E", "-x", "c", "-"], input="#include <gmp.h>", capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise ToolchainMissing("no gmp.h (Debian: libgmp-dev), which pip needs to build fastecdsa")


RECIPES = {
    "go": Recipe(
        folder="go",
        versions=[["go", "version"]],
        make=_make_go,
        start=lambda built: [str(built / "peer")],
    ),
    "rust": Recipe(
        folder="rust",
        versions=[["cargo", "--version"], ["rustc", "--version"]],
        make=_make_rust,
        start=lambda built: [str(built / "peer")],
    ),
    "js": Recipe(
        folder="js",
        versions=[["node", "--version"], ["npm", "--version"]],
        make=_make_js,
        start=lambda built: ["node", str(built / "peer.mjs")],
    ),
    "py": Recipe(
        folder="py",
        versions=[[sys.executable, "-VV"]],
        make=_make_py,
        start=lambda built: [str(built / "venv" / "bin" / "python"), str(built / "peer.py")],
        needs=_needs_gmp,
    ),
}
