"""Histograms and sky maps put every value where it belongs."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astrofm.errors import DataError
from astrofm.report.distributions import histogram_svg, sky_svg

finite = st.floats(-1e12, 1e12, allow_nan=False)


def parse(svg):
    return ElementTree.fromstring(svg)


def shaded(svg):
    """The (x, y) of every shaded cell and its opacity."""
    cells = {}
    for path in parse(svg).iter("path"):
        if path.get("fill") != "none":
            for x, y in re.findall(r"M([\d.]+) ([\d.]+)h", path.get("d")):
                cells[float(x), float(y)] = float(path.get("fill-opacity"))
    return cells


def bars(svg):
    """Left edge, right edge and height of every bar."""
    (path,) = [path for path in parse(svg).iter("path") if path.get("fill") != "none"]
    found = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)H([\d.]+)V", path.get("d"))
    return [(float(a), float(b), float(foot) - float(top)) for a, foot, top, b in found]


def test_bars_are_as_high_as_the_counts():
    drawn = bars(histogram_svg([0.0] * 10 + [5.0] * 5 + [10.0] * 20, "x", "title"))
    assert [height for *_, height in drawn] == pytest.approx([70.0, 35.0, 140.0])
    assert drawn[0][0] < drawn[1][0] < drawn[2][0]


@settings(max_examples=60, deadline=None)
@given(st.lists(finite, min_size=1, max_size=50))
@example([1e-05, -9.450430848358692e-71])
def test_every_set_of_numbers_has_a_histogram_inside_its_frame(values):
    svg = histogram_svg([*values, np.nan, np.inf], "x", "title")
    for left, right, height in bars(svg):
        assert 0 < left < right < 340
        assert 0 < height <= 140.01


def test_numbers_over_many_decades_are_drawn_by_their_logarithm():
    assert "log10 noise (mJy)" in histogram_svg([0.01, 1.0, 100.0], "noise (mJy)", "title")
    assert "log10" not in histogram_svg([1.0, 50.0], "noise (mJy)", "title")
    assert "log10" not in histogram_svg([0.0, 1000.0], "noise (mJy)", "title")


def test_nothing_to_draw_is_refused():
    with pytest.raises(DataError, match="no finite value"):
        histogram_svg([np.nan], "x", "title")
    with pytest.raises(DataError, match="no position"):
        sky_svg([np.nan], [np.nan], "title")


def test_the_whole_sky_has_zero_in_the_middle_and_east_to_the_left():
    def place(ra, dec):
        # The other two make it a map of the whole sky; they lie at its sides.
        cells = shaded(sky_svg([ra, 179.0, 181.0], [dec, 0.0, 0.0], "title"))
        return next((x, y) for x, y in cells if 40 < x < 620)

    middle = place(0.0, 0.0)
    assert place(30.0, 0.0)[0] < middle[0] < place(330.0, 0.0)[0]
    assert place(0.0, 45.0)[1] < middle[1] < place(0.0, -45.0)[1]
    assert middle[0] == pytest.approx(333, abs=5)


def test_areas_of_the_sky_are_equal_wherever_they_are():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 200_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 200_000)))
    cells = shaded(sky_svg(ra, dec, "title"))
    full = np.pi / 4 * 120 * 60  # an ellipse of 120 by 60 cells
    assert len(cells) == pytest.approx(full, rel=0.04)


def test_a_small_field_is_drawn_large_also_at_the_pole_and_across_zero():
    for ra0, dec0 in ((0.0, 10.0), (0.0, 89.95), (200.0, -90.0)):
        ra = (ra0 + np.array([-0.05, 0.05, 0.0]) / max(np.cos(np.radians(dec0)), 0.02)) % 360
        svg = sky_svg(ra, [dec0, dec0, min(dec0 + 0.05, 90.0)], "title")
        assert "degrees to the East of" in svg
        assert len(shaded(svg)) > 1


def test_more_sources_are_darker():
    cells = shaded(sky_svg([10.0] * 100 + [10.1], [0.0] * 101, "title"))
    assert sorted(cells.values()) == [pytest.approx(0.36), 1.0]
    assert min(cells)[0] < max(cells)[0]
    assert cells[max(cells)] == 1.0  # ra 10.1 lies to the East, on the left


def test_words_are_escaped():
    assert "<b>" not in histogram_svg([1.0, 2.0], "<b>x", "<b>title") + sky_svg([1.0], [1.0], "<b>")
