"""Key files: a private key in a file that only its owner can read."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ..errors import InvalidInput, KeyFileError, KeyPasswordError

MAX_FILE = 64 * 1024  # bytes; the largest key takes 6.3 KiB as text
_PROTOBUF_START = 0x08  # the tag of the key type; no base64 digit
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OPEN_FILES = ("/dev/fd", "/proc/self/fd")
"""Where a shell puts the pipe of `<(command)`, which is read as a file."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)

T = TypeVar("T")


def read(path: Path, decode: Callable[[bytes], T]) -> T:
    """Return what `decode` makes of the content of a key file. Raises KeyFileError."""
    content = read_private(path, create="Identity.generate().save(path)")
    try:
        return decode(content)
    except KeyPasswordError as error:
        raise KeyFileError(f"{path} cannot be opened: {error}") from error
    except (InvalidInput, binascii.Error) as error:
        raise KeyFileError(
            f"{path} is not a key file ({error}); it should hold a private key, as protobuf, as its base64, or as PEM"
        ) from error


def write(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Create the file with mode 0600 and `content`; replace an old one as a whole if `overwrite`.

    Raises KeyFileError if the file exists already, or cannot be written.
    """
    try:
        if overwrite:
            _replace(path, content)
        else:
            _create(path, content)
    except FileExistsError as error:
        raise KeyFileError(f"{error.filename} exists already; choose another path, or pass overwrite=True") from error
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be written: {error.strerror}; check the folder and its permissions"
        ) from error


def read_private(path: Path, *, create: str) -> bytes:
    """Return what is in a file that only its owner can read; KeyFileError otherwise. `create` says what makes one."""
    try:
        _check_kind(path, path.stat().st_mode)  # before it is opened, for which a pipe could wait for ever
        with path.open("rb") as file:
            _check_mode(path, os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        raise KeyFileError(f"{path} does not exist; create it with {create}") from error
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}; check the path and its owner") from error
    if len(content) > MAX_FILE:
        raise KeyFileError(f"{path} is larger than any key file; check the path")
    return content


def _check_kind(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode) or (stat.S_ISFIFO(mode) and str(path.parent) in _OPEN_FILES):
        return
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    raise KeyFileError(f"{path} is {kind}, and not a key file; check the path")


def _check_mode(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & _OTHERS:
        raise KeyFileError(f"{path} is open to other users (mode {stat.S_IMODE(mode):o}); run: chmod 600 {path}")


def unwrap(content: bytes) -> bytes:
    """Return the protobuf in a file that holds it as it is, or as base64 text. Raises binascii.Error for other text."""
    if content[:1] == bytes((_PROTOBUF_START,)):
        return content
    return base64.b64decode(content.strip(), validate=True)


def _replace(path: Path, content: bytes) -> None:
    # A reader, or a restart after a power failure, finds the old key or the new one, never half of it.
    fresh = path.parent / f".{path.name}.{os.getpid()}.new"
    _create(fresh, content)
    try:
        fresh.replace(path)
    except OSError:
        fresh.unlink()
        raise


def _create(path: Path, content: bytes) -> None:
    with open(path, "xb", opener=_open_private) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.close()  # Windows removes no file that is open
            path.unlink()
            raise


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
