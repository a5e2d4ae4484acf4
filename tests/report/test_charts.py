"""Charts as SVG."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrofm.errors import DataError
from astrofm.report.charts import Interval, Series, error_bar_svg, line_svg
from astrofm.report.svg import tick_text, ticks_around


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


def lines_of(svg):
    return [path for path in ElementTree.fromstring(svg).iter("path") if path.find("title") is not None]


def test_line_chart_is_valid_and_says_what_it_shows():
    svg = line_svg([Series("a", [0, 10], [1, 2])], "step", "loss <nats> & bits", 'The "loss"')
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == root.find("title").text == 'The "loss"'
    assert "step" in texts(svg)
    assert "loss <nats> & bits" in texts(svg)


def test_points_lie_where_the_ticks_say():
    svg = line_svg([Series("a", [0, 4, 10], [0, 40, 100])], "x", "y", "t")
    path = lines_of(svg)[0].get("d").replace("h0", "")
    numbers = [float(n) for n in re.findall(r"\d+\.?\d*", path)]
    labels = {e.text: (float(e.get("x")), float(e.get("y"))) for e in ElementTree.fromstring(svg).iter("text")}
    # A tick's number stands 4 below the height it names.
    expected = [labels["4"][0], labels["40"][1] - 4, labels["10"][0], labels["100"][1] - 4]
    assert numbers[2:] == pytest.approx(expected, abs=0.06)


def test_a_point_without_a_value_interrupts_the_line():
    svg = line_svg([Series("a", [0, 1, 2, 3], [1, math.nan, 1, 2])], "x", "y", "t")
    assert lines_of(svg)[0].get("d").count("M") == 2
    assert "nan" not in svg


def test_several_series_have_a_legend_and_differ_by_dash():
    series = [Series(f"run <{i}>", [0, 1], [i, i + 1]) for i in range(5)]
    svg = line_svg(series, "x", "y", "t")
    assert {one.label for one in series} <= set(texts(svg))
    assert len({path.get("stroke-dasharray") for path in lines_of(svg)}) == 5


def test_a_long_legend_takes_more_lines_and_stays_inside():
    series = [Series(f"a rather long label of run {i}", [0, 1], [i, i + 1]) for i in range(6)]
    svg = line_svg(series, "x", "y", "t")
    places = {e.text: (float(e.get("x")), e.get("y")) for e in ElementTree.fromstring(svg).iter("text")}
    assert all(places[one.label][0] + 5 * len(one.label) < 640 for one in series)
    assert len({places[one.label][1] for one in series}) > 1


def test_text_and_axes_take_the_colour_of_the_page():
    svg = line_svg([Series("a", [0, 1], [0, 1])], "x", "y", "t")
    root = ElementTree.fromstring(svg)
    assert root.get("fill") == "currentColor"
    assert {line.get("stroke") for line in root.iter("line")} == {"currentColor"}
    assert "http" not in svg


@given(st.lists(st.floats(-1e9, 1e9).map(lambda v: 0.0 if abs(v) < 1e-6 else v), min_size=1, max_size=20))
def test_ticks_enclose_the_values_in_few_round_steps(values):
    ticks = ticks_around(values)
    step = ticks[1] - ticks[0]
    assert ticks[0] <= min(values) + 1e-6 * step
    assert ticks[-1] >= max(values) - 1e-6 * step
    assert 3 <= len(ticks) <= 8
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-4
    assert len({tick_text(t, ticks) for t in ticks}) == len(ticks)


@given(st.floats(-1e3, 1e3))
def test_a_single_point_can_be_shown(value):
    ElementTree.fromstring(line_svg([Series("a", [value], [value])], "x", "y", "t"))


def test_error_chart_writes_percent_beside_each_row():
    svg = error_bar_svg(
        [Interval("pretrained & frozen", 0.081, 0.052, 0.118), Interval("random", 0.2, 0.1, 0.3, is_baseline=True)]
    )
    assert "pretrained & frozen" in texts(svg)
    assert "8.1% (5.2\N{EN DASH}11.8)" in texts(svg)
    assert "error (%)" in texts(svg)
    dots = list(ElementTree.fromstring(svg).iter("circle"))
    assert [dot.get("fill") == "none" for dot in dots] == [False, True]
    assert float(dots[0].get("cx")) < float(dots[1].get("cx"))


@pytest.mark.parametrize("row", [Interval("all right", 0.0, 0.0, 0.0), Interval("all wrong", 1.0, 1.0, 1.0)])
def test_an_interval_of_no_width_can_be_shown(row):
    assert "nan" not in error_bar_svg([row])
    ElementTree.fromstring(error_bar_svg([row]))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(DataError, match="no finite point"):
        line_svg([Series("a", [0, 1], [math.nan, math.inf])], "x", "y", "t")
    with pytest.raises(DataError, match="'a' has 2 x and 1 y"):
        line_svg([Series("a", [0, 1], [1])], "x", "y", "t")
    with pytest.raises(DataError, match="no row"):
        error_bar_svg([])
    with pytest.raises(DataError, match="outside its interval"):
        error_bar_svg([Interval("a", 0.5, 0.6, 0.7)])


def test_ticks_of_a_logarithmic_axis_are_written_out():
    drawing = line_svg([Series("a", [20, 100], [1, 2])], "x", "y", "t", log_ticks=[20, 100])
    assert ">20<" in drawing
    assert ">100<" in drawing
    small = line_svg([Series("a", [0.001, 0.05], [1, 2])], "x", "y", "t", log_ticks=[0.001, 0.05])
    assert ">0.001<" in small
    assert ">0.05<" in small


def test_nine_lines_look_different():
    many = [Series(str(i), [0, 1], [i, i + 1]) for i in range(9)]
    drawing = line_svg(many, "x", "y", "t")
    paths = re.findall(r'<path d="M[^"]*" fill="none" (stroke="[^>]*)><title>', drawing)
    assert len(paths) == len(set(paths)) == 9


def test_a_band_must_have_an_edge_for_each_x():
    with pytest.raises(DataError, match="2 x and a band of 1"):
        line_svg([Series("a", [0, 1], [1, 2], [(0.0, 3.0)])], "x", "y", "t")
