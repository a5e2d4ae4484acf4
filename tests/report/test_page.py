"""Self-contained HTML pages."""

import re
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest

from astrofm.errors import DataError
from astrofm.report.charts import Series, line_svg
from astrofm.report.page import Section, command, figure, gallery, page, paragraph, table
from astrofm.report.pictures import cutout_png

NASTY = "<script>alert('a & b')</script> \"quoted\""
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Outline(HTMLParser):
    """Collects tags, attributes and text, and sees that every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def example():
    png = cutout_png(np.random.default_rng(0).random((1, 8, 8)), size_pix=16)
    chart = line_svg([Series(NASTY, [0, 1], [0, 1]), Series("b", [0, 1], [1, 0])], NASTY, NASTY, NASTY)
    sections = [
        Section(NASTY, paragraph(NASTY) + command(NASTY) + figure(chart, NASTY)),
        Section("Found", gallery([(png, NASTY, True), (png, "b", False)]) + table([NASTY], [[NASTY]], caption=NASTY)),
    ]
    return page(NASTY, sections, subtitle=NASTY, banner=NASTY, footer=NASTY), png


def test_every_text_is_escaped_and_every_tag_closed():
    html, _ = example()
    outline = Outline(html)
    assert "script" not in outline.tags
    assert outline.text.count(NASTY) >= 13


def test_nothing_is_fetched_from_elsewhere():
    html, _ = example()
    outline = Outline(html)
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r"base64,[^\"]*", "", html))
    assert {"link", "iframe", "script", "object"}.isdisjoint(outline.tags)
    sources = [value for name, value in outline.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith("data:image/png;base64,") for value in sources)


def test_pictures_are_in_the_page_byte_by_byte():
    html, png = example()
    source = next(value for name, value in Outline(html).attributes if name == "src")
    assert b64decode(source.split(",")[1]) == png
    assert html.count('class="highlight"') == 1


def test_banner_comes_before_anything_else_and_only_if_there_is_one():
    with_banner = page("Title", [], banner="Mock data")
    assert with_banner.index("Mock data") < with_banner.index("<h1>")
    assert 'class="banner"' not in page("Title", [])


def test_page_has_a_title_a_language_and_both_colour_schemes():
    html = page("Title", [Section("One", paragraph("text"))])
    assert html.startswith("<!DOCTYPE html>")
    assert '<html lang="en">' in html
    assert "<title>Title</title>" in html
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize(
    ("cells", "is_number"),
    [
        (["8.1 ± 0.4%", "\N{MINUS SIGN}13.1 (\N{MINUS SIGN}17.9 to \N{MINUS SIGN}8.6)", "\N{EM DASH}"], True),
        (["1,200", "3", ""], True),
        (["linear", "3"], False),
        (["3 seeds"], False),
        (["2024 data release"], False),
    ],
)
def test_columns_of_numbers_are_aligned_to_the_right(cells, is_number):
    assert ('<td class="number">' in table(["a"], [[cell] for cell in cells])) == is_number


def test_row_of_another_length_is_refused():
    with pytest.raises(DataError, match="2 columns got a row of 1: x"):
        table(["a", "b"], [["x"]])
