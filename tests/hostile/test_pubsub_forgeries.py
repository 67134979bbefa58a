"""Messages that are forged or malformed: never delivered, never taken for seen, and charged to their sender."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import PubsubConfig, PubsubMessage, SignaturePolicy, ValidationResult, sha256_of_data
from peerstack.protocols.pubsub.api.events import MalformedRpc, MessageRejected
from peerstack.protocols.pubsub.validation.signing import PREFIX, sign
from peerstack.protocols.pubsub.wire import Message, make_message
from peerstack.stack.errors import StackError
from peerstack.stack.identity import Identity, PublicKey
from peerstack.stack.identity.identity import KeyTypeName

from .pubsub_peers import TOPIC, Field, Hostile, field_of_battle, hostile_peer

Clock = trio.testing.MockClock
UNSCORED = PubsubConfig(score=None)
KINDS: list[KeyTypeName] = ["ed25519", "rsa", "secp256k1", "ecdsa"]
AUTHORS = {kind: Identity.generate(kind) for kind in KINDS}
OTHERS = {kind: Identity.generate(kind) for kind in KINDS}


def with_fields(message: Message, **fields: bytes | None) -> Message:
    """Return the message with some fields in place of its own, and its signature as it was."""
    kept = {"author": message.author, "seqno": message.seqno, "signature": message.signature, "key": message.key}
    return make_message(message.topic, message.data, **{**kept, **fields})


def forged(written_by: Identity, in_the_name_of: Identity, data: bytes = b"forged") -> Message:
    """Return a message that one signed, properly and with the own key, and another is said to have written."""
    author, seqno = in_the_name_of.peer_id.to_bytes(), (1).to_bytes(8, "big")
    draft = make_message(TOPIC, data, author=author, seqno=seqno)
    signature = written_by.sign(PREFIX + draft.encoded)
    return with_fields(draft, signature=signature, key=written_by.public_key.encode())


def seen(place: Field) -> int:
    return len(place.victim.pubsub._router._seen)


def reasons(place: Field) -> dict[str, int]:
    return dict(place.victim.pubsub.statistics().rejected)


async def nothing_came(place: Field, before: int) -> None:
    await trio.testing.wait_all_tasks_blocked()
    assert place.at_victim.statistics().waiting == 0
    assert seen(place) == before


async def send(peer: Hostile, data: bytes) -> None:
    """Send an RPC, on a new stream where the old one did not survive the last."""
    try:
        await peer.say(data)
    except (StackError, trio.BrokenResourceError):
        await peer.begin()
        await peer.say(data)


async def test_a_message_with_any_byte_flipped_is_not_delivered_and_does_not_hide_the_true_one(
    autojump_clock: Clock,
) -> None:
    async with field_of_battle(UNSCORED) as place, hostile_peer(place, TOPIC) as peer:
        true = peer.message(b"the true message", author=AUTHORS["ed25519"])
        before = seen(place)
        for index in range(len(true.entry)):
            await send(peer, true.entry[:index] + bytes([true.entry[index] ^ 0x01]) + true.entry[index + 1 :])
        await nothing_came(place, before)
        statistics = place.victim.pubsub.statistics()
        # What is no RPC any more breaks the stream, what names another topic is not looked at.
        counted = sum(statistics.rejected.values()) + statistics.ignored["not subscribed"] + statistics.malformed
        assert counted == len(true.entry)
        assert statistics.rejected["invalid_signature"] >= 64
        await send(peer, true.entry)
        assert (await place.at_victim.receive()).data == b"the true message"
        assert (await place.at_honest.receive()).data == b"the true message"


@pytest.mark.parametrize("author", KINDS)
@pytest.mark.parametrize("writer", KINDS)
async def test_a_message_in_the_name_of_another_peer_is_refused(
    autojump_clock: Clock, author: KeyTypeName, writer: KeyTypeName
) -> None:
    """GHSA-c3gv-825q-fvmp: a message signed by B, with the key of B, and A for its author."""
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        before = seen(place)
        await peer.publish(forged(OTHERS[writer], AUTHORS[author]))
        await nothing_came(place, before)
        assert reasons(place) == {"forged_author": 1}
        assert place.victim.events.of(MessageRejected) == [MessageRejected(peer.peer_id, TOPIC, "forged_author")]
        assert peer.score == -0.5
        true = sign(AUTHORS[author], TOPIC, b"true", 1)
        assert sha256_of_data(true) != sha256_of_data(forged(OTHERS[writer], AUTHORS[author]))
        await peer.publish(true)
        assert (await place.at_victim.receive()).author == AUTHORS[author].peer_id
        await place.at_honest.receive()


def true_message() -> Message:
    return sign(AUTHORS["ed25519"], TOPIC, b"x", 7)


def true_rsa_message() -> Message:
    return sign(AUTHORS["rsa"], TOPIC, b"x", 7)


MALFORMED = {
    "no signature": (with_fields(true_message(), signature=None), "missing_signature"),
    "an empty signature": (with_fields(true_message(), signature=b""), "invalid_signature"),
    "half a signature": (with_fields(true_message(), signature=(true_message().signature or b"")[:32]), ""),
    "a signature and a half": (with_fields(true_message(), signature=bytes(96)), "invalid_signature"),
    "a signature of 100 kB": (with_fields(true_message(), signature=bytes(100_000)), "invalid_signature"),
    "an RSA signature of one byte": (with_fields(true_rsa_message(), signature=b"\0"), "invalid_signature"),
    "an empty key": (with_fields(true_message(), key=b""), "malformed_key"),
    "a key of no type": (with_fields(true_message(), key=b"\x08\x09\x12\x00"), "malformed_key"),
    "an Ed25519 key of one byte": (with_fields(true_message(), key=b"\x08\x01\x12\x01\x00"), "malformed_key"),
    "an RSA key that is none": (with_fields(true_rsa_message(), key=b"\x08\x00\x12\x04\x30\x82\x00\x00"), ""),
    "a key of 100 kB": (with_fields(true_rsa_message(), key=b"\x08\x00\x12\xa0\x8d\x06" + bytes(100_000)), ""),
    "no key, where the author has none": (with_fields(true_rsa_message(), key=None), "malformed_key"),
    "the key of another type": (with_fields(true_message(), key=AUTHORS["rsa"].public_key.encode()), "forged_author"),
    "no author": (with_fields(true_message(), author=None), "malformed_author"),
    "an empty author": (with_fields(true_message(), author=b""), "malformed_author"),
    "an author that is no peer id": (with_fields(true_message(), author=b"\xff" * 40), "malformed_author"),
    "an author of 100 kB": (with_fields(true_message(), author=b"\x00" * 100_000), "malformed_author"),
    "an author whose key is none": (
        with_fields(true_message(), author=b"\x00\x04\x08\x01\x12\x00"),
        "malformed_author",
    ),
    "no number": (with_fields(true_message(), seqno=None), "malformed_seqno"),
    "a number of seven bytes": (with_fields(true_message(), seqno=bytes(7)), "malformed_seqno"),
    "a number of nine bytes": (with_fields(true_message(), seqno=bytes(9)), "malformed_seqno"),
    "another number": (with_fields(true_message(), seqno=bytes(8)), "invalid_signature"),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_is_malformed_is_rejected_and_crashes_nothing(autojump_clock: Clock, what: str) -> None:
    """js-libp2p #3578: a malformed signature or key raised out of the validation."""
    message, reason = MALFORMED[what]
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        before = seen(place)
        await peer.publish(message)
        await nothing_came(place, before)
        (rejected,) = place.victim.events.of(MessageRejected)
        assert rejected.peer == peer.peer_id
        assert rejected.reason == reason or (not reason and rejected.reason in ("invalid_signature", "malformed_key"))
        assert reasons(place) == {rejected.reason: 1}
        assert place.victim.events.of(MalformedRpc) == []
        assert peer.score < 0


async def test_what_we_never_wrote_does_not_come_back_to_us_as_ours(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        receipt = await place.at_victim.publish(b"ours")
        await place.at_honest.receive()
        await peer.publish(sign(place.victim.host.identity, TOPIC, b"stolen", 1))
        await peer.publish(forged(OTHERS["ed25519"], place.victim.host.identity))
        assert receipt.seqno
        await nothing_came(place, seen(place))
        assert place.victim.pubsub.statistics().ignored == {"self_origin": 2}


# ---- poisoning of what was seen (jvm-libp2p #480)


async def test_a_forged_copy_that_comes_first_does_not_hide_the_true_message(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        true = peer.message(b"true", author=AUTHORS["ed25519"])
        for _ in range(3):
            await peer.publish(with_fields(true, signature=bytes(64)))
        assert reasons(place) == {"invalid_signature": 3}
        async with hostile_peer(place, TOPIC) as carrier:
            await carrier.publish(true)
            assert (await place.at_victim.receive()).data == b"true"
            assert (await place.at_honest.receive()).data == b"true"
            assert carrier.score >= 0
        assert peer.score < 0


@pytest.mark.parametrize("first", [True, False], ids=["forged first", "true first"])
async def test_a_forged_copy_in_the_same_rpc_does_not_hide_the_true_message(autojump_clock: Clock, first: bool) -> None:
    """Both have one id and are under validation at the same time."""
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        true = peer.message(b"true", author=AUTHORS["ed25519"])
        copies = [with_fields(true, signature=bytes(64)), replace(true)]
        await peer.publish(*(copies if first else reversed(copies)))
        assert (await place.at_victim.receive()).data == b"true"
        await nothing_came(place, seen(place))
        assert reasons(place) == {"invalid_signature": 1}
        await place.at_honest.receive()


async def test_a_true_message_is_delivered_once_while_copies_come_during_its_validation(autojump_clock: Clock) -> None:
    async def slowly(message: PubsubMessage[bytes]) -> ValidationResult:
        await trio.sleep(1)
        return ValidationResult.ACCEPT

    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer, hostile_peer(place, TOPIC) as carrier:
        async with place.victim.pubsub.join(TOPIC, validators=[slowly]) as room:
            true = peer.message(b"true", author=AUTHORS["ed25519"])
            await carrier.publish(true)
            for _ in range(3):
                await peer.publish(true, with_fields(true, signature=bytes(64)))
            await trio.sleep(2)
            assert (await room.receive()).data == b"true"
            assert (await place.at_victim.receive()).data == b"true"
            assert room.statistics().waiting == 0
            assert reasons(place) == {"invalid_signature": 3}
            await place.at_honest.receive()


async def test_an_id_that_depends_on_what_is_not_verified_cannot_be_claimed(autojump_clock: Clock) -> None:
    """With SHA-256 of the data for an id, any peer can send the data; only the signed message counts."""
    config = PubsubConfig(message_id=sha256_of_data)
    async with field_of_battle(config) as place, hostile_peer(place, TOPIC) as peer:
        await peer.publish(forged(OTHERS["ed25519"], AUTHORS["ed25519"], b"news"))
        await peer.publish(with_fields(sign(OTHERS["rsa"], TOPIC, b"news", 1), signature=b"?"))
        receipt = await place.at_honest.publish(b"news")
        got = await place.at_victim.receive()
        assert (got.data, got.id, got.author) == (b"news", receipt.id, place.honest.peer_id)


# ---- both ways of signing in one network


async def test_unsigned_messages_are_refused_where_signatures_are_needed(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await peer.publish(make_message(TOPIC, b"unsigned"))
        await nothing_came(place, seen(place))
        assert reasons(place) == {"missing_signature": 1}


SIGNED_PARTS: dict[str, tuple[dict[str, bytes], str]] = {
    "author": ({"author": b""}, "unexpected_author"),
    "number": ({"seqno": b""}, "unexpected_seqno"),
    "signature": ({"signature": b""}, "unexpected_signature"),
    "key": ({"key": b""}, "unexpected_signature"),
}


@pytest.mark.parametrize("part", SIGNED_PARTS)
async def test_strict_no_sign_refuses_even_an_empty_part_of_a_signature(autojump_clock: Clock, part: str) -> None:
    fields, reason = SIGNED_PARTS[part]
    unsigned = PubsubConfig(signatures=SignaturePolicy.STRICT_NO_SIGN)
    async with field_of_battle(unsigned) as place, hostile_peer(place, TOPIC) as peer:
        before = seen(place)
        await peer.publish(make_message(TOPIC, b"signed", **fields))
        await nothing_came(place, before)
        assert reasons(place) == {reason: 1}


async def test_keys_of_authors_are_not_kept_without_end(autojump_clock: Clock) -> None:
    from peerstack.protocols.pubsub.validation import signing

    limit = signing._key_of.cache_info().maxsize
    async with field_of_battle(UNSCORED) as place, hostile_peer(place, TOPIC) as peer:
        before = signing._key_of.cache_info().currsize
        for number in range(200):
            key = PublicKey.decode(AUTHORS["ed25519"].public_key.encode()).encode()
            await peer.publish(with_fields(true_message(), author=b"\x12\x20" + number.to_bytes(32, "big"), key=key))
        assert reasons(place) == {"forged_author": 200}
        assert signing._key_of.cache_info().currsize <= before + 2  # what is refused is not kept
        assert limit == 4096
