"""Keys of private networks: the forms of the file, what is refused and in which words, and the fingerprint."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from peerstack.stack.errors import InvalidKey, KeyFileError
from peerstack.stack.security.pnet import PreSharedKey

KEY = bytes.fromhex("6189c5cf0b87fb800c1a9feeda73c6ab5e998db48fb9e6a978575c770ceef683")
FINGERPRINT = "45fc986bbc9388a11d939df26f730f0c"  # as kubo and rust-libp2p print it for this key
HEADER = b"/key/swarm/psk/1.0.0/\n"


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"/base16/\n" + KEY.hex().encode(),
        HEADER + b"/base16/\n" + KEY.hex().upper().encode() + b"\n",
        HEADER + b"/base64/\n" + base64.b64encode(KEY) + b"\n",
        HEADER + b"/bin/\n" + KEY,
        HEADER + b"/bin/\n" + KEY + b"\n",
        HEADER.replace(b"\n", b"\r\n") + b"/base16/\r\n" + KEY.hex().encode() + b"\r\n",
    ],
)
def test_the_forms_of_the_file(content: bytes) -> None:
    key = PreSharedKey.parse(content)
    assert key == PreSharedKey(KEY)
    assert key.fingerprint == FINGERPRINT


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the first line is not /key/swarm/psk/1.0.0/"),
        (KEY.hex().encode(), "the first line is not /key/swarm/psk/1.0.0/"),
        (HEADER.replace(b"1.0.0", b"2.0.0"), "the first line is not /key/swarm/psk/1.0.0/"),
        (HEADER, "the second line is not one of /base16/, /base64/, /bin/"),
        (HEADER + b"/base32/\nAAAA", "the second line is not one of /base16/, /base64/, /bin/"),
        (HEADER + b"/\xff/\nAAAA", "the second line is not one of /base16/, /base64/, /bin/"),
        (HEADER + b"/base16/\n" + b"x" * 64, "the third line is no key in base16"),
        (HEADER + b"/base16/\n\xff", "the third line is no key in base16"),
        (HEADER + b"/base64/\n!!!!", "the third line is no key in base64"),
        (HEADER + b"/base16/\n" + KEY.hex().encode()[:-2], "the key of a private network has 32 bytes, not 31"),
        (HEADER + b"/base64/\n" + base64.b64encode(KEY + b"x"), "the key of a private network has 32 bytes, not 33"),
        (HEADER + b"/bin/\n" + KEY + b"x", "the key of a private network has 32 bytes, not 33"),
        (HEADER + b"/bin/\n", "the key of a private network has 32 bytes, not 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(content: bytes, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidKey) as caught:
        PreSharedKey.parse(content)
    assert str(caught.value) == complaint
    path = tmp_path / "swarm.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as from_file:
        PreSharedKey.load(path)
    assert str(from_file.value) == f"{path} is not the key of a private network: {complaint}"


def test_a_new_key_is_saved_for_its_owner_only_and_loaded_again(tmp_path: Path) -> None:
    path, key = tmp_path / "swarm.key", PreSharedKey.generate()
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("/key/swarm/psk/1.0.0/\n/base16/\n")
    assert PreSharedKey.load(str(path)) == key != PreSharedKey.generate()
    with pytest.raises(KeyFileError, match="exists already"):
        key.save(path)
    key.save(path, overwrite=True)


def test_a_file_that_is_missing_or_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "swarm.key"
    with pytest.raises(KeyFileError, match=r"swarm\.key does not exist; create it with PreSharedKey\.generate"):
        PreSharedKey.load(path)
    PreSharedKey.generate().save(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match=r"open to other users \(mode 644\)"):
        PreSharedKey.load(path)


def test_a_key_never_shows_itself() -> None:
    key = PreSharedKey(KEY)
    assert repr(key) == f"<PreSharedKey with fingerprint {FINGERPRINT}>"
    assert str(key) == f"fingerprint {FINGERPRINT}"
    assert len({key, PreSharedKey(KEY), PreSharedKey(bytes(32))}) == 2


def test_without_the_extra_the_error_names_it() -> None:
    program = "import sys; sys.modules['Crypto'] = None; import peerstack.stack.security.pnet"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "private networks need the extra `pnet`: pip install '.[pnet]'" in ran.stderr
