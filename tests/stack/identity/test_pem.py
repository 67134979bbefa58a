"""Keys of OpenSSL and OpenSSH become identities and are written again; what cannot be one is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from peerstack.stack.errors import InvalidInput, InvalidKey, KeyFileError, KeyPasswordError
from peerstack.stack.identity import Identity, KeyType

FORMS: dict[str, PrivateFormat] = {
    "pkcs8": PrivateFormat.PKCS8,
    "openssl": PrivateFormat.TraditionalOpenSSL,
    "openssh": PrivateFormat.OpenSSH,
}
KEYS: dict[str, Any] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}
TYPES = {"ed25519": KeyType.ED25519, "secp256k1": KeyType.SECP256K1, "rsa": KeyType.RSA}
IMPOSSIBLE = {("ed25519", "openssl"), ("secp256k1", "openssh")}
POSSIBLE = [(name, form) for name in KEYS for form in FORMS if (name, form) not in IMPOSSIBLE]


def pem(key: Any, form: str = "pkcs8", password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    written: bytes = key.private_bytes(Encoding.PEM, FORMS[form], encryption)
    return written


def public(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def one_line(error: BaseException) -> bool:
    return bool(str(error)) and "\n" not in str(error)


@pytest.mark.parametrize(("name", "form"), POSSIBLE)
def test_keys_of_every_form_become_the_identity_of_that_key(name: str, form: str) -> None:
    identity = Identity.from_pem(pem(KEYS[name], form))
    assert identity.public_key.key_type == TYPES.get(name, KeyType.ECDSA)
    identity.public_key.verify(b"message", identity.sign(b"message"))
    assert Identity.decode(identity.encode()).peer_id == identity.peer_id
    assert Identity.from_pem(pem(KEYS[name], form).decode()).peer_id == identity.peer_id


@pytest.mark.parametrize(("name", "form"), POSSIBLE)
def test_an_identity_is_written_as_the_same_key(name: str, form: Any) -> None:
    identity = Identity.from_pem(pem(KEYS[name]))
    if form == "openssh":  # it has a number of chance in it
        assert Identity.from_pem(identity.to_pem(form)).peer_id == identity.peer_id
    else:
        assert identity.to_pem(form).encode() == pem(KEYS[name], form)


def test_the_forms_that_do_not_know_a_type_are_refused() -> None:
    for name, form in IMPOSSIBLE:
        identity = Identity.from_pem(pem(KEYS[name]))
        with pytest.raises(InvalidInput, match=f"{form} has no form for .* keys; pkcs8 has") as caught:
            identity.to_pem(form)  # type: ignore[arg-type]  # of a set
        assert one_line(caught.value)
    with pytest.raises(InvalidInput, match="the form of a key is one of pkcs8, openssl, openssh, not 'der'"):
        identity.to_pem("der")  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("form", ["pkcs8", "openssl"])
@pytest.mark.parametrize("password", ["secret", b"secret"])
def test_a_password_opens_an_encrypted_key(form: Any, password: str | bytes) -> None:
    identity = Identity.generate("ecdsa")
    text = identity.to_pem(form, password=password)
    assert "ENCRYPTED" in text
    assert Identity.from_pem(text, password="secret").peer_id == identity.peer_id
    with pytest.raises(KeyPasswordError, match="it is encrypted; give its password"):
        Identity.from_pem(text)
    with pytest.raises(KeyPasswordError, match="the password does not open it"):
        Identity.from_pem(text, password="wrong")
    with pytest.raises(KeyPasswordError, match="it is not encrypted; leave the password out"):
        Identity.from_pem(identity.to_pem(form), password="secret")


@pytest.mark.parametrize("wrong", ["", b"", 5])
def test_what_is_no_password_is_refused(wrong: Any) -> None:
    identity = Identity.generate()
    for call in (identity.to_pem, lambda password: Identity.from_pem(identity.to_pem(), password=password)):
        with pytest.raises((InvalidInput, TypeError), match=r"password is (empty|str or bytes)"):
            call(password=wrong)


def test_an_encrypted_key_of_openssh_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "vectors" / "openssh_encrypted.pem").read_text()
    with pytest.raises(KeyPasswordError, match="it is encrypted; give its password"):
        Identity.from_pem(text)
    monkeypatch.setattr("cryptography.hazmat.primitives.serialization.ssh._bcrypt_supported", False)
    with pytest.raises(InvalidKey, match="pip install bcrypt"):
        Identity.from_pem(text, password="secret")
    with pytest.raises(InvalidInput, match="pip install bcrypt"):
        Identity.generate().to_pem("openssh", password="secret")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (x25519.X25519PrivateKey.generate(), "X25519"),
        (ed448.Ed448PrivateKey.generate(), "Ed448"),
        (dsa.generate_private_key(2048), "DSA"),
    ],
)
def test_a_key_that_is_no_identity_is_named(key: Any, kind: str) -> None:
    with pytest.raises(InvalidKey, match=f"a key of type {kind}; Ed25519, secp256k1, ECDSA .* and RSA") as caught:
        Identity.from_pem(pem(key))
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (ec.generate_private_key(ec.SECP224R1()), "on P-256, P-384 or P-521, not secp224r1"),
        (rsa.generate_private_key(65537, 1024), "2048 to 8192 bits, not 1024"),
    ],
)
def test_weak_keys_are_refused_as_ever(key: Any, problem: str) -> None:
    with pytest.raises(InvalidKey, match=problem):
        Identity.from_pem(pem(key))


def test_other_blocks_round_the_key_are_passed_over() -> None:
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    text = f"Bag Attributes: <none>\n{parameters}{pem(KEYS['p256'], 'openssl').decode()}"
    assert Identity.from_pem(text).peer_id == Identity.from_pem(pem(KEYS["p256"])).peer_id


def test_what_is_no_private_key_is_refused_in_one_line() -> None:
    whole = pem(KEYS["ed25519"])
    shown = KEYS["ed25519"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for text, problem in (
        (b"", "there is no key in PEM form"),
        (b"\xff\xfe", "there is no key in PEM form"),
        (shown, "it holds no private key, but a 'PUBLIC KEY'"),
        (whole[:-40], "it is broken"),
        (whole[:60], "it is broken"),
        (whole.replace(b"MC4C", b"MC4D"), "it is broken"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "it is broken"),
        (b"-----BEGIN \x1b[31m-----", "it holds no private key"),
    ):
        with pytest.raises(InvalidKey, match=problem) as caught:
            Identity.from_pem(text)
        assert one_line(caught.value)
        assert str(caught.value).isprintable()


# ---- files


def test_a_key_file_may_be_pem(tmp_path: Path) -> None:
    for number, (name, form) in enumerate(POSSIBLE):
        path = tmp_path / f"{number}.pem"
        identity = Identity.from_pem(pem(KEYS[name]))
        identity.save(path, form=form)  # type: ignore[arg-type]  # of a list
        assert path.read_bytes().startswith(b"-----BEGIN ")
        assert Identity.load(path).peer_id == identity.peer_id
        if sys.platform != "win32":
            assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_file_may_be_der(tmp_path: Path, name: str, form: PrivateFormat) -> None:
    if name == "ed25519" and form is PrivateFormat.TraditionalOpenSSL:
        return
    key, path = KEYS[name], tmp_path / "key.der"
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.DER, form, NoEncryption()))
    assert Identity.load(path).peer_id == Identity.from_pem(pem(key)).peer_id
    path.write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    assert Identity.load(path, password="secret").peer_id == Identity.from_pem(pem(key)).peer_id
    with pytest.raises(KeyFileError, match="it is encrypted; give its password"):
        Identity.load(path)
    path.write_bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(KeyFileError, match="it is broken, or a form that is not known") as caught:
        Identity.load(path)
    assert one_line(caught.value)


@pytest.mark.parametrize("name", ["ed25519", "p256", "rsa"])
def test_the_public_half_of_an_openssh_key_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "id.pub"
    path.touch(mode=0o600)
    path.write_bytes(KEYS[name].public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" me@here\n")
    with pytest.raises(KeyFileError, match=r"the private one is in the file without \.pub"):
        Identity.load(path)


def test_a_key_file_may_be_encrypted(tmp_path: Path) -> None:
    path, plain = tmp_path / "locked.pem", tmp_path / "plain.key"
    identity = Identity.generate()
    identity.save(path, form="pkcs8", password="secret")
    assert Identity.load(path, password="secret").peer_id == identity.peer_id
    with pytest.raises(KeyFileError, match=r"locked\.pem cannot be opened: it is encrypted; give its password"):
        Identity.load(path)
    with pytest.raises(InvalidInput, match="the protobuf form has no password"):
        identity.save(plain, password="secret")
    identity.save(plain)
    with pytest.raises(KeyFileError, match=r"plain\.key cannot be opened: it is not encrypted"):
        Identity.load(plain, password="secret")


def test_only_four_types_of_keys_are_made() -> None:
    for wrong in ("dsa", "", None, 5):
        with pytest.raises(InvalidKey, match="the type of a key is one of rsa, ed25519, secp256k1, ecdsa, not"):
            Identity.generate(wrong)  # type: ignore[arg-type]  # the mistake under test


def test_no_representation_shows_the_secret() -> None:
    identity = Identity.generate()
    for text in (repr(identity), str(identity), repr(identity.public_key), repr([identity])):
        assert identity.encode()[4:36].hex() not in text
        assert str(identity.peer_id) in text
