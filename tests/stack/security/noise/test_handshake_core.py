"""The handshake machine: its order, its sizes, and messages that are cut, changed or hostile."""

from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag

from peerstack.stack.errors import LocalProtocolError, RemoteProtocolError
from peerstack.stack.security.noise import Handshake, StaticKey
from peerstack.stack.security.noise.wire import NONCE

# RFC 7748 section 6.1: public keys whose shared secret is zero whatever the other side's key is.
LOW_ORDER_POINTS = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def pair() -> tuple[Handshake, Handshake]:
    return Handshake(initiator=True, static=StaticKey()), Handshake(initiator=False, static=StaticKey())


def before_message(number: int) -> tuple[Handshake, bytes]:
    """Return the reader of a message and the message."""
    alice, bob = pair()
    message = alice.write(b"")
    if number == 1:
        return bob, message
    bob.read(message)
    message = bob.write(b"payload of bob")
    if number == 2:
        return alice, message
    alice.read(message)
    return bob, alice.write(b"payload of alice")


def test_sizes_are_those_of_the_spec() -> None:
    assert len(before_message(1)[1]) == 32
    assert len(before_message(2)[1]) == 32 + 48 + len(b"payload of bob") + 16
    assert len(before_message(3)[1]) == 48 + len(b"payload of alice") + 16


def test_both_sides_get_the_payloads_and_one_another_s_static_key() -> None:
    alice_key, bob_key = StaticKey(), StaticKey()
    alice = Handshake(initiator=True, static=alice_key)
    bob = Handshake(initiator=False, static=bob_key)
    assert bob.read(alice.write(b"first")) == b"first"
    assert alice.read(bob.write(b"second")) == b"second"
    assert bob.read(alice.write(b"third")) == b"third"
    assert alice.finish().remote_static == bob_key.public
    assert bob.finish().remote_static == alice_key.public


def test_the_two_directions_of_a_session_have_keys_of_their_own() -> None:
    alice, bob = pair()
    bob.read(alice.write(b""))
    alice.read(bob.write(b""))
    bob.read(alice.write(b""))
    mine, theirs = alice.finish(), bob.finish()
    nonce = NONCE.pack(0)
    sealed = mine.send.encrypt(nonce, b"hello", None)
    assert theirs.receive.decrypt(nonce, sealed, None) == b"hello"
    with pytest.raises(InvalidTag):
        mine.receive.decrypt(nonce, sealed, None)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda alice, bob: alice.read(bytes(32)),
        lambda alice, bob: bob.write(b""),
        lambda alice, bob: (alice.write(b""), alice.write(b"")),
        lambda alice, bob: (bob.read(alice.write(b"")), bob.read(bytes(32))),
        lambda alice, bob: alice.finish(),
        lambda alice, bob: (bob.read(alice.write(b"")), bob.finish()),
    ],
)
def test_out_of_turn(misuse: Callable[[Handshake, Handshake], object]) -> None:
    with pytest.raises(LocalProtocolError, match=r"turn|not complete"):
        misuse(*pair())


def test_nothing_goes_on_after_the_third_message() -> None:
    bob, message = before_message(3)
    bob.read(message)
    assert bob.complete
    with pytest.raises(LocalProtocolError):
        bob.read(message)
    with pytest.raises(LocalProtocolError):
        bob.write(b"")


def test_no_ephemeral_key_serves_twice() -> None:
    static = StaticKey()
    first, second = (Handshake(initiator=True, static=static).write(b"") for _ in range(2))
    assert first != second


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_message_cut_at_any_byte_is_refused(number: int) -> None:
    # The first message has no tag: what is cut off there is the key itself.
    for size in range(len(before_message(number)[1])):
        reader, message = before_message(number)
        with pytest.raises(RemoteProtocolError, match=rf"message {number} (is too short|does not decrypt)"):
            reader.read(message[:size])


@pytest.mark.parametrize("number", [2, 3])
def test_a_message_with_any_byte_changed_is_refused(number: int) -> None:
    for position in range(len(before_message(number)[1])):
        reader, message = before_message(number)
        changed = bytearray(message)
        changed[position] ^= 0x40
        with pytest.raises(RemoteProtocolError, match="does not decrypt"):
            reader.read(bytes(changed))


@pytest.mark.parametrize("number", [2, 3])
def test_bytes_appended_to_a_message_are_refused(number: int) -> None:
    reader, message = before_message(number)
    with pytest.raises(RemoteProtocolError, match="does not decrypt"):
        reader.read(message + b"\0")


def test_a_first_message_changed_on_the_way_is_noticed_by_the_one_who_sent_it() -> None:
    alice, bob = pair()
    message = bytearray(alice.write(b""))
    message[5] ^= 1
    bob.read(bytes(message))
    with pytest.raises(RemoteProtocolError, match="does not decrypt"):
        alice.read(bob.write(b""))


@pytest.mark.parametrize("point", LOW_ORDER_POINTS)
def test_a_low_order_ephemeral_key_is_refused_by_the_responder(point: str) -> None:
    _, bob = pair()
    bob.read(bytes.fromhex(point))
    with pytest.raises(RemoteProtocolError, match="low-order point"):
        bob.write(b"")


@pytest.mark.parametrize("point", LOW_ORDER_POINTS)
def test_a_low_order_ephemeral_key_is_refused_by_the_initiator(point: str) -> None:
    alice, message = before_message(2)
    with pytest.raises(RemoteProtocolError, match="low-order point"):
        alice.read(bytes.fromhex(point) + message[32:])


@pytest.mark.parametrize("point", LOW_ORDER_POINTS)
def test_a_low_order_static_key_is_refused(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = pair()
    monkeypatch.setattr(alice._static, "public", bytes.fromhex(point))
    bob.read(alice.write(b""))
    alice.read(bob.write(b""))
    message = alice.write(b"")
    with pytest.raises(RemoteProtocolError, match="low-order point"):
        bob.read(message)


def test_a_message_of_another_handshake_is_refused() -> None:
    reader, _ = before_message(3)
    _, message = before_message(3)
    with pytest.raises(RemoteProtocolError, match="does not decrypt"):
        reader.read(message)
