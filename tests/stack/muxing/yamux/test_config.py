"""Settings that could not work are refused when they are made."""

from collections.abc import Mapping

import pytest

from peerstack.stack.muxing.yamux import Config


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"max_window": 262143}, "the spec grants 262144"),
        ({"max_buffered": 1000}, "less than one initial window"),
        ({"max_inbound_streams": 0}, "at least 1"),
        ({"max_outbound_streams": 0}, "at least 1"),
        ({"accept_backlog": 0}, "at least 1"),
        ({"ack_backlog": 0}, "at least 1"),
        ({"early_streams": 0}, "at least 1"),
        ({"keepalive_interval": 0.0}, "more than 0 seconds"),
        ({"keepalive_timeout": -1.0}, "more than 0 seconds"),
        ({"close_timeout": 0.0}, "more than 0 seconds"),
        ({"opens_per_second": 0}, "at least 1"),
        ({"idle_frames_per_second": 0}, "at least 1"),
    ],
)
def test_settings_out_of_range(settings: Mapping[str, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Config(**settings)


def test_the_smallest_settings_are_allowed() -> None:
    Config(max_window=262144, max_buffered=262144, max_inbound_streams=1, early_streams=1, close_timeout=0.001)
