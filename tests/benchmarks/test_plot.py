"""The SVG of a run: well-formed, with bars as long as their numbers say."""

from xml.etree import ElementTree

import pytest

from benchmarks.measures import OURS
from benchmarks.plot import ROOM, Bar, Scale, to_svg
from benchmarks.results import Results, Spread

SVG = "{http://www.w3.org/2000/svg}"


def picture(**samples: dict[str, list[float | None]]) -> ElementTree.Element:
    return ElementTree.fromstring(to_svg(Results(command="", runs=2, machine={}, sizes={}, samples=samples)))


def bars(picture: ElementTree.Element, kind: str) -> list[float]:
    return [float(rect.attrib["width"]) for rect in picture.iter(f"{SVG}rect") if rect.attrib["class"] == kind]


def texts(picture: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def scale_of(*numbers: float) -> Scale:
    return Scale.of([Bar("go", Spread(n, n, n, 1)) for n in numbers])


def test_bars_are_as_long_as_their_medians() -> None:
    drawn = picture(download={OURS: [100, 300], "go": [400, 400], "sealed": [50, 50]})
    assert bars(drawn, "ours") == pytest.approx([ROOM / 2], abs=0.1)
    assert bars(drawn, "theirs") == pytest.approx([ROOM], abs=0.1)
    assert bars(drawn, "reference") == pytest.approx([ROOM / 8], abs=0.1)
    assert {"peerstack", "200", "go-libp2p", "400", "MiB/s; more is better"} <= set(texts(drawn))


def test_whisker_reaches_from_the_least_to_the_greatest() -> None:
    (line,) = (
        line for line in picture(ping={OURS: [100, 300]}).iter(f"{SVG}line") if line.attrib["class"] == "whisker"
    )
    assert float(line.attrib["x2"]) - float(line.attrib["x1"]) == pytest.approx(ROOM * 2 / 3, abs=0.2)


def test_wide_range_is_drawn_on_a_logarithmic_scale_and_says_so() -> None:
    assert "/s; more is better; logarithmic scale" in texts(picture(dials={OURS: [10], "go": [1000]}))
    scale = scale_of(10, 1000)
    assert (scale(10), scale(100), scale(1000)) == pytest.approx((0, 0.5, 1))
    assert scale.decades() == [10, 100, 1000]


def test_narrow_range_is_drawn_from_zero() -> None:
    scale = scale_of(10, 200)
    assert (scale(0), scale(100), scale(200)) == (0, 0.5, 1)
    assert scale.decades() == []


def test_zeros_have_a_length() -> None:
    assert scale_of(0)(0) == 0


def test_negative_memory_does_not_draw_backwards() -> None:
    assert bars(picture(listener_rss={OURS: [-5], "go": [60]}), "ours") == [1]


def test_empty_run_is_a_picture_too() -> None:
    assert picture().attrib["width"] == "1000"
