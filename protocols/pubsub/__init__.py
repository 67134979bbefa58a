"""Publish/subscribe: gossipsub 1.0 to 1.3 and floodsub (libp2p specs, `pubsub/`)."""

from .api.codec import TEXT, Codec, JsonCodec, TextCodec
from .api.config import PubsubConfig, QueueConfig
from .api.events import ForwardDropped, MalformedRpc, MessageRejected, PeerDropped, PubsubPeerAdded, PubsubPeerRemoved
from .api.joined_topic import JoinedTopic, TopicStatistics
from .api.local_topic import PeerJoined, PeerLeft
from .api.receipt import Delivery, DeliveryState, Receipt
from .api.statistics import PeerStatistics, PubsubStatistics
from .api.subscription import PubsubMessage, SubscriptionOverflow, WhenFull
from .pubsub import Pubsub, open_pubsub
from .router.config import GossipConfig
from .router.events import (
    Grafted,
    Graylisted,
    Misbehaved,
    PeersSuggested,
    PeerSubscribed,
    PeerUnsubscribed,
    Pruned,
    PruneReason,
    SubscriptionRefused,
)
from .scoring.config import ScoreConfig, TopicScoreConfig
from .scoring.gater import GaterConfig
from .scoring.score import ScoreSnapshot
from .streams.pacing import Pacing
from .validation.message_id import MessageIdFunction, default_id, js_default_id, rust_default_id, sha256_of_data
from .validation.signing import SignaturePolicy
from .validation.validators import ValidationResult, Validator
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
    "JoinedTopic",
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
    "PruneReason",
    "Pruned",
    "Pubsub",
    "PubsubConfig",
    "PubsubMessage",
    "PubsubPeerAdded",
    "PubsubPeerRemoved",
    "PubsubStatistics",
    "QueueConfig",
    "Receipt",
    "RpcLimits",
    "ScoreConfig",
    "ScoreSnapshot",
    "SignaturePolicy",
    "SubscriptionOverflow",
    "SubscriptionRefused",
    "TextCodec",
    "TopicScoreConfig",
    "TopicStatistics",
    "ValidationResult",
    "Validator",
    "WhenFull",
    "default_id",
    "js_default_id",
    "open_pubsub",
    "rust_default_id",
    "sha256_of_data",
]
