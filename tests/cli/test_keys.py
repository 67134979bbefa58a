"""`peerstack id import` and `export`: keys of OpenSSL and OpenSSH, and what is no key file."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerstack.stack.identity import Identity

from .drive import Ran, cli


def line_of(ran: Ran) -> str:
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    return ran.err.removeprefix("peerstack: ").rstrip("\n")


@pytest.fixture
def identity() -> Identity:
    return Identity.generate()


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("secret\nmore")
    return path


def test_a_key_goes_out_and_comes_back(tmp_path: Path, identity: Identity) -> None:
    mine, pem, back = (str(tmp_path / name) for name in ("my.key", "key.pem", "back.key"))
    identity.save(mine)
    for form in ("pkcs8", "openssh", "protobuf"):
        ran = cli("id", "export", mine, "--form", form, "--out", f"{pem}.{form}", "--json")
        assert (ran.code, ran.events[0]["peer_id"], ran.events[0]["file"]) == (
            0,
            str(identity.peer_id),
            f"{pem}.{form}",
        )
        assert cli("id", "show", f"{pem}.{form}", "--json").events[0]["peer_id"] == str(identity.peer_id)
        ran = cli("id", "import", f"{pem}.{form}", "--out", f"{back}.{form}", "--json")
        assert (ran.code, ran.events[0]["peer_id"]) == (0, str(identity.peer_id))
        assert Path(f"{back}.{form}").read_bytes() == identity.encode()


def test_an_encrypted_key_is_imported_with_its_password(tmp_path: Path, identity: Identity, password: Path) -> None:
    mine, locked, back = (str(tmp_path / name) for name in ("my.key", "locked.pem", "back.key"))
    identity.save(mine)
    assert cli("id", "export", mine, "--password-file", str(password), "--out", locked).code == 0
    assert "ENCRYPTED" in Path(locked).read_text()
    for arguments in (
        ("id", "show", locked),
        ("listen", "--identity", locked),
        ("id", "import", locked, "--out", back),
    ):
        line = line_of(cli(*arguments))
        assert line.startswith(f"the key in {locked} is encrypted")
        assert f"peerstack id import {locked} --password-file FILE --out my.key" in line
    ran = cli("id", "import", locked, "--password-file", str(password), "--out", back)
    assert ran.code == 0
    assert Identity.load(back).peer_id == identity.peer_id
    password.write_text("wrong\n")
    line = line_of(cli("id", "import", locked, "--password-file", str(password), "--out", f"{back}.2"))
    assert line == f"{locked} cannot be opened: the password does not open it, or it is broken"


def test_wrong_passwords_and_forms_are_one_line(tmp_path: Path, identity: Identity, password: Path) -> None:
    mine, out = str(tmp_path / "my.key"), str(tmp_path / "out.pem")
    identity.save(mine)
    export = ("id", "export", mine, "--out", out)
    assert "openssl has no form for ED25519 keys; pkcs8 has" in line_of(cli(*export, "--form", "openssl"))
    assert "Choose from" in line_of(cli(*export, "--form", "der"))
    with_password = (*export, "--password-file", str(password))
    assert "the protobuf form has no password" in line_of(cli(*with_password, "--form", "protobuf"))
    password.write_text("\n")
    assert (
        line_of(cli(*with_password))
        == f"--password-file {password}: its first line is empty, and should be the password"
    )
    password.write_text("x" * 2000)
    assert "its first line is longer than 1023 bytes" in line_of(cli(*with_password))
    password.unlink()
    assert line_of(cli(*with_password)) == f"--password-file {password}: No such file or directory"
    assert not Path(out).exists()


def test_what_is_there_is_not_overwritten(tmp_path: Path, identity: Identity) -> None:
    mine = str(tmp_path / "my.key")
    identity.save(mine)
    for command in ("import", "export"):
        assert "exists already, and keys are never overwritten" in line_of(cli("id", command, mine, "--out", mine))


@pytest.mark.parametrize(("path", "kind"), [("/dev/null", "a device"), ("/", "a folder"), ("/dev/tty", "a device")])
def test_what_is_no_file_is_named_and_needs_no_other_mode(path: str, kind: str) -> None:
    assert line_of(cli("id", "show", path)) == f"{path} is {kind}, and not a key file; check the path"
