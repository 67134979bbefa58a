"""`peerstack id`: make, show and convert keys and peer ids."""

from __future__ import annotations

import base64
import binascii
import os
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import trio
from cyclopts import App, Group, Parameter

from peerstack.stack.errors import InvalidInput, InvalidKey, InvalidPeerId, KeyFileError, KeyPasswordError
from peerstack.stack.identity import Identity, PeerId, PublicKey

from .events import Converted, KeyShown
from .failure import CommandError
from .options import Json
from .output import Output
from .runner import run

MAX_PASSWORD = 1023
"""Bytes of a password; OpenSSL takes no more."""

KeyTypeName = Literal["ed25519", "secp256k1", "ecdsa", "rsa"]
Form = Literal["base58", "cid", "base36", "hex"]
KeyForm = Literal["pkcs8", "openssl", "openssh", "protobuf"]

app = App(
    name="id",
    group_parameters=Group("Options"),
    help_epilogue="""Examples:
  peerstack id new --out my.key
  peerstack id show my.key
  peerstack id convert 12D3KooW… --to cid
  peerstack id import key.pem --out my.key""",
)


PasswordFile: TypeAlias = Annotated[
    Path | None,
    Parameter(
        help="The password of an encrypted key is the first line of this file.", metavar="FILE", show_default=False
    ),
]


def load_identity(path: Path, password_file: Path | None = None) -> Identity:
    """Return the identity in a key file; CommandError or KeyFileError if there is none."""
    password = None if password_file is None else _read_password(password_file)
    try:
        return Identity.load(path, password=password)
    except KeyFileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise CommandError(f"{path} does not exist; make it with: peerstack id new --out {path}") from error
        if isinstance(error.__cause__, KeyPasswordError) and password is None:
            raise CommandError(
                f"the key in {path} is encrypted, and the command does not ask for passwords; decrypt it with: "
                f"peerstack id import {path} --password-file FILE --out my.key"
            ) from error
        raise


def _read_password(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_PASSWORD + 1).rstrip(b"\r\n")
    except OSError as error:
        raise CommandError(f"--password-file {path}: {error.strerror}") from error
    if not line:
        raise CommandError(f"--password-file {path}: its first line is empty, and should be the password")
    if len(line) > MAX_PASSWORD:
        raise CommandError(f"--password-file {path}: its first line is longer than {MAX_PASSWORD} bytes")
    return line


# ---- new


_NEW_EPILOGUE = """Without --out the key is shown and forgotten. With it the private key goes to a
new file that only you can read. Keep it secret: it is the identity of this peer.

Examples:
  peerstack id new --out my.key
  peerstack id new --type rsa --bits 3072 --out old-style.key
  peerstack listen --identity my.key"""


@app.command(help_epilogue=_NEW_EPILOGUE, sort_key=0)
def new(
    *,
    type: Annotated[KeyTypeName, Parameter(help="Signature scheme; all peers support Ed25519.")] = "ed25519",
    bits: Annotated[int | None, Parameter(help="The size of an RSA key, 2048 to 8192; 2048 if not given.")] = None,
    out: Annotated[Path | None, Parameter(help="Save the key to this new file.")] = None,
    json: Json = False,
) -> int:
    """Make a new key, and with it a new peer id."""
    return run(partial(_new, type, bits, out), json=json)


async def _new(key_type: KeyTypeName, bits: int | None, out: Path | None, output: Output) -> int:
    if bits is not None and key_type != "rsa":
        raise CommandError(f"--bits is for RSA keys, {key_type} keys have one size; leave it out, or add --type rsa")
    with output.working(f"making a key of type {key_type}"):
        generate = partial(Identity.generate, key_type, bits=2048 if bits is None else bits)
        # Big RSA keys take seconds; Ctrl-C should not wait for them.
        identity = await trio.to_thread.run_sync(generate, abandon_on_cancel=True)
    if out is not None:
        _save(identity, out)
    output.emit(_key_shown(identity.peer_id, identity.public_key, out))
    if out is None:
        output.hint("This key is not saved; use --out FILE to keep one.")
    return 0


def _save(identity: Identity, path: Path, form: KeyForm = "protobuf", password: bytes | None = None) -> None:
    try:
        identity.save(path, form=form, password=password)
    except KeyFileError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise CommandError(
                f"{path} exists already, and keys are never overwritten; choose another file or move this one"
            ) from error
        raise


# ---- show


_SHOW_EPILOGUE = """Examples:
  peerstack id show my.key
  peerstack id show 12D3KooW…
  peerstack id show CAESID8gDLPl…"""


@app.command(help_epilogue=_SHOW_EPILOGUE, sort_key=1)
def show(
    what: Annotated[str, Parameter(help="A key file, a peer id in any form, or a public key as base64.")],
    /,
    *,
    json: Json = False,
) -> int:
    """Show a key or peer id in all its forms."""
    return run(partial(_show, what), json=json)


async def _show(what: str, output: Output) -> int:
    await trio.lowlevel.checkpoint()
    output.emit(_recognise(what))
    return 0


def _recognise(what: str) -> KeyShown:
    # Not Path.exists: it raises for text that is too long for a file name, such as a big key.
    if os.path.exists(what):
        # Devices, folders and pipes are files, too: `load` says what they are.
        identity = load_identity(Path(what))
        return _key_shown(identity.peer_id, identity.public_key, Path(what))
    key = _public_key(what)
    if key is not None:
        return _key_shown(key.peer_id, key, None)
    peer = _peer_id(what)
    if peer is not None:
        return _key_shown(peer, peer.public_key, None)
    raise CommandError(f"{what!r} is not an existing file, a peer id or a public key in base64; check its spelling")


def _public_key(text: str) -> PublicKey | None:
    try:
        return PublicKey.decode(base64.b64decode(text, validate=True))
    except (binascii.Error, InvalidKey, ValueError):
        return None


def _peer_id(text: str) -> PeerId | None:
    try:
        return parse_peer_id(text)
    except InvalidPeerId:
        return None


def _key_shown(peer: PeerId, key: PublicKey | None, file: Path | None) -> KeyShown:
    return KeyShown(
        peer_id=str(peer),
        type=None if key is None else key.key_type.name.lower(),
        public_key=None if key is None else base64.b64encode(key.encode()).decode(),
        cid=peer.to_cid(),
        base36=peer.to_cid("base36"),
        hex=peer.to_bytes().hex(),
        file=None if file is None else str(file),
    )


# ---- import and export


_IMPORT_EPILOGUE = """Reads keys of OpenSSL (PKCS#8 and traditional) and OpenSSH, of type Ed25519,
secp256k1, ECDSA or RSA. Unencrypted keys need no import: --identity reads them
directly.

Examples:
  peerstack id import key.pem --out my.key
  peerstack id import ~/.ssh/id_ed25519 --password-file pass --out my.key"""


@app.command(name="import", help_epilogue=_IMPORT_EPILOGUE, sort_key=3)
def import_(
    key: Annotated[Path, Parameter(help="A private key of OpenSSL or OpenSSH.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Save the key to this new file.")],
    password_file: PasswordFile = None,
    json: Json = False,
) -> int:
    """Convert a key of OpenSSL or OpenSSH to a key file."""
    return run(partial(_import, key, out, password_file), json=json)


async def _import(key: Path, out: Path, password_file: Path | None, output: Output) -> int:
    # The keys of OpenSSH are encrypted so that each guess of the password takes time.
    load = partial(load_identity, key, password_file)
    identity = await trio.to_thread.run_sync(load, abandon_on_cancel=True)
    _save(identity, out)
    output.emit(_key_shown(identity.peer_id, identity.public_key, out))
    return 0


_EXPORT_EPILOGUE = """Forms: pkcs8 is what today's OpenSSL writes, openssl its traditional form
(not of Ed25519 keys), openssh is that of ssh-keygen (not of secp256k1 keys),
protobuf that of all libp2p programs.

Examples:
  peerstack id export my.key --out key.pem
  peerstack id export my.key --form openssh --password-file pass --out id_peer"""


@app.command(help_epilogue=_EXPORT_EPILOGUE, sort_key=4)
def export(
    key: Annotated[Path, Parameter(help="A key file.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Write the key to this new file.")],
    form: Annotated[KeyForm, Parameter(help="The form wanted.")] = "pkcs8",
    password_file: Annotated[
        Path | None,
        Parameter(
            help="Encrypt the key with the password in the first line of this file.", metavar="FILE", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Write a key for OpenSSL, OpenSSH or other libp2p programs."""
    return run(partial(_export, key, out, form, password_file), json=json)


async def _export(key: Path, out: Path, form: KeyForm, password_file: Path | None, output: Output) -> int:
    await trio.lowlevel.checkpoint()
    identity = load_identity(key)
    password = None if password_file is None else _read_password(password_file)
    _save(identity, out, form, password)
    output.emit(_key_shown(identity.peer_id, identity.public_key, out))
    return 0


# ---- convert


_CONVERT_EPILOGUE = """Forms: base58 is the usual one (12D3… and Qm…), cid is base32 (bafz…), base36
is that of IPNS names (k51…), hex are the bytes of the multihash.

Examples:
  peerstack id convert 12D3KooW… --to cid
  peerstack id convert k51qzi5uqu5d… --to base58"""


@app.command(help_epilogue=_CONVERT_EPILOGUE, sort_key=2)
def convert(
    peer_id: Annotated[str, Parameter(help="A peer id in any of the four forms.")],
    /,
    *,
    to: Annotated[Form, Parameter(help="The form wanted.")],
    json: Json = False,
) -> int:
    """Convert a peer id to another form."""
    return run(partial(_convert, peer_id, to), json=json)


async def _convert(text: str, to: Form, output: Output) -> int:
    await trio.lowlevel.checkpoint()
    peer = parse_peer_id(text)
    output.emit(Converted(str(peer), to, _written(peer, to)))
    return 0


def parse_peer_id(text: str) -> PeerId:
    """Return the peer id in any of its four forms; InvalidPeerId for other text."""
    try:
        return PeerId.parse(text)
    except InvalidPeerId as error:
        try:
            return PeerId.from_bytes(bytes.fromhex(text))
        except (InvalidInput, ValueError):
            raise error from None


def _written(peer: PeerId, to: Form) -> str:
    match to:
        case "base58":
            return str(peer)
        case "cid":
            return peer.to_cid()
        case "base36":
            return peer.to_cid("base36")
        case "hex":
            return peer.to_bytes().hex()
