"""Key files: private from the first moment, never half written, and every refusal says what to do."""

import base64
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from peerstack.stack.errors import KeyFileError
from peerstack.stack.identity import Identity
from peerstack.stack.identity.key_file import MAX_FILE

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity.key"


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def test_round_trip(path: Path, identity: Identity) -> None:
    identity.save(path)
    assert path.read_bytes() == identity.encode()
    assert Identity.load(str(path)).peer_id == identity.peer_id


@posix
def test_file_is_private_whatever_the_umask(path: Path, ed25519: Identity) -> None:
    before = os.umask(0)
    try:
        ed25519.save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_existing_file_is_kept(path: Path, ed25519: Identity) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(KeyFileError, match=r"identity\.key exists already; .* overwrite=True"):
        ed25519.save(path)
    assert path.read_bytes() == b"precious"


@posix
def test_overwriting_replaces_file_and_mode(path: Path, ed25519: Identity) -> None:
    write(path, b"x" * 10_000, 0o644)
    ed25519.save(path, overwrite=True)
    assert Identity.load(path).peer_id == ed25519.peer_id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_overwriting_needs_no_old_file(path: Path, ed25519: Identity) -> None:
    ed25519.save(path, overwrite=True)
    assert Identity.load(path).peer_id == ed25519.peer_id


@pytest.mark.parametrize("overwrite", [False, True])
def test_failed_write_leaves_nothing_new(
    path: Path, ed25519: Identity, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    if overwrite:
        path.write_bytes(b"old key")
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(KeyFileError, match="cannot be written: No space left on device"):
        ed25519.save(path, overwrite=overwrite)
    assert [file.read_bytes() for file in path.parent.iterdir()] == ([b"old key"] if overwrite else [])


def test_folder_in_place_of_the_file(path: Path, ed25519: Identity) -> None:
    path.mkdir()
    with pytest.raises(KeyFileError, match="cannot be written"):
        ed25519.save(path, overwrite=True)
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(KeyFileError, match="is a folder, and not a key file"):
        Identity.load(path)


def test_missing_folder(tmp_path: Path, ed25519: Identity) -> None:
    with pytest.raises(KeyFileError, match="cannot be written: No such file"):
        ed25519.save(tmp_path / "none" / "identity.key")


def test_missing_file_says_how_to_create_it(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"identity\.key does not exist; create it with .*save"):
        Identity.load(path)


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666, 0o777])
def test_file_open_to_others_is_refused_with_the_cure(path: Path, ed25519: Identity, mode: int) -> None:
    write(path, ed25519.encode(), mode)
    with pytest.raises(KeyFileError, match=rf"\(mode {mode:o}\); run: chmod 600 .*identity\.key"):
        Identity.load(path)
    path.chmod(0o600)
    assert Identity.load(path).peer_id == ed25519.peer_id


@posix
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_modes_of_the_owner_are_his_affair(path: Path, ed25519: Identity, mode: int) -> None:
    write(path, ed25519.encode(), mode)
    assert Identity.load(path).peer_id == ed25519.peer_id


@pytest.mark.parametrize("around", [b"%s", b"%s\n", b"  %s\r\n"])
def test_base64_text_as_in_a_kubo_config(path: Path, identity: Identity, around: bytes) -> None:
    write(path, around % base64.b64encode(identity.encode()))
    assert Identity.load(path).peer_id == identity.peer_id


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\x08",
        b"\x08\x01\x12\x40" + bytes(64),
        b"CAES",
        b"Q0FF",
        b"{}",
        b"\xff\xfe",
    ],
)
def test_malformed_file(path: Path, content: bytes) -> None:
    write(path, content)
    with pytest.raises(KeyFileError, match=r"identity\.key is not a key file \(.+\); it should hold .* base64"):
        Identity.load(path)


def test_giant_file_is_not_read_to_its_end(path: Path) -> None:
    write(path, b"A" * (MAX_FILE + 1))
    with pytest.raises(KeyFileError, match="larger than any key file"):
        Identity.load(path)


def test_refusals_are_one_line_without_the_secret(path: Path, ed25519: Identity) -> None:
    secret = ed25519.encode()
    write(path, secret[:-1])
    with pytest.raises(KeyFileError) as caught:
        Identity.load(path)
    assert "\n" not in str(caught.value)
    assert secret[10:20].hex() not in str(caught.value)


@posix
@pytest.mark.parametrize(("make", "kind"), [(os.mkdir, "a folder"), (os.mkfifo, "a named pipe")])
def test_what_is_no_file_is_named_instead_of_read(path: Path, make: Callable[[Path], None], kind: str) -> None:
    make(path)
    path.chmod(0o666)
    with pytest.raises(KeyFileError, match=f"identity.key is {kind}, and not a key file; check the path$"):
        Identity.load(path)


@posix
def test_a_device_and_a_socket_are_no_key_files(path: Path) -> None:
    with pytest.raises(KeyFileError, match="/dev/null is a device, and not a key file"):
        Identity.load("/dev/null")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        with pytest.raises(KeyFileError, match="is a socket, and not a key file"):
            Identity.load(path)


@posix
def test_the_pipe_of_a_shell_is_read_as_a_file(ed25519: Identity) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, ed25519.encode())
        os.close(writing)
        assert Identity.load(f"/dev/fd/{reading}").peer_id == ed25519.peer_id
    finally:
        os.close(reading)
