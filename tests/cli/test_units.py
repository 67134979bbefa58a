"""Sizes are read strictly, and written as people write them."""

import pytest

from peerstack.cli import units


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500000", 500_000),
        ("7b", 7),
        ("64MiB", 64 * 1024**2),
        ("64 mib", 64 * 1024**2),
        ("1GB", 10**9),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("1KiB", 1024),
        ("2kB", 2000),
        ("3TB", 3 * 10**12),
        ("1TiB", 1024**4),
        ("0.1kB", 100),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e3", "64M", "1 0", "1..5GB", "\u0661", "0x1", "1PiB", "nan", "+1"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size; write bytes \(500000\), or a unit such as 64MiB"):
        units.parse_size(text)


@pytest.mark.parametrize("text", ["18446744073709551616", "99999999999TiB"])
def test_a_size_that_no_peer_can_move_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="more than any peer could move"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (64 * 1024**2, "64 MiB"), (10**9, "953.7 MiB"), (2**31, "2 GiB")],
)
def test_a_size_is_written(count: int, text: str) -> None:
    assert units.size(count) == text


def test_a_rate_needs_time() -> None:
    assert units.mib_s(3 * 1024**2, 2.0) == 1.5
    assert units.mib_s(1, 0.0) == 0.0


def test_the_number_of_a_system_error_is_left_out() -> None:
    assert units.without_number("looking up x: [Errno -2] unknown; [Errno 111] refused") == (
        "looking up x: unknown; refused"
    )
