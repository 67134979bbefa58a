"""Who a peer is: key pairs, peer ids, signed envelopes and peer records."""

from .envelope import Envelope
from .identity import Identity
from .keys import KeyType, PublicKey
from .peer_id import PeerId
from .peer_record import PeerRecord

__all__ = ["Envelope", "Identity", "KeyType", "PeerId", "PeerRecord", "PublicKey"]
