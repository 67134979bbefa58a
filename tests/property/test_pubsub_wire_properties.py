"""The wire of publish/subscribe under arbitrary bytes and arbitrary content: our errors only, and nothing changes."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from peerstack.protocols.pubsub.validation import signing
from peerstack.protocols.pubsub.validation.message_id import default_id, js_default_id, rust_default_id, sha256_of_data
from peerstack.protocols.pubsub.validation.signing import InvalidMessage, SignaturePolicy
from peerstack.protocols.pubsub.wire import (
    DEFAULT_LIMITS,
    Extensions,
    IHave,
    Message,
    PeerInfo,
    Prune,
    Rpc,
    RpcLimits,
    Subscription,
    decode_rpc,
    encode_control,
    encode_subscriptions,
    make_message,
)
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.identity import Identity
from peerstack.stack.wire.varint import encode_uint64

ME = Identity.generate()
TINY = RpcLimits(
    max_topic=4, max_messages=2, max_subscriptions=2, max_ids=2, max_id=4, max_grafts=2, max_prunes=2, max_peers=2,
    max_peer=8, max_ignored=5,
)  # fmt: skip

topics = st.text(st.characters(codec="utf-8"), max_size=20)
blobs = st.binary(max_size=300)
ids = st.lists(st.binary(max_size=200), max_size=30)
numbers = st.integers(0, (1 << 64) - 1)
maybe = st.none() | blobs
messages = st.builds(make_message, topics, blobs, author=maybe, seqno=maybe, signature=maybe, key=maybe)
subscriptions = st.lists(st.builds(Subscription, st.booleans(), topics, st.booleans(), st.booleans()), max_size=5)
peers = st.lists(st.builds(PeerInfo, blobs, maybe), max_size=5)
prunes = st.lists(st.builds(Prune, topics, peers, st.none() | numbers), max_size=5)
ihaves = st.lists(st.builds(IHave, topics, ids.filter(bool)), max_size=5)
extensions = st.none() | st.builds(Extensions, st.booleans(), st.booleans())
lists_of_topics = st.lists(topics, max_size=20)


@st.composite
def fields(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Protobuf-like bytes: fields with small numbers, of any wire type, some of which hold fields again."""
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        number = draw(st.integers(0, 12) | st.just(6492434))
        kind = draw(st.sampled_from([2, 2, 2, 2, 0, 0, 1, 5, 3, 7]))
        content = draw(st.binary(max_size=10) | fields(depth - 1) if depth else st.binary(max_size=10))
        parts.append(encode_uint64(number << 3 | kind))
        if kind == 2:
            parts.append(encode_uint64(len(content) + draw(st.sampled_from([0] * 9 + [1]))))
        parts.append(content if kind == 2 else encode_uint64(draw(numbers)))
    return b"".join(parts)


def content(message: Message) -> tuple[object, ...]:
    return (
        message.topic, message.data, message.author, message.seqno, message.signature, message.key,
        message.encoded, message.signed_size,
    )  # fmt: skip


def make_entry(encoded: bytes) -> bytes:
    return b"\x12" + encode_uint64(len(encoded)) + encoded


@given(st.lists(messages, max_size=4), subscriptions)
def test_messages_and_subscriptions_round_trip(sent: list[Message], wanted: list[Subscription]) -> None:
    rpc = decode_rpc(b"".join([*encode_subscriptions(wanted), *(message.entry for message in sent)]))
    assert list(map(content, rpc.messages)) == list(map(content, sent))
    assert rpc.subscriptions == wanted


@given(ihaves, ids, lists_of_topics, prunes, ids, extensions)
def test_control_round_trips(
    ihave: list[IHave], iwant: list[bytes], graft: list[str], prune: list[Prune], idontwant: list[bytes],
    extension: Extensions | None,
) -> None:  # fmt: skip
    parts = encode_control(
        ihave=ihave, iwant=iwant, graft=graft, prune=prune, idontwant=idontwant, extensions=extension
    )  # fmt: skip
    rpc = decode_rpc(b"".join(parts))
    assert [i for have in rpc.ihave for i in have.ids] == [i for have in ihave for i in have.ids]
    assert {have.topic for have in rpc.ihave} == {have.topic for have in ihave}
    assert (rpc.iwant, rpc.graft, rpc.prune, rpc.idontwant) == (iwant, graft, prune, idontwant)
    assert (rpc.extensions, rpc.ignored) == (extension, 0)


@given(ihaves, ids, lists_of_topics, prunes, ids, st.integers(1100, 5000))
def test_control_keeps_to_its_size(
    ihave: list[IHave], iwant: list[bytes], graft: list[str], prune: list[Prune], idontwant: list[bytes], size: int
) -> None:
    parts = encode_control(ihave=ihave, iwant=iwant, graft=graft, prune=prune, idontwant=idontwant, max_size=size)
    assert all(len(part) <= size for part in parts)
    rpcs = [decode_rpc(part) for part in parts]
    assert [i for rpc in rpcs for i in rpc.iwant] == iwant
    assert [prune.topic for rpc in rpcs for prune in rpc.prune] == [entry.topic for entry in prune]


def within(rpc: Rpc, limits: RpcLimits) -> bool:
    return (
        len(rpc.messages) <= limits.max_messages
        and len(rpc.subscriptions) <= limits.max_subscriptions
        and max(sum(len(have.ids) for have in rpc.ihave), len(rpc.iwant), len(rpc.idontwant)) <= limits.max_ids
        and len(rpc.graft) <= limits.max_grafts
        and len(rpc.prune) <= limits.max_prunes
        and sum(len(prune.peers) for prune in rpc.prune) <= limits.max_peers
        and rpc.ignored <= limits.max_ignored
    )


@given(st.binary(max_size=200) | fields())
def test_anything_is_an_rpc_within_the_limits_or_our_error(data: bytes) -> None:
    for limits in (DEFAULT_LIMITS, TINY):
        with contextlib.suppress(RemoteProtocolError):
            assert within(decode_rpc(data, limits), limits)


@given(fields())
def test_what_is_sent_on_is_canonical_and_says_the_same(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        for message in decode_rpc(data).messages:
            (again,) = decode_rpc(message.entry).messages
            assert content(again) == content(message)
            signed, rest = message.encoded[: message.signed_size], message.encoded[message.signed_size :]
            assert content(decode_rpc(make_entry(signed)).messages[0])[:4] == content(message)[:4]
            assert rest[:1] in (b"", b"*", b"2")  # signature or key


@given(messages, st.sampled_from(SignaturePolicy))
def test_checking_ends_in_a_result(message: Message, policy: SignaturePolicy) -> None:
    with contextlib.suppress(InvalidMessage):
        signing.check(message, policy, ME.peer_id)
    assert signing.verify_batch([message])[0] is not None  # no random signature is valid
    for function in (default_id, sha256_of_data, js_default_id):
        assert isinstance(function(message), bytes)
    with contextlib.suppress(InvalidMessage):
        rust_default_id(message)


@given(topics, blobs, numbers)
def test_what_is_signed_is_accepted_and_keeps_its_bytes(topic: str, data: bytes, seqno: int) -> None:
    message = signing.sign(ME, topic, data, seqno)
    (decoded,) = decode_rpc(message.entry).messages
    assert content(decoded) == content(message)
    signing.check(decoded, SignaturePolicy.STRICT_SIGN)
    assert signing.verify_batch([decoded]) == [None]
