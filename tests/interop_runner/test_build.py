"""The cache of built peers: stable keys, whole builds only, and clear words about a missing toolchain."""

import subprocess
import sys
from pathlib import Path

import pytest

import interop.build
from interop.build import (
    RECIPES,
    BuildFailed,
    Recipe,
    ToolchainMissing,
    cache_key,
    cache_root,
    source_files,
    start_command,
    toolchain_version,
)

FILES = [Path("main.go"), Path("sub/serve.go")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "interop" / "fake"
    (folder / "sub").mkdir(parents=True)
    (folder / "main.go").write_text("package main\n")
    (folder / "sub" / "serve.go").write_text("package sub\n")
    return folder


def test_key_is_the_same_on_every_machine(source: Path) -> None:
    assert cache_key(source, FILES, "go1.25") == "6151472b61718e26"


def test_key_does_not_depend_on_the_order_of_files(source: Path) -> None:
    assert cache_key(source, FILES, "go1.25") == cache_key(source, reversed(FILES), "go1.25")


def test_key_changes_with_bytes_names_and_toolchain(source: Path) -> None:
    keys = {
        cache_key(source, FILES, "go1.25"),
        cache_key(source, FILES, "go1.26"),
        cache_key(source, FILES[:1], "go1.25"),
    }
    (source / "main.go").write_text("package other\n")
    keys.add(cache_key(source, FILES, "go1.25"))
    (source / "main.go").rename(source / "main2.go")
    keys.add(cache_key(source, [Path("main2.go"), FILES[1]], "go1.25"))
    assert len(keys) == 5


def test_sources_are_what_git_would_track(source: Path) -> None:
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    (source / ".gitignore").write_text("*.log\n")
    (source / "build.log").write_text("")
    assert source_files(source) == [Path(".gitignore"), *FILES]


def test_sources_without_git_are_all_files(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert source_files(source) == FILES


def test_absent_command_is_a_missing_toolchain() -> None:
    with pytest.raises(ToolchainMissing, match="no-such-compiler cannot be run: No such file"):
        toolchain_version([["no-such-compiler", "version"]])


def test_failing_command_is_a_missing_toolchain() -> None:
    with pytest.raises(ToolchainMissing, match="fails: broken installation"):
        toolchain_version([[sys.executable, "-c", "raise SystemExit('broken installation')"]])


@pytest.mark.parametrize("name", RECIPES)
def test_every_peer_needs_a_toolchain(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolchainMissing):
        start_command(name, cache=tmp_path)


def test_cache_is_outside_the_clone_and_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PEERSTACK_INTEROP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "peerstack-interop"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "peerstack-interop"
    monkeypatch.setenv("PEERSTACK_INTEROP_CACHE", str(tmp_path / "chosen"))
    assert cache_root() == tmp_path / "chosen"


class Builder:
    """Stands for a toolchain; notes how often it ran, and fails while told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.broken = False

    def make(self, target: Path, _: Path) -> None:
        self.runs += 1
        (target / "peer").write_text("half")
        if self.broken:
            raise BuildFailed("syntax error")
        (target / "peer").write_text((target / "main.go").read_text())


@pytest.fixture
def builder(source: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    builder = Builder()
    recipe = Recipe(
        folder="fake",
        versions=[[sys.executable, "--version"]],
        make=builder.make,
        start=lambda built: [str(built / "peer")],
    )
    monkeypatch.setattr(interop.build, "INTEROP", source.parent)
    monkeypatch.setitem(RECIPES, "fake", recipe)
    return builder


def test_second_start_takes_the_build_of_the_first(builder: Builder, tmp_path: Path) -> None:
    first = start_command("fake", cache=tmp_path / "cache")
    assert start_command("fake", cache=tmp_path / "cache") == first
    assert builder.runs == 1
    assert Path(first[0]).read_text() == "package main\n"


def test_changed_source_is_built_anew(builder: Builder, source: Path, tmp_path: Path) -> None:
    first = start_command("fake", cache=tmp_path / "cache")
    (source / "main.go").write_text("package changed\n")
    second = start_command("fake", cache=tmp_path / "cache")
    assert builder.runs == 2
    assert Path(second[0]).read_text() == "package changed\n"
    assert Path(first[0]).read_text() == "package main\n"


def test_failed_build_leaves_nothing_that_passes_for_a_build(builder: Builder, tmp_path: Path) -> None:
    builder.broken = True
    with pytest.raises(BuildFailed):
        start_command("fake", cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["fake.lock"]
    builder.broken = False
    assert Path(start_command("fake", cache=tmp_path / "cache")[0]).read_text() == "package main\n"


def test_building_leaves_the_source_folder_alone(builder: Builder, source: Path, tmp_path: Path) -> None:
    start_command("fake", cache=tmp_path / "cache")
    assert sorted(path.name for path in source.iterdir()) == ["main.go", "sub"]
