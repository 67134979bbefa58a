"""The bytes of publish/subscribe: RPCs, their messages and control entries (pubsub/README.md, gossipsub-v1.0 to v1.3).

A frame is a varint and that many bytes of RPC. An RPC is a row of protobuf fields, and rows can be joined:

    subscriptions = 1    repeated { subscribe = 1 bool, topicid = 2, requestsPartial = 3, supportsSendingPartial = 4 }
    publish       = 2    repeated { from = 1, data = 2, seqno = 3, topic = 4, signature = 5, key = 6 }
    control       = 3    { ihave = 1, iwant = 2, graft = 3, prune = 4, idontwant = 5, extensions = 6 }, merged
    partial       = 10   read and ignored
    testExtension = 6492434, empty

Written by hand: the signature covers bytes of the message, so presence and order of fields must be kept, message ids
are bytes though some schemas call them strings, and a decoder that counts while it reads cannot be made to
allocate more than its limits say.
"""

from .decode import DEFAULT_LIMITS, RpcLimits, decode_rpc
from .encode import (
    MAX_CONTROL,
    MAX_IDONTWANT,
    TEST_EXTENSION,
    encode_control,
    encode_subscriptions,
    frame,
    join_frames,
    make_message,
)
from .types import (
    FLOODSUB,
    MESHSUB_10,
    MESHSUB_11,
    MESHSUB_12,
    MESHSUB_13,
    Extensions,
    IHave,
    Message,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
)

__all__ = [
    "DEFAULT_LIMITS",
    "FLOODSUB",
    "MAX_CONTROL",
    "MAX_IDONTWANT",
    "MESHSUB_10",
    "MESHSUB_11",
    "MESHSUB_12",
    "MESHSUB_13",
    "TEST_EXTENSION",
    "Extensions",
    "IHave",
    "Message",
    "PeerInfo",
    "Prune",
    "Rpc",
    "RpcLimits",
    "Subscription",
    "decode_rpc",
    "encode_control",
    "encode_subscriptions",
    "frame",
    "join_frames",
    "make_message",
]
