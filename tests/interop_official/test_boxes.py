"""What goes to standard output, to the byte, and what the boxes make of samples."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop.official.boxes import Box, perf_yaml, ping_json, ping_yaml

SAMPLES = st.lists(st.floats(0, 1e9), min_size=1, max_size=60)
TRANSPORT_GREP = re.compile(r"(latency:|  (handshake_plus_one_rtt|ping_rtt|unit):)")
PERF_GREP = re.compile(r"(upload:|download:|latency:|  (iterations|min|q1|median|q3|max|outliers|samples|unit):)")


def test_ping_yaml_is_what_the_harness_greps() -> None:
    text = ping_yaml(0.005011, 0.000599)
    assert text == "latency:\n  handshake_plus_one_rtt: 5.011\n  ping_rtt: 0.599\n  unit: ms\n"
    assert all(TRANSPORT_GREP.match(line) for line in text.splitlines())


def test_ping_json_is_one_line_with_three_ls() -> None:
    text = ping_json(0.0050114, 0.000599)
    assert text == '{"handshakePlusOneRTTMillis": 5.011, "pingRTTMilllis": 0.599}\n'
    assert json.loads(text)["pingRTTMilllis"] == 0.599


def test_perf_yaml_has_every_field_in_order() -> None:
    text = perf_yaml("upload", Box.of([1, 2, 3, 4, 100]), unit="Gbps", digits=2)
    assert text == (
        "upload:\n  iterations: 5\n  min: 1.00\n  q1: 2.00\n  median: 3.00\n  q3: 4.00\n  max: 4.00\n"
        "  outliers: [100.00]\n  samples: [1.00, 2.00, 3.00, 4.00, 100.00]\n  unit: Gbps\n"
    )
    assert all(PERF_GREP.match(line) for line in text.splitlines())


def test_perf_yaml_without_outliers_has_an_empty_list_and_samples_as_they_came() -> None:
    text = perf_yaml("latency", Box.of([2.0, 1.0]), unit="ms", digits=3)
    assert "  outliers: []\n  samples: [2.000, 1.000]\n" in text


@given(SAMPLES)
def test_a_box_loses_no_sample(samples: list[float]) -> None:
    box = Box.of(samples)
    assert box.samples == tuple(samples)
    assert box.q1 <= box.median <= box.q3
    assert box.low <= box.high
    inside = [value for value in samples if box.low <= value <= box.high]
    assert sorted([*inside, *box.outliers]) == sorted(samples)


@given(st.floats(0, 1e9), st.integers(1, 50))
def test_equal_samples_have_no_outliers(value: float, count: int) -> None:
    assert Box.of([value] * count) == Box(value, value, value, value, value, (), (value,) * count)


def test_quartiles_lie_between_samples() -> None:
    box = Box.of([4, 1, 3, 2])
    assert (box.q1, box.median, box.q3) == (1.75, 2.5, 3.25)


def test_no_samples_make_no_box() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Box.of([])
