"""Typed topics: payloads as values of a type."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from peerstack.stack.extras import how_to_install

ValueT = TypeVar("ValueT")


class Codec(Protocol[ValueT]):
    """Encodes and decodes payloads; a message that it cannot decode is rejected, and its senders lose score."""

    def encode(self, value: ValueT, /) -> bytes:
        """Return the payload for a value. Raises ValueError or TypeError for what has none."""
        ...

    def decode(self, data: bytes, /) -> ValueT:
        """Return the value in a payload. Raises ValueError if there is none."""
        ...


class RawCodec:
    """Payloads as they are."""

    def encode(self, value: bytes, /) -> bytes:
        """Return the same bytes. Raises TypeError for what is none, such as text."""
        if isinstance(value, str):
            raise TypeError("this topic carries bytes, not str: encode it, or join with codec=TEXT")
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"this topic carries bytes, not {type(value).__name__}")
        return bytes(value)

    def decode(self, data: bytes, /) -> bytes:
        """Return the same bytes."""
        return data


class TextCodec:
    """Text as UTF-8; other payloads are rejected."""

    def encode(self, value: str, /) -> bytes:
        """Return the UTF-8 of a text. Raises TypeError for what is none."""
        if not isinstance(value, str):
            raise TypeError(f"this topic carries text, not {type(value).__name__}")
        return value.encode()

    def decode(self, data: bytes, /) -> str:
        """Return the text in a payload. Raises ValueError if it is no UTF-8."""
        return data.decode()


class JsonCodec(Generic[ValueT]):
    """Dataclasses and other types that msgspec knows, as JSON; needs the extra `typed`.

    A payload that does not fit the type, by a missing field or one of another type, is rejected.
    """

    def __init__(self, kind: type[ValueT]) -> None:
        try:
            import msgspec
        except ImportError as error:
            raise ImportError(f"typed topics need the extra `typed`: {how_to_install('typed')}") from error

        self._encoder = msgspec.json.Encoder()
        self._decoder: Any = msgspec.json.Decoder(kind)
        self.kind = kind

    def encode(self, value: ValueT, /) -> bytes:
        """Return the JSON of a value. Raises TypeError for a value of another type."""
        if isinstance(self.kind, type) and not isinstance(value, self.kind):
            raise TypeError(f"this topic carries {self.kind.__name__}, not {type(value).__name__}")
        return self._encoder.encode(value)

    def decode(self, data: bytes, /) -> ValueT:
        """Return the value in a JSON text. Raises ValueError, for text nested too deeply as well."""
        try:
            value: ValueT = self._decoder.decode(data)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error
        return value


RAW = RawCodec()
TEXT = TextCodec()
