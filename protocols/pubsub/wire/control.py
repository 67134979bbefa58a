"""Decode control entries: IHAVE, IWANT, GRAFT, PRUNE, IDONTWANT and extensions."""

from __future__ import annotations

from peerstack.stack.errors import RemoteProtocolError

from .fields import read_field, read_topic
from .limits import RpcLimits
from .shapes import Extensions, IHave, PeerInfo, Prune, Rpc

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
_TEST_EXTENSION = 6492434 << 3

_SLACK = 64  # bytes of an entry that are not its topic; unknown fields in it may take as much


def ignore(rpc: Rpc, limits: RpcLimits) -> None:
    """Count an entry that is skipped; RemoteProtocolError when there are too many of them."""
    rpc.ignored += 1
    if rpc.ignored > limits.max_ignored:
        raise RemoteProtocolError(f"an RPC has more than {limits.max_ignored} entries beyond the limits")


class ControlDecoder:
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
            tag, begin, position = read_field(data, position, end)
            if begin == position and tag & 7 == 2 and tag != _EXTENSIONS:
                ignore(self._rpc, self._limits)
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
                ignore(self._rpc, self._limits)

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
                tag, begin, position = read_field(data, position, end)
                if tag == _FIRST and id_tag != _FIRST and topic is None:
                    topic = data[begin:position]
                    continue
                if tag != id_tag:
                    ignore(self._rpc, self._limits)
                    continue
            if len(ids) < most and position - begin <= max_id:
                ids.append(data[begin:position])
            else:
                ignore(self._rpc, self._limits)
        return topic

    def _decode_ihave(self, position: int, end: int) -> None:
        ids: list[bytes] = []
        topic = self._decode_ids(position, end, _SECOND, ids, self._limits.max_ids - self._offered)
        if topic is None or not ids:
            ignore(self._rpc, self._limits)
            return
        self._offered += len(ids)
        self._rpc.ihave.append(IHave(read_topic(topic, self._limits.max_topic), ids))

    def _decode_graft(self, position: int, end: int) -> None:
        data, rpc, limits = self._data, self._rpc, self._limits
        if end - position > limits.max_topic + _SLACK:
            raise RemoteProtocolError(f"a GRAFT has {end - position} bytes")
        topic = None
        while position < end:
            tag, begin, position = read_field(data, position, end)
            if tag == _FIRST:
                topic = data[begin:position]
        if topic is None or len(rpc.graft) == limits.max_grafts:
            ignore(rpc, limits)
        else:
            rpc.graft.append(read_topic(topic, limits.max_topic))

    def _decode_prune(self, position: int, end: int) -> None:
        data, rpc, limits = self._data, self._rpc, self._limits
        topic = backoff = None
        peers: list[PeerInfo] = []
        while position < end:
            tag, begin, position = read_field(data, position, end)
            if tag == _SECOND:
                self._decode_peer(begin, position, peers)
            elif tag == _FIRST and topic is None:
                topic = data[begin:position]
            elif tag == _BACKOFF and backoff is None:
                backoff = begin
            else:
                ignore(rpc, limits)
        if topic is None or len(rpc.prune) == limits.max_prunes:
            ignore(rpc, limits)
        else:
            rpc.prune.append(Prune(read_topic(topic, limits.max_topic), peers, backoff))

    def _decode_peer(self, position: int, end: int, peers: list[PeerInfo]) -> None:
        if self._suggested == self._limits.max_peers or end - position > self._limits.max_peer:
            ignore(self._rpc, self._limits)
            return
        peer = record = None
        while position < end:
            tag, begin, position = read_field(self._data, position, end)
            if tag == _FIRST:
                peer = self._data[begin:position]
            elif tag == _SECOND:
                record = self._data[begin:position]
        if peer is None:
            ignore(self._rpc, self._limits)
            return
        self._suggested += 1
        peers.append(PeerInfo(peer, record))

    def _decode_extensions(self, position: int, end: int) -> Extensions:
        extensions = Extensions()
        while position < end:
            tag, begin, position = read_field(self._data, position, end)
            if tag == _PARTIAL_MESSAGES:
                extensions.partial_messages = begin != 0
            elif tag == _TEST_EXTENSION:
                extensions.test_extension = begin != 0
            else:
                ignore(self._rpc, self._limits)
        return extensions
