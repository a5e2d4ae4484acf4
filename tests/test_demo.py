"""The demo: from mock archives to a page that says what it is."""

import re
import shutil
from html.parser import HTMLParser

import pytest
import yaml

from astrofm.demo import DemoSettings, SurveyDemo, demo
from astrofm.errors import UsageError

VOID = {"meta", "br", "img", "hr", "link", "input", "rect", "line", "circle", "path", "polyline", "polygon", "use"}
TITLES = ("MiraBest", "Galaxy Zoo Evo")


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not open."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.text = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def settings(tiny_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    parts = []
    for survey, num in (("mirabest", 40), ("gz-evo", 48)):
        recipe = folder / f"{survey}.yaml"
        recipe.write_text(yaml.safe_dump(tiny_recipe(survey, max_steps=3).model_dump(mode="json")))
        parts.append(SurveyDemo(survey=survey, num_objects=num, recipe=str(recipe), labels=12, seeds=2))
    return DemoSettings(surveys=tuple(parts), finetune_epochs=1, num_similar=3)


@pytest.fixture(scope="module")
def shown(settings, tmp_path_factory):
    """The folder of a demo, its result, and what it said."""
    out, said = tmp_path_factory.mktemp("demo") / "out", []
    return out, demo(out, settings=settings, say=said.append), said


def test_page_is_whole_and_shows_both_surveys(shown):
    html = (shown[0] / "report.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    text = " ".join(parser.text)
    for title in TITLES:
        assert title in text
    for survey in ("mirabest", "gz-evo"):
        assert f"{survey}: 12 labels" in text
        assert f"astrofm transfer --survey {survey} --mock" in text


def test_page_says_mock_on_top_and_in_the_heading_of_each_survey(shown):
    html = (shown[0] / "report.html").read_text(encoding="utf-8")
    assert "Mock data from a sky model" in html
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    for title in TITLES:
        (heading,) = [heading for heading in headings if title in heading]
        assert "(mock)" in heading
    assert html.count("Mock data.") == 2


def test_page_needs_nothing_from_elsewhere(shown):
    html = (shown[0] / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r"(?:src|href)=[\"']([^\"']*)", html) + re.findall(r"url\(([^)]*)", html)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "<script src" not in html
    assert {found for found in re.findall(r"https?://[^\s\"'<>]+", html)} <= {"http://www.w3.org/2000/svg"}
    assert str(shown[0]) not in html


def test_result_carries_the_numbers_of_the_page(shown):
    out, result, said = shown
    assert result.report == str(out / "report.html")
    assert result.mock
    assert [report["survey"] for report in result.transfers] == ["mirabest", "gz-evo"]
    assert all(report["mock"] and report["model_step"] == 3 for report in result.transfers)
    assert any("mock" in sentence for sentence in said)


def test_again_gives_the_same_numbers(shown, settings):
    out, result, _ = shown
    assert demo(out, settings=settings).transfers == result.transfers
    assert (out / "report.html").exists()


def test_what_else_lies_in_the_folder_is_left_there(shown, settings):
    out = shown[0]
    kept = [out / "runs" / "mine" / "thesis.tex", out / "stores" / "other.zarr" / "data"]
    for file in kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("precious")
    demo(out, settings=settings)
    assert [file.read_text() for file in kept] == ["precious"] * 2


def test_store_that_is_not_mock_is_neither_used_nor_replaced(settings, tmp_path, radio_store):
    store = tmp_path / "out" / "stores" / "mirabest.zarr"
    shutil.copytree(radio_store, store)
    (tmp_path / "out" / "report.html").write_text("")
    with pytest.raises(UsageError, match=r"mirabest\.zarr is no store of mock data: choose another --out"):
        demo(tmp_path / "out", settings=settings)
    assert (store / "manifest.json").exists()


def test_shipped_settings_name_installed_surveys():
    chosen = DemoSettings.shipped()
    assert len(chosen.surveys) >= 2
