"""Private networks by a pre-shared key (libp2p specs, `pnet/Private-Networks-PSK-V1.md`)."""

from ...extras import how_to_install

try:
    import Crypto.Cipher.Salsa20 as _salsa20  # noqa: F401
except ImportError as error:  # pragma: no cover - a test runs it in another process
    raise ImportError(f"private networks need the extra `pnet`: {how_to_install('pnet')}") from error

from .key import PreSharedKey
from .pipe import PrivatePipe

__all__ = ["PreSharedKey", "PrivatePipe"]
