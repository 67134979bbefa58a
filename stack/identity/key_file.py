"""Key files: a private key in a file that only its owner can read."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import InvalidKey, KeyFileError

MAX_FILE = 64 * 1024  # bytes; the largest key takes 6.3 KiB as text
_PROTOBUF_START = 0x08  # the tag of the key type; no base64 digit
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

T = TypeVar("T")


def read(path: Path, decode: Callable[[bytes], T]) -> T:
    """Return what `decode` makes of the key in the file, written as protobuf or as its base64 text."""
    content = read_private(path, create="Identity.generate().save(path)")
    try:
        return decode(_unwrap(content))
    except (InvalidKey, binascii.Error) as error:
        raise KeyFileError(
            f"{path} is not a key file ({error}); it should hold a libp2p private key, as protobuf or as its base64"
        ) from error


def write(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Create the file with mode 0600 and `content`; replace an old one as a whole if `overwrite`."""
    try:
        if overwrite:
            _replace(path, content)
        else:
            _create(path, content)
    except FileExistsError as error:
        raise KeyFileError(f"{error.filename} exists already; choose another path, or pass overwrite=True") from error
    except OSError as error:
        raise KeyFileError(
            f"{path} can not be written: {error.strerror}; check the folder and its permissions"
        ) from error


def read_private(path: Path, *, create: str) -> bytes:
    """Return what is in a file that only its owner can read; KeyFileError otherwise. `create` says what makes one."""
    try:
        with path.open("rb") as file:
            _check_mode(path, os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        raise KeyFileError(f"{path} does not exist; create it with {create}") from error
    except OSError as error:
        raise KeyFileError(f"{path} can not be read: {error.strerror}; check the path and its owner") from error
    if len(content) > MAX_FILE:
        raise KeyFileError(f"{path} is larger than any key file; check the path")
    return content


def _check_mode(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & _OTHERS:
        raise KeyFileError(f"{path} is open to other users (mode {stat.S_IMODE(mode):o}); run: chmod 600 {path}")


def _unwrap(content: bytes) -> bytes:
    if content[:1] == bytes((_PROTOBUF_START,)):
        return content
    return base64.b64decode(content.strip(), validate=True)


def _replace(path: Path, content: bytes) -> None:
    # Whoever reads meanwhile, or after a power failure, finds the old key or the new one and never half of it.
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
            path.unlink()
            raise


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
