"""Decode RPCs, counting while reading: no more objects are made than the limits allow."""

from __future__ import annotations

from peerstack.stack.errors import RemoteProtocolError

from .control import ControlDecoder, ignore
from .encode import encode_fields, encode_signature
from .fields import read_field, read_topic
from .limits import DEFAULT_LIMITS, RpcLimits
from .shapes import Message, Rpc, Subscription
from .varints import decode_varint

_MAX_FIELDS = 64  # of a message with repeated or unknown ones; there are six
_SLACK = 64  # bytes of a subscription that are not its topic

_SUBSCRIPTIONS = 1 << 3 | 2
_PUBLISH = 2 << 3 | 2
_CONTROL = 3 << 3 | 2
_PARTIAL = 10 << 3 | 2
_TEST_EXTENSION = 6492434 << 3 | 2

_SUBSCRIBE = 1 << 3
_TOPIC = 2 << 3 | 2
_REQUESTS_PARTIAL = 3 << 3
_SUPPORTS_PARTIAL = 4 << 3

_SIGNATURE = 5 << 3 | 2
_KEY = 6 << 3 | 2


def decode_rpc(data: bytes, limits: RpcLimits = DEFAULT_LIMITS) -> Rpc:
    """Return the RPC in the frame `data`; RemoteProtocolError if it is malformed or has too many entries."""
    rpc = Rpc([], [], [], [], [], [], [])
    control: ControlDecoder | None = None
    end = len(data)
    position = 0
    while position < end:
        tag, begin, position = read_field(data, position, end)
        if tag == _PUBLISH:
            if len(rpc.messages) + rpc.partial >= limits.max_messages:
                raise RemoteProtocolError(f"an RPC has more than {limits.max_messages} messages")
            rpc.messages.append(_decode_message(data[begin:position], limits.max_topic))
        elif tag == _CONTROL and begin < position:
            control = control or ControlDecoder(data, rpc, limits)
            control.decode(begin, position)
        elif tag == _SUBSCRIPTIONS and position - begin <= limits.max_topic + _SLACK:
            _decode_subscription(data, begin, position, rpc, limits)
        elif tag == _PARTIAL and rpc.partial < limits.max_messages:
            rpc.partial += 1
        elif tag == _TEST_EXTENSION and not rpc.test_extension:
            rpc.test_extension = True
        else:
            ignore(rpc, limits)
    return rpc


def _decode_message(encoded: bytes, max_topic: int) -> Message:
    """Return the message in `encoded`, which it keeps if it is in the one form that we would write too.

    This is the hot path. It checks no bounds on the way: whatever is not that form is either noticed or does not
    end at the end, and is left to `_decode_loosely`.
    """
    fields: list[bytes | None] = [None, None, None, None, None, None, None]
    end = len(encoded)
    position = last = signed = 0
    while position < end - 1:
        tag = encoded[position]
        if tag <= last or tag > _KEY or tag & 7 != 2:
            return _decode_loosely(encoded, max_topic)
        size = encoded[position + 1]
        position += 2
        if size > 0x7F:
            if position < end and 0 < encoded[position] < 0x80:
                size += (encoded[position] - 1) << 7
                position += 1
            else:
                size, position = decode_varint(encoded, position - 1, end)
                if not encoded[position - 1]:  # longer than needed
                    return _decode_loosely(encoded, max_topic)
        fields[tag >> 3] = encoded[position : position + size]
        position += size
        last = tag
        if tag < _SIGNATURE:
            signed = position
    _, author, data, seqno, topic, signature, key = fields
    if position != end or topic is None:
        return _decode_loosely(encoded, max_topic)
    return Message(read_topic(topic, max_topic), data or b"", author, seqno, signature, key, encoded, signed)


def _decode_loosely(encoded: bytes, max_topic: int) -> Message:
    """Return a message whose fields come in any order, more than once, or among unknown ones: the last counts."""
    fields: list[bytes | None] = [None, None, None, None, None, None, None]
    end = len(encoded)
    position = count = 0
    while position < end:
        tag, begin, position = read_field(encoded, position, end)
        count += 1
        if count > _MAX_FIELDS:
            raise RemoteProtocolError(f"a message has more than {_MAX_FIELDS} fields")
        if tag & 7 == 2 and tag <= _KEY:
            fields[tag >> 3] = encoded[begin:position]
    _, author, data, seqno, topic, signature, key = fields
    if topic is None:
        raise RemoteProtocolError("a message names no topic")
    signed = encode_fields(author, data, seqno, topic)
    canonical = signed + encode_signature(signature, key)
    return Message(read_topic(topic, max_topic), data or b"", author, seqno, signature, key, canonical, len(signed))


def _decode_subscription(data: bytes, position: int, end: int, rpc: Rpc, limits: RpcLimits) -> None:
    topic: bytes | None = None
    subscribe = requests_partial = supports_partial = False
    while position < end:
        tag, begin, position = read_field(data, position, end)
        if tag == _TOPIC:
            topic = data[begin:position]
        elif tag == _SUBSCRIBE:
            subscribe = begin != 0
        elif tag == _REQUESTS_PARTIAL:
            requests_partial = begin != 0
        elif tag == _SUPPORTS_PARTIAL:
            supports_partial = begin != 0
    if topic is None or len(topic) > limits.max_topic or len(rpc.subscriptions) == limits.max_subscriptions:
        ignore(rpc, limits)
        return
    name = read_topic(topic, limits.max_topic)
    rpc.subscriptions.append(Subscription(subscribe, name, requests_partial, supports_partial))
