"""Regenerate every `*_pb2.py` and `*_pb2.pyi` from the .proto files beside them; needs the `dev` extra."""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
PACKAGE = "peerstack"
FOLDERS = ("stack", "protocols", "transports")
NOT_GENERATED = frozenset({Path("stack/identity/keys.proto")})  # a description; identity/wire.py says why


def proto_files() -> list[Path]:
    """Return the .proto files that code is generated from, relative to the root of the repository."""
    found = (path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.proto"))
    return sorted(set(found) - NOT_GENERATED)


def compile_protos(paths: list[Path], *options: str) -> None:
    """Run protoc on `paths`; RuntimeError if it fails.

    Files are compiled as peerstack/stack/…: the name is registered in a table of the whole process, and a bare
    records.proto would clash with that of any other package.
    """
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            copy = Path(folder, PACKAGE, path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, copy)
        names = [str(Path(PACKAGE, path)) for path in paths]
        well_known = str(files("grpc_tools") / "_proto")
        if protoc.main(["protoc", f"-I{folder}", f"-I{well_known}", *options, *names]):
            raise RuntimeError("protoc failed; its messages are above")


def main() -> int:
    """Write the generated modules into the tree."""
    with tempfile.TemporaryDirectory() as out:
        compile_protos(proto_files(), f"--python_out={out}", f"--mypy_out={out}")
        for generated in Path(out, PACKAGE).rglob("*_pb2.py*"):
            target = ROOT / generated.relative_to(Path(out, PACKAGE))
            shutil.copyfile(generated, target)
            sys.stdout.write(f"{target.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
