"""Opens the host of a command as its options say: identity, certificates, authorities, private network."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multiaddr import Multiaddr

from peerstack import open_host
from peerstack._defaults import default_native_transports, default_transports
from peerstack._open import FORCE_PRIVATE
from peerstack.stack.addressing import components, is_unix, is_unspecified, parse_address, split_peer
from peerstack.stack.addressing.usable import why_undialable
from peerstack.stack.errors import KeyFileError
from peerstack.stack.events import Observer
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity

from .failure import CommandError
from .identity import load_identity
from .logs import EventLog
from .options import DialOptions, HostOptions, ListenOptions

if TYPE_CHECKING:
    from peerstack.stack.security.pnet import PreSharedKey

MAX_PEM = 4 * 1024 * 1024
"""Bytes of a file of certificates; all the authorities of a system have half a megabyte."""
_CERTIFICATE = b"CERTIFICATE-----"
_PRIVATE_KEY = b"PRIVATE KEY-----"
_OWN_WIRE = {"quic", "quic-v1", "webtransport"}
"""Parts of addresses whose transports have their own encryption, which the key of a private network cannot protect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """What the options named, loaded and checked."""

    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    private_network: PreSharedKey | None = None
    identity: Identity | None = None
    announce: tuple[Multiaddr, ...] = ()
    """Without the peer id."""
    verbose: int = 0


NO_PRIVATE_DEMO = f"the demo has none and stays on this machine; run it with {FORCE_PRIVATE}=0"
DEFAULT = HostConfig()


def open_any_host(
    *,
    config: HostConfig = DEFAULT,
    agent: str | None = None,
    observers: Iterable[Observer] = (),
) -> AbstractAsyncContextManager[Host]:
    """Open a host with all that is installed, as `open_host` does, with the certificates and keys of `config`."""
    identity = config.identity or Identity.generate()
    if config.verbose:
        observers = [*observers, EventLog()]
    return open_host(
        identity=identity,
        transports=default_transports(server_tls=config.server_tls, client_tls=config.client_tls),
        native_transports=default_native_transports(identity) if config.private_network is None else [],
        private_network=config.private_network,
        agent=agent,
        observers=observers,
    )


def load_host_config(
    options: HostOptions, *, listen: Sequence[Multiaddr] = (), dial: Sequence[Multiaddr] = ()
) -> HostConfig:
    """Load what the options name, and check that it fits the addresses. Raises CommandError and KeyFileError."""
    server_tls = client_tls = None
    identity = None if options.identity is None else load_identity(options.identity)
    announce: tuple[Multiaddr, ...] = ()
    if isinstance(options, ListenOptions):
        server_tls = _server_tls(options, [address for address in listen if _is_secure_websocket(address)])
        announce = tuple(_announced(text, identity) for text in options.announce)
    if isinstance(options, DialOptions) and options.ca is not None:
        client_tls = _client_tls(options.ca)
    private_network = None
    if options.swarm_key is None:
        refuse_if_forced("give it with --swarm-key FILE")
    else:
        _check_protectable([*listen, *dial, *announce])
        private_network = load_swarm_key(options.swarm_key)
    return HostConfig(
        server_tls=server_tls,
        client_tls=client_tls,
        private_network=private_network,
        identity=identity,
        announce=announce,
        verbose=options.verbose,
    )


def _announced(text: str, identity: Identity | None) -> Multiaddr:
    """Return an address to announce, without the peer id. Raises CommandError, InvalidAddress."""
    address, peer = split_peer(parse_address(text))
    if peer is not None and (identity is None or peer != identity.peer_id):
        raise CommandError(f"--announce {text} names peer {peer}; leave out the peer id, ours is added")
    if is_unspecified(address):
        raise CommandError(f"--announce {text}: this is for listening; announce the address that others dial")
    if is_unix(address):
        raise CommandError(f"--announce {text}: other machines cannot use a path of this one")
    reason = why_undialable(address)
    if reason is not None:
        raise CommandError(f"--announce {text}: {reason}")
    return address


@contextmanager
def _extra() -> Iterator[None]:
    """Turn a missing extra into a CommandError."""
    try:
        yield
    except ImportError as error:
        raise CommandError(str(error)) from error


# ---- secure WebSocket


def _is_secure_websocket(address: Multiaddr) -> bool:
    names = {name for name, _ in components(address)}
    return "wss" in names or names >= {"tls", "ws"}


def _server_tls(options: ListenOptions, secure: Sequence[Multiaddr]) -> ssl.SSLContext | None:
    if options.cert is None:
        if options.cert_key is not None:
            raise CommandError("--cert-key needs a certificate; give it with --cert FILE")
        if secure:
            raise CommandError(
                f"listening on {secure[0]} needs a certificate; give it with --cert FILE --cert-key FILE, "
                "or listen on plain /ws"
            )
        return None
    if not secure:
        raise CommandError(
            "--cert is for secure WebSocket, and no such address is listened on; "
            "add one, such as --listen /ip4/0.0.0.0/tcp/443/tls/ws"
        )
    return _load_certificate(options.cert, options.cert_key)


def _load_certificate(certificate: Path, key: Path | None) -> ssl.SSLContext:
    key_option, key_file = ("--cert", certificate) if key is None else ("--cert-key", key)
    if _CERTIFICATE not in _read("--cert", certificate):
        raise CommandError(f"--cert {certificate}: the file has no certificate in PEM form")
    if _PRIVATE_KEY not in _read(key_option, key_file):
        advice = "; give the key file with --cert-key" if key is None else ""
        raise CommandError(f"{key_option} {key_file}: the file has no private key in PEM form{advice}")
    with _extra():
        from peerstack.transports.websocket import server_context
    try:
        # First with a password that is refused: OpenSSL would stop and ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key_file, _refuse_password)
        return server_context(certificate, key_file)
    except _EncryptedKey:
        raise CommandError(
            f"the key in {key_file} is encrypted, and the command does not ask for passwords; "
            f"decrypt it with: openssl pkey -in {key_file} -out plain.key"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CommandError(
                f"the key in {key_file} does not match the certificate in {certificate}; "
                "the certificate of the server itself comes first in its file, before the chain"
            ) from None
        raise CommandError(f"OpenSSL cannot read {certificate} and {key_file}: {error}") from None


class _EncryptedKey(Exception):
    """A private key needs a password."""


def _refuse_password() -> str:
    raise _EncryptedKey


def _client_tls(authorities: Path) -> ssl.SSLContext:
    _read("--ca", authorities)
    with _extra():
        from peerstack.transports.websocket import client_context
    try:
        return client_context(authorities)
    except ssl.SSLError as error:
        if error.reason == "NO_CERTIFICATE_OR_CRL_FOUND":
            raise CommandError(f"--ca {authorities}: the file has no certificate in PEM form") from None
        raise CommandError(f"OpenSSL cannot read {authorities}: {error}") from None


def _read(option: str, path: Path) -> bytes:
    """Return what is in a PEM file; the errors of OpenSSL name neither the file nor the option."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PEM + 1)
    except OSError as error:
        raise CommandError(f"{option} {path}: {error.strerror}") from error
    if len(content) > MAX_PEM:
        raise CommandError(f"{option} {path}: the file is too large for certificates")
    return content


# ---- private networks


def refuse_if_forced(advice: str) -> None:
    """Raise CommandError with the advice if the environment demands the key of a private network."""
    if os.environ.get(FORCE_PRIVATE) == "1":
        raise CommandError(f"{FORCE_PRIVATE}=1 forbids hosts without the key of a private network; {advice}")


def load_swarm_key(path: Path) -> PreSharedKey:
    """Return the key in a `swarm.key` file. Raises CommandError and KeyFileError."""
    kind = pre_shared_key()
    try:
        return kind.load(path)
    except KeyFileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise CommandError(
                f"{path} does not exist; copy it from a member of the network, "
                f"or make a new one with: peerstack swarm-key new --out {path}"
            ) from error
        raise


def pre_shared_key() -> type[PreSharedKey]:
    """Return the class of keys. Raises CommandError where what it needs is not installed."""
    with _extra():
        from peerstack.stack.security.pnet import PreSharedKey
    return PreSharedKey


def _check_protectable(addresses: Sequence[Multiaddr]) -> None:
    for address in addresses:
        if any(name in _OWN_WIRE for name, _ in components(address)):
            raise CommandError(
                f"a private network cannot protect {address}, whose transport has its own encryption; "
                "use TCP or WebSocket, or leave out --swarm-key"
            )
