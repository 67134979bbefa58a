"""Secure WebSocket on the command line: what --cert, --cert-key and --ca do, and what they say when they cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ..transports.websocket.certificates import Authority
from .drive import Ran, cli, closed_port, listening, started

SECURE = "/ip4/127.0.0.1/tcp/0/tls/ws"
COMMANDS_THAT_DIAL = (
    ["ping"],
    ["perf"],
    ["identify"],
    ["pubsub", "subscribe", "news", "--peer"],
    ["pubsub", "publish", "news", "x", "--peer"],
    ["chat", "lobby", "--peer"],
)
COMMANDS_THAT_LISTEN = (
    ["listen"],
    ["pubsub", "subscribe", "news"],
    ["pubsub", "publish", "news", "x"],
    ["chat", "lobby"],
)


def named(command: list[str]) -> str:
    return " ".join(word for word in command if not word.startswith("--"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[str, str]:
    """The files of a certificate for 127.0.0.1, and of its key."""
    certificate, key = authority.issue("127.0.0.1")
    return str(certificate), str(key)


def line_of(ran: Ran) -> str:
    """Return the one line on stderr, after checking that it is that."""
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("peerstack: ")
    assert ran.err.count("\n") == 1
    return ran.err.removeprefix("peerstack: ").rstrip("\n")


# ---- what works


def test_a_ping_reaches_a_listener_with_a_certificate_whose_authority_is_trusted(
    authority: Authority, pair: tuple[str, str]
) -> None:
    with listening("--listen", SECURE, "--cert", pair[0], "--cert-key", pair[1]) as (_, first):
        (address,) = [address for address in first["addresses"] if "/tls/ws/" in address]
        ran = cli("ping", address, "--ca", str(authority.file), "--count", "2", "--json")
        by_curls_name = cli("identify", address, "--cacert", str(authority.file))
        refused = cli("ping", address, "--count", "1")
        explained = cli("explain", address, "--json")
    assert (ran.code, ran.err, by_curls_name.code) == (0, "", 0)
    assert ran.events[0]["address"].endswith("/tls/ws")
    assert ran.events[-1]["received"] == 2
    text = line_of(refused)
    assert "TLS handshake: the certificate is not trusted: " in text
    assert text.endswith("; if it is the right one, trust it or its issuer with --ca FILE")
    assert explained.code == 1
    assert "--ca FILE" in explained.events[0]["attempts"][0]["stages"][-1]["advice"]


def test_a_file_with_certificate_and_key_is_enough_and_messages_go_through_it(
    authority: Authority, pair: tuple[str, str], tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(pair[1]).read_text() + Path(pair[0]).read_text())
    subscribe = ("pubsub", "subscribe", "news", "--count", "1", "--listen", SECURE, "--cert", str(both))
    with started(*subscribe) as (subscriber, first):
        (address,) = [address for address in first["addresses"] if "/tls/ws/" in address]
        ran = cli("pubsub", "publish", "news", "hello", "--peer", address, "--ca", str(authority.file))
        heard, _ = subscriber.communicate(timeout=30)
    assert (ran.code, ran.err) == (0, "")
    assert '"event": "message"' in heard


def test_a_certificate_for_another_name_is_explained(authority: Authority, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("example.org")
    with listening("--listen", SECURE, "--cert", str(certificate), "--cert-key", str(key)) as (_, first):
        (address,) = [address for address in first["addresses"] if "/tls/ws/" in address]
        ran = cli("ping", address, "--ca", str(tmp_path / "authority.pem"))
    assert line_of(ran).endswith("; put the name it is for in the address: /tls/sni/NAME/ws")


# ---- what cannot be meant


@pytest.mark.parametrize("command", COMMANDS_THAT_LISTEN, ids=named)
@pytest.mark.parametrize("address", [SECURE, "/ip4/127.0.0.1/tcp/0/wss", "/ip4/127.0.0.1/tcp/0/tls/sni/a.org/ws"])
def test_secure_addresses_without_a_certificate(command: list[str], address: str) -> None:
    text = line_of(cli(*command, "--listen", address))
    assert text == (
        f"listening on {address} needs a certificate; give it with --cert FILE --cert-key FILE, or listen on plain /ws"
    )


@pytest.mark.parametrize("command", COMMANDS_THAT_LISTEN, ids=named)
def test_a_certificate_without_an_address_for_it(command: list[str], pair: tuple[str, str]) -> None:
    plain = ("--listen", "/ip4/127.0.0.1/tcp/0/ws", "--cert", pair[0], "--cert-key", pair[1])
    assert line_of(cli(*command, *plain)) == (
        "--cert is for secure WebSocket, and no such address is listened on; "
        "add one, such as --listen /ip4/0.0.0.0/tcp/443/tls/ws"
    )


def test_a_key_without_a_certificate(pair: tuple[str, str]) -> None:
    text = line_of(cli("listen", "--listen", SECURE, "--cert-key", pair[1]))
    assert text == "--cert-key needs a certificate; give it with --cert FILE"


def listen_with(certificate: object, key: object = None) -> str:
    """Return why `listen` refuses these files."""
    key_option = [] if key is None else ["--cert-key", str(key)]
    return line_of(cli("listen", "--listen", SECURE, "--cert", str(certificate), *key_option))


def test_files_that_cannot_be_read(pair: tuple[str, str], tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    assert listen_with(missing, pair[1]) == f"--cert {missing}: No such file or directory"
    assert listen_with(pair[0], missing) == f"--cert-key {missing}: No such file or directory"
    assert listen_with(tmp_path, pair[1]) == f"--cert {tmp_path}: Is a directory"
    assert listen_with(pair[0], "/dev/zero") == "--cert-key /dev/zero: the file is too large for certificates"


def test_files_that_hold_something_else(pair: tuple[str, str], tmp_path: Path) -> None:
    certificate, key = pair
    assert listen_with(key, certificate) == f"--cert {key}: the file has no certificate in PEM form"
    assert listen_with(certificate, certificate) == f"--cert-key {certificate}: the file has no private key in PEM form"
    assert listen_with(certificate).endswith("no private key in PEM form; give the key file with --cert-key")
    broken = tmp_path / "broken.pem"
    broken.write_text(Path(certificate).read_text().replace("MI", "IM", 1))
    assert listen_with(broken, key).startswith(f"OpenSSL cannot read {broken} and {key}: ")


def test_a_key_of_another_certificate(pair: tuple[str, str], tmp_path: Path) -> None:
    _, other = Authority(tmp_path).issue("127.0.0.1")
    assert listen_with(pair[0], other) == (
        f"the key in {other} does not match the certificate in {pair[0]}; "
        "the certificate of the server itself comes first in its file, before the chain"
    )


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_is_refused_without_asking(form: PrivateFormat, pair: tuple[str, str], tmp_path: Path) -> None:
    key = load_pem_private_key(Path(pair[1]).read_bytes(), None)
    file = tmp_path / "encrypted.key"
    file.write_bytes(key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
    assert listen_with(pair[0], file) == (
        f"the key in {file} is encrypted, and the command does not ask for passwords; "
        f"decrypt it with: openssl pkey -in {file} -out plain.key"
    )


@pytest.mark.parametrize("command", [*COMMANDS_THAT_DIAL, ["explain"]], ids=named)
def test_every_command_that_dials_checks_whom_to_trust_first(command: list[str], tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("")
    with closed_port() as address:
        assert line_of(cli(*command, address, "--ca", str(missing))) == f"--ca {missing}: No such file or directory"
        assert line_of(cli(*command, address, "--ca", str(tmp_path))) == f"--ca {tmp_path}: Is a directory"
        text = line_of(cli(*command, address, "--ca", str(empty)))
    assert text == f"--ca {empty}: the file has no certificate in PEM form"


def test_broken_authorities(authority: Authority, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text(authority.file.read_text().replace("MI", "IM", 1))
    with closed_port() as address:
        assert line_of(cli("ping", address, "--ca", str(broken))).startswith(f"OpenSSL cannot read {broken}: ")


def test_in_the_json_form_it_is_an_error_object() -> None:
    ran = cli("listen", "--listen", SECURE, "--json")
    assert ran.code == 2
    (error,) = ran.events
    assert (error["event"], error["report"]) == ("error", None)
    assert error["message"].startswith(f"listening on {SECURE} needs a certificate; ")


def test_a_missing_extra_is_named_in_one_line(authority: Authority) -> None:
    program = (
        "import sys; sys.modules['websockets'] = None; from peerstack.cli import main;"
        f"sys.exit(main(['ping', '/ip4/127.0.0.1/tcp/1', '--ca', {str(authority.file)!r}]))"
    )
    ran = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "'.[websocket]'" in ran.stderr
