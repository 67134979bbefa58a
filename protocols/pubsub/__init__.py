"""Publish/subscribe: gossipsub 1.0 to 1.3 and floodsub (libp2p specs, `pubsub/`)."""

from .codec import TEXT, Codec, JsonCodec, TextCodec
from .config import GossipConfig
from .core_events import (
    Grafted,
    Graylisted,
    Misbehaved,
    PeersSuggested,
    PeerSubscribed,
    PeerUnsubscribed,
    Pruned,
    SubscriptionRefused,
)
from .events import ForwardDropped, MalformedRpc, MessageRejected, PeerDropped, PubsubPeerAdded, PubsubPeerRemoved
from .gater import GaterConfig
from .ids import MessageIdFunction, default_id, js_default_id, rust_default_id, sha256_of_data
from .pacing import Pacing
from .pubsub import Pubsub, open_pubsub
from .receipt import Delivery, DeliveryState, Receipt
from .room import Room, RoomStatistics
from .score import ScoreSnapshot
from .score_config import ScoreConfig, TopicScoreConfig
from .settings import PubsubConfig, QueueConfig
from .signing import SignaturePolicy
from .statistics import PeerStatistics, PubsubStatistics
from .subscription import PubsubMessage, SubscriptionOverflow, WhenFull
from .topics import PeerJoined, PeerLeft
from .validation import Validator, Verdict
from .wire import Message, RpcLimits

__all__ = [
    "TEXT",
    "Codec",
    "Delivery",
    "DeliveryState",
    "ForwardDropped",
    "GaterConfig",
    "GossipConfig",
    "Grafted",
    "Graylisted",
    "JsonCodec",
    "MalformedRpc",
    "Message",
    "MessageIdFunction",
    "MessageRejected",
    "Misbehaved",
    "Pacing",
    "PeerDropped",
    "PeerJoined",
    "PeerLeft",
    "PeerStatistics",
    "PeerSubscribed",
    "PeerUnsubscribed",
    "PeersSuggested",
    "Pruned",
    "Pubsub",
    "PubsubConfig",
    "PubsubMessage",
    "PubsubPeerAdded",
    "PubsubPeerRemoved",
    "PubsubStatistics",
    "QueueConfig",
    "Receipt",
    "Room",
    "RoomStatistics",
    "RpcLimits",
    "ScoreConfig",
    "ScoreSnapshot",
    "SignaturePolicy",
    "SubscriptionOverflow",
    "SubscriptionRefused",
    "TextCodec",
    "TopicScoreConfig",
    "Validator",
    "Verdict",
    "WhenFull",
    "default_id",
    "js_default_id",
    "open_pubsub",
    "rust_default_id",
    "sha256_of_data",
]
