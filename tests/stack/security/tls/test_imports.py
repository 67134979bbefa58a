"""What is said where the library below TLS is missing."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("peerstack.stack.security.tls", "TLS needs the extra `tls`: pip install '.[tls]'"),
        ("peerstack.transports.quic", "ImportError: QUIC needs the extra `quic`: pip install '.[quic]'"),
    ],
)
def test_a_missing_extra_is_named(module: str, advice: str) -> None:
    program = f"import sys; sys.modules['OpenSSL'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert advice in done.stderr.splitlines()[-1]
