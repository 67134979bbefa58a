"""Decode RPCs, counting while reading: no more objects are made than the limits allow."""

from __future__ import annotations

from dataclasses import dataclass

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.wire.varint import decode_uint64

from .encode import encode_fields, encode_signature
from .types import Extensions, IHave, Message, PeerInfo, Prune, Rpc, Subscription

# ---- fields of an RPC, a subscription and a message

_MAX_FIELDS = 64  # of a message with repeated or unknown ones; there are six

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

# ---- fields of a control entry

_IHAVE = 1 << 3 | 2
_IWANT = 2 << 3 | 2
_GRAFT = 3 << 3 | 2
_PRUNE = 4 << 3 | 2
_IDONTWANT = 5 << 3 | 2
_EXTENSIONS = 6 << 3 | 2

_FIRST = 1 << 3 | 2  # the topic, peer or ids of an entry
_SECOND = 2 << 3 | 2  # the ids, peers or record
_BACKOFF = 3 << 3
_PARTIAL_MESSAGES = 10 << 3
_TEST_EXTENSION_FLAG = 6492434 << 3

_ENTRY_SLACK = 64  # bytes of an entry besides its topic; unknown fields in it may take as much

# ---- wire types

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_TAG = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """What one RPC may hold. Entries beyond are skipped and counted in `Rpc.ignored`, except where it says error."""

    max_topic: int = 1024
    """Bytes of a topic's name. Longer ones are an error, in a subscription only skipped: a peer may want them."""
    max_messages: int = 8192
    """More are an error: no frame of an honest peer holds so many."""
    max_subscriptions: int = 1024
    """An empty one costs its sender two bytes and us an object."""
    max_ids: int = 5000
    """Ids of IHAVE, of IWANT and of IDONTWANT each, over all their entries. go-libp2p-pubsub reads as many."""
    max_id: int = 1024
    """Bytes of an id. Ids are kept for a while, and those in use have 20 to 50 bytes."""
    max_grafts: int = 1024
    max_prunes: int = 1024
    max_peers: int = 64
    """Suggested peers over all PRUNE entries; the routers send 16 with each."""
    max_peer: int = 8 * 1024
    """Bytes of one suggested peer; identify sends signed peer records of no more."""
    max_ignored: int = 32_768
    """Skipped entries; more are an error, since looking at half a million empty ones blocks us for long.

    A go-libp2p-pubsub of old that fills 1 MiB with IHAVE for many topics leaves us some 17 000 to skip.
    """


DEFAULT_LIMITS = RpcLimits()


# ---- RPCs and messages


def decode_rpc(data: bytes, limits: RpcLimits = DEFAULT_LIMITS) -> Rpc:
    """Return the RPC in the frame `data`; RemoteProtocolError if it is malformed or has too many entries."""
    rpc = Rpc([], [], [], [], [], [], [])
    control: _ControlDecoder | None = None
    end = len(data)
    position = 0
    while position < end:
        tag, begin, position = _read_field(data, position, end)
        if tag == _PUBLISH:
            if len(rpc.messages) + rpc.partial >= limits.max_messages:
                raise RemoteProtocolError(f"an RPC has more than {limits.max_messages} messages")
            rpc.messages.append(_decode_message(data[begin:position], limits.max_topic))
        elif tag == _CONTROL and begin < position:
            control = control or _ControlDecoder(data, rpc, limits)
            control.decode(begin, position)
        elif tag == _SUBSCRIPTIONS and position - begin <= limits.max_topic + _ENTRY_SLACK:
            _decode_subscription(data, begin, position, rpc, limits)
        elif tag == _PARTIAL and rpc.partial < limits.max_messages:
            rpc.partial += 1
        elif tag == _TEST_EXTENSION and not rpc.test_extension:
            rpc.test_extension = True
        else:
            _ignore(rpc, limits)
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
                size, position = decode_uint64(encoded, position - 1, end)
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
    return Message(_read_topic(topic, max_topic), data or b"", author, seqno, signature, key, encoded, signed)


def _decode_loosely(encoded: bytes, max_topic: int) -> Message:
    """Return a message whose fields come in any order, more than once, or among unknown ones: the last counts."""
    fields: list[bytes | None] = [None, None, None, None, None, None, None]
    end = len(encoded)
    position = count = 0
    while position < end:
        tag, begin, position = _read_field(encoded, position, end)
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
    return Message(_read_topic(topic, max_topic), data or b"", author, seqno, signature, key, canonical, len(signed))


def _decode_subscription(data: bytes, position: int, end: int, rpc: Rpc, limits: RpcLimits) -> None:
    topic: bytes | None = None
    subscribe = requests_partial = supports_partial = False
    while position < end:
        tag, begin, position = _read_field(data, position, end)
        if tag == _TOPIC:
            topic = data[begin:position]
        elif tag == _SUBSCRIBE:
            subscribe = begin != 0
        elif tag == _REQUESTS_PARTIAL:
            requests_partial = begin != 0
        elif tag == _SUPPORTS_PARTIAL:
            supports_partial = begin != 0
    if topic is None or len(topic) > limits.max_topic or len(rpc.subscriptions) == limits.max_subscriptions:
        _ignore(rpc, limits)
        return
    name = _read_topic(topic, limits.max_topic)
    rpc.subscriptions.append(Subscription(subscribe, name, requests_partial, supports_partial))


# ---- control entries


def _ignore(rpc: Rpc, limits: RpcLimits) -> None:
    """Count an entry that is skipped; RemoteProtocolError when there are too many of them."""
    rpc.ignored += 1
    if rpc.ignored > limits.max_ignored:
        raise RemoteProtocolError(f"an RPC has more than {limits.max_ignored} entries beyond the limits")


class _ControlDecoder:
    """Adds the control entries of one RPC to it, however many `control` fields they are spread over."""

    __slots__ = ("_data", "_limits", "_offered", "_rpc", "_suggested")

    def __init__(self, data: bytes, rpc: Rpc, limits: RpcLimits) -> None:
        self._data = data
        self._rpc = rpc
        self._limits = limits
        self._offered = 0  # ids of IHAVE so far
        self._suggested = 0  # peers of PRUNE so far

    def decode(self, position: int, end: int) -> None:
        """Add the entries of the field with the content `data[position:end]`; RemoteProtocolError if malformed."""
        data = self._data
        while position < end:
            tag, begin, position = _read_field(data, position, end)
            if begin == position and tag & 7 == 2 and tag != _EXTENSIONS:
                _ignore(self._rpc, self._limits)
            elif tag == _IHAVE:
                self._decode_ihave(begin, position)
            elif tag == _IWANT:
                self._decode_ids(begin, position, _FIRST, self._rpc.iwant, self._limits.max_ids)
            elif tag == _IDONTWANT:
                self._decode_ids(begin, position, _FIRST, self._rpc.idontwant, self._limits.max_ids)
            elif tag == _GRAFT:
                self._decode_graft(begin, position)
            elif tag == _PRUNE:
                self._decode_prune(begin, position)
            elif tag == _EXTENSIONS and self._rpc.extensions is None:
                self._rpc.extensions = self._decode_extensions(begin, position)
            else:
                _ignore(self._rpc, self._limits)

    def _decode_ids(self, position: int, end: int, id_tag: int, ids: list[bytes], most: int) -> bytes | None:
        """Add ids to `ids` while they are less than `most`; return the content of the first field, if that is none."""
        data, max_id = self._data, self._limits.max_id
        topic = None
        while position < end:
            if data[position] == id_tag and position + 1 < end and (size := data[position + 1]) < 0x80:
                # Ids come by the thousand, and next to all look like this.
                begin = position + 2
                position = begin + size
                if position > end:
                    raise RemoteProtocolError(f"an id announces {size} bytes, {end - begin} are left")
            else:
                tag, begin, position = _read_field(data, position, end)
                if tag == _FIRST and id_tag != _FIRST and topic is None:
                    topic = data[begin:position]
                    continue
                if tag != id_tag:
                    _ignore(self._rpc, self._limits)
                    continue
            if len(ids) < most and position - begin <= max_id:
                ids.append(data[begin:position])
            else:
                _ignore(self._rpc, self._limits)
        return topic

    def _decode_ihave(self, position: int, end: int) -> None:
        ids: list[bytes] = []
        topic = self._decode_ids(position, end, _SECOND, ids, self._limits.max_ids - self._offered)
        if topic is None or not ids:
            _ignore(self._rpc, self._limits)
            return
        self._offered += len(ids)
        self._rpc.ihave.append(IHave(_read_topic(topic, self._limits.max_topic), ids))

    def _decode_graft(self, position: int, end: int) -> None:
        data, rpc, limits = self._data, self._rpc, self._limits
        if end - position > limits.max_topic + _ENTRY_SLACK:
            raise RemoteProtocolError(f"a GRAFT has {end - position} bytes")
        topic = None
        while position < end:
            tag, begin, position = _read_field(data, position, end)
            if tag == _FIRST:
                topic = data[begin:position]
        if topic is None or len(rpc.graft) == limits.max_grafts:
            _ignore(rpc, limits)
        else:
            rpc.graft.append(_read_topic(topic, limits.max_topic))

    def _decode_prune(self, position: int, end: int) -> None:
        data, rpc, limits = self._data, self._rpc, self._limits
        topic = backoff = None
        peers: list[PeerInfo] = []
        while position < end:
            tag, begin, position = _read_field(data, position, end)
            if tag == _SECOND:
                self._decode_peer(begin, position, peers)
            elif tag == _FIRST and topic is None:
                topic = data[begin:position]
            elif tag == _BACKOFF and backoff is None:
                backoff = begin
            else:
                _ignore(rpc, limits)
        if topic is None or len(rpc.prune) == limits.max_prunes:
            _ignore(rpc, limits)
        else:
            rpc.prune.append(Prune(_read_topic(topic, limits.max_topic), peers, backoff))

    def _decode_peer(self, position: int, end: int, peers: list[PeerInfo]) -> None:
        if self._suggested == self._limits.max_peers or end - position > self._limits.max_peer:
            _ignore(self._rpc, self._limits)
            return
        peer = record = None
        while position < end:
            tag, begin, position = _read_field(self._data, position, end)
            if tag == _FIRST:
                peer = self._data[begin:position]
            elif tag == _SECOND:
                record = self._data[begin:position]
        if peer is None:
            _ignore(self._rpc, self._limits)
            return
        self._suggested += 1
        peers.append(PeerInfo(peer, record))

    def _decode_extensions(self, position: int, end: int) -> Extensions:
        extensions = Extensions()
        while position < end:
            tag, begin, position = _read_field(self._data, position, end)
            if tag == _PARTIAL_MESSAGES:
                extensions.partial_messages = begin != 0
            elif tag == _TEST_EXTENSION_FLAG:
                extensions.test_extension = begin != 0
            else:
                _ignore(self._rpc, self._limits)
        return extensions


# ---- single fields


def _read_field(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Return the tag at `position`, where the content begins, and the position behind the field.

    The tag is field number times eight plus wire type. Instead of a begin, a varint field gives its value.
    Raises RemoteProtocolError for groups (wire types 3 and 4), unknown wire types, field number 0, and fields
    that reach beyond `end`.
    """
    if (tag := data[position]) < 0x80:
        position += 1
    else:
        tag, position = decode_uint64(data, position, end)
    if not 8 <= tag <= _MAX_TAG:
        raise RemoteProtocolError(f"{tag} is not the tag of a field")
    kind = tag & 7
    if kind == _VARINT:
        value, position = decode_uint64(data, position, end)
        return tag, value, position
    if kind == _BYTES:
        if position < end and (size := data[position]) < 0x80:
            position += 1
        else:
            size, position = decode_uint64(data, position, end)
    elif kind == _FIXED64:
        size = 8
    elif kind == _FIXED32:
        size = 4
    else:
        raise RemoteProtocolError(f"field {tag >> 3} has wire type {kind}; groups are not taken")
    behind = position + size
    if behind > end:
        raise RemoteProtocolError(f"field {tag >> 3} announces {size} bytes, {end - position} are left")
    return tag, position, behind


def _read_topic(content: bytes, max_size: int) -> str:
    """Return the topic named by `content`; RemoteProtocolError if it is over `max_size` bytes or not UTF-8."""
    if len(content) > max_size:
        raise RemoteProtocolError(f"topic of {len(content)} bytes is over the limit of {max_size}")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("the name of a topic is not UTF-8") from error
