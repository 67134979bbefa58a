"""Publish/subscribe: gossipsub 1.0 to 1.3 and floodsub (libp2p specs, `pubsub/`)."""

from .codec import Codec, JsonCodec
from .config import GossipConfig
from .gater import GaterConfig
from .ids import MessageIdFunction, default_id, sha256_of_data
from .pubsub import Pubsub, open_pubsub
from .receipt import Delivery, DeliveryState, Receipt
from .room import Room, RoomStatistics
from .score_config import ScoreConfig, TopicScoreConfig
from .settings import PubsubConfig, QueueConfig
from .signing import SignaturePolicy
from .statistics import PeerStatistics, PubsubStatistics
from .subscription import PubsubMessage, SubscriptionOverflow, WhenFull
from .topics import PeerJoined, PeerLeft
from .validation import Validator, Verdict
from .wire import RpcLimits

__all__ = [
    "Codec",
    "Delivery",
    "DeliveryState",
    "GaterConfig",
    "GossipConfig",
    "JsonCodec",
    "MessageIdFunction",
    "PeerJoined",
    "PeerLeft",
    "PeerStatistics",
    "Pubsub",
    "PubsubConfig",
    "PubsubMessage",
    "PubsubStatistics",
    "QueueConfig",
    "Receipt",
    "Room",
    "RoomStatistics",
    "RpcLimits",
    "ScoreConfig",
    "SignaturePolicy",
    "SubscriptionOverflow",
    "TopicScoreConfig",
    "Validator",
    "Verdict",
    "WhenFull",
    "default_id",
    "open_pubsub",
    "sha256_of_data",
]
