"""Importing stack.identity is cheap: cryptography and protobuf come with the first use."""

import subprocess
import sys

# The package's own __init__ is left out: it may offer more than this folder.
PROGRAM = """
import sys
from importlib.util import find_spec, module_from_spec
sys.modules["peerstack"] = module_from_spec(find_spec("peerstack"))
from peerstack.stack.identity import PeerId, PublicKey
peer = PeerId.parse("12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq")
assert peer.public_key.peer_id == peer
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"cryptography", "google"}))
"""


def test_peer_ids_need_neither_cryptography_nor_protobuf() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
