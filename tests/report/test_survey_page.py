"""A survey's page says what its card says."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from astrofm.cli.main import app
from astrofm.data.store import CutoutStore
from astrofm.report.survey_page import NUM_CUTOUTS, SIDE_PIX, index_page, survey_page, survey_sheet
from astrofm.survey import Survey


@pytest.fixture
def survey(tmp_path, write_card):
    changes = {
        "title": "Blobs | in noise",
        "field_of_view_arcsec": {"unknown": "a header would settle it"},
        "archive": [
            {
                "name": "blobs.tar",
                "url": "https://example.org/blobs.tar",
                "size_bytes": 1500000,
                "licence": "CC BY 4.0",
                "note": "two files",
            }
        ],
        "transfer": {"train": "other-field", "test": "test-field"},
    }
    return Survey.from_yaml(write_card(tmp_path / "card.yaml", **changes))


def test_a_page_has_the_facts_their_sources_and_what_is_not_known(survey):
    page = survey_page(survey, "sheet.jpg", "Eight cutouts.")
    assert page.startswith("# test-field: Blobs | in noise\n\n![Cutouts of test-field](sheet.jpg)\n\nEight cutouts.\n")
    assert "| pixel scale | 3 arcsec |" in page
    assert "| field of view | unknown | a header would settle it |" in page
    assert "| beam (FWHM) | 9 x 9 arcsec, 0 deg |" in page
    assert "| band TEST-1.4GHz | 1.4 GHz, in Jy/beam |" in page
    assert "| blobs | One or two | label: one (0), two (1) |" in page
    assert "takes its labels from other-field and tests on test-field" in page
    assert "- **blobs.tar**, <https://example.org/blobs.tar>, 1.5 MB. Licence: CC BY 4.0. Two files." in page
    assert "```bibtex\n@misc{field, title = {Test field}, year = {2026}}\n```" in page
    assert "astrofm survey fetch test-field" in page


def test_a_band_has_its_source_and_one_that_many_share_is_told_once(tmp_path, write_card):
    places = {"i": "the filter's page", "r": "the filter's page", "g": "another page"}
    bands = [
        {"name": f"MyCam-{band}", "unit": "8-bit", "wavelength_nm": 500, "source": source}
        for band, source in places.items()
    ]
    product = {"pictures": {"pattern": "*.jpg", "shape": [3, 8, 8], "unit": "8-bit", "dtype": "uint8"}}
    page = survey_page(
        Survey.from_yaml(write_card(tmp_path / "card.yaml", bands=bands, products=product)), "sheet.jpg", "Cutouts."
    )
    assert (
        "| band MyCam-i | 500 nm, in 8-bit | the filter's page |\n| band MyCam-r | 500 nm, in 8-bit | as above |"
        in page
    )
    assert "| band MyCam-g | 500 nm, in 8-bit | another page |" in page


def test_a_cell_cannot_break_its_table(tmp_path, write_card):
    task = {"name": "blobs", "title": "One | two,\nor more", "column": "label", "classes": {"one": [0], "two": [1]}}
    page = survey_page(Survey.from_yaml(write_card(tmp_path / "card.yaml", tasks=[task])), "sheet.jpg", "Cutouts.")
    assert "| blobs | One \\| two, or more | label: one (0), two (1) |" in page


def test_a_survey_that_nothing_can_fetch_is_not_said_to_be_fetched(tmp_path, write_card):
    card = write_card(tmp_path / "card.yaml", archive=[{"name": "blobs.tar", "page": "https://example.org"}], tasks=[])
    page = survey_page(Survey.from_yaml(card), "sheet.jpg", "Cutouts.")
    assert "survey fetch" not in page
    assert "There are no labels" in page
    assert "astrofm transfer" not in page


def test_a_sheet_shows_cutouts_side_by_side(radio_store):
    jpeg, how = survey_sheet(CutoutStore.open(radio_store))
    sheet = np.asarray(Image.open(BytesIO(jpeg)))
    assert sheet.shape == (SIDE_PIX, SIDE_PIX * NUM_CUTOUTS, 3)
    assert how.startswith(f"{NUM_CUTOUTS} cutouts from places all over the store")
    assert all(sheet[:, SIDE_PIX * i : SIDE_PIX * (i + 1)].std() > 5 for i in range(NUM_CUTOUTS))


def test_the_index_leads_to_each_page(survey):
    assert "| [test-field](test-field.md) | radio | Blobs \\| in noise | blobs |" in index_page([survey])


def test_the_command_writes_pages_of_surveys_by_name_or_card(radio_card_folder, radio_store, tmp_path):
    card = str(radio_card_folder / "card.yaml")
    arguments = ["survey", "page", card, "--store", str(radio_store), "--out", str(tmp_path / "pages"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    written = [tmp_path / "pages" / name for name in ("test-field.md", "test-field.jpg")]
    assert json.loads(result.stdout)["files"] == [str(path) for path in written]
    assert "made-up" not in written[0].read_text(encoding="utf-8").lower()
    with Image.open(written[1]) as picture:
        assert picture.format == "JPEG"


def test_an_index_is_written_where_it_is_asked_for(radio_card_folder, write_card, tmp_path):
    cards = [write_card(tmp_path / f"{name}.yaml", name=name) for name in ("near", "far")]
    arguments = ["survey", "page", *map(str, cards), "--mock", "12", "--out", str(tmp_path / "pages"), "--json"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not (tmp_path / "pages" / "README.md").exists(), "it could be somebody's own"
    result = CliRunner().invoke(app, [*arguments, "--index"])
    assert result.exit_code == 0, result.output
    index = (tmp_path / "pages" / "README.md").read_text(encoding="utf-8")
    assert index.index("[far](far.md)") < index.index("[near](near.md)")
    assert "Made-up cutouts" in (tmp_path / "pages" / "near.md").read_text(encoding="utf-8")
