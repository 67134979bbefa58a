# /// script
# requires-python = ">=3.11"
# dependencies = ["grpcio-tools==1.73.1", "mypy-protobuf==3.6.0"]
# ///
"""Regenerate every `*_pb2.py` and `*_pb2.pyi` from the .proto files beside them.

Run it as `uv run tools/generate_protobuf.py`, or with the two packages above in an environment of their own: the
output of a newer compiler refuses to load with the oldest protobuf we support.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "peerstack"
FOLDERS = ("stack", "protocols", "transports")
NOT_GENERATED = frozenset({Path("stack/identity/keys.proto")})  # a description; identity/wire.py says why


def proto_files() -> list[Path]:
    """Return the .proto files that code is generated from, relative to the root of the repository."""
    found = (path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.proto"))
    return sorted(set(found) - NOT_GENERATED)


def compile_protos(paths: list[Path], *options: str) -> None:
    """Run protoc on `paths`; CalledProcessError if it fails, the messages are on stderr.

    Files are compiled as peerstack/stack/…: the name is registered in a table of the whole process, and a bare
    records.proto would clash with that of any other package.
    """
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            copy = Path(folder, PACKAGE, path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, copy)
        names = [str(Path(PACKAGE, path)) for path in paths]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", *options, *names], check=True)


def generated_for(module: str) -> tuple[int, ...]:
    """Return the oldest protobuf runtime that loads the text of a generated module."""
    found = re.search(r"^# Protobuf Python Version: ([\d.]+)$", module, re.MULTILINE)
    if found is None:
        raise ValueError("the module does not say what runtime it was generated for")
    return tuple(int(part) for part in found[1].split("."))


def oldest_supported() -> tuple[int, ...]:
    """Return the protobuf version that pyproject.toml asks for at least."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (version,) = (entry.removeprefix("protobuf>=") for entry in dependencies if entry.startswith("protobuf>="))
    return tuple(int(part) for part in version.split(",")[0].split("."))


def main() -> int:
    """Write the generated modules into the tree."""
    plugin = shutil.which("protoc-gen-mypy", path=str(Path(sys.executable).parent)) or "protoc-gen-mypy"
    with tempfile.TemporaryDirectory() as out:
        options = (f"--python_out={out}", f"--mypy_out={out}", f"--plugin=protoc-gen-mypy={plugin}")
        compile_protos(proto_files(), *options)
        generated = sorted(Path(out, PACKAGE).rglob("*_pb2.py*"))
        newest = max(generated_for(path.read_text()) for path in generated if path.suffix == ".py")
        if newest[:2] > oldest_supported()[:2]:
            sys.exit(f"this protoc is for protobuf {newest}, too new; see the first lines of {Path(__file__).name}")
        for path in generated:
            shutil.copyfile(path, ROOT / path.relative_to(Path(out, PACKAGE)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
