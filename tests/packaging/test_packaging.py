"""The wheel holds what the tree holds, under the right names, and nothing leaks into site-packages."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("stack", "protocols", "transports")


def tracked(*patterns: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def expected_modules() -> set[str]:
    modules = {f"peerstack/{name}" for folder in FOLDERS for name in tracked(f"{folder}/*.py", f"{folder}/*.pyi")}
    facade = tracked("src/peerstack/*.py", "src/peerstack/cli/*.py")
    return modules | {name.removeprefix("src/") for name in facade}


def test_the_wheel_has_the_modules_of_the_tree(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if name.endswith((".py", ".pyi"))}
    assert inside == expected_modules()


def test_the_wheel_brings_one_name_only(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"peerstack"}


def test_the_wheel_is_typed_and_licensed(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "peerstack/py.typed" in names
    assert {name.split("/")[-1] for name in names if "/licenses/" in name} == {"LICENSE-MIT", "LICENSE-APACHE"}


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_nothing_imports_the_folders_by_their_bare_names() -> None:
    python = [name for name in tracked("*.py") if not name.startswith(("interop/py/",))]
    wrong = {name: names for name in python if (names := _imported(ROOT / name) & set(FOLDERS))}
    assert wrong == {}


def test_the_core_install_asks_for_little() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0].split("<")[0] for requirement in project["dependencies"]}
    # dnspython adds nothing to an install: multiaddr brings it.
    assert names == {"trio", "cryptography", "multiaddr", "protobuf", "dnspython"}


def test_a_bare_import_stays_light() -> None:
    program = "import sys, peerstack; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "rich",
        "dns",
        "asyncio",
        "nacl",
        "Crypto",
        "cryptography.hazmat.primitives.asymmetric.rsa",
        "peerstack.stack.testing",
    }
    assert heavy & set(loaded) == set()
