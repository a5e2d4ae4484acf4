"""The pages of docs/surveys are those that the cards give now."""

from pathlib import Path

import pytest

from astrofm import plugins
from astrofm.report.survey_page import index_page, survey_page

PAGES = Path(__file__).parents[1] / "docs" / "surveys"
AGAIN = "write it again: astrofm survey page {name} --mock 64 --out docs/surveys (--index for all)"
SURVEYS = sorted(plugins.surveys())


@pytest.mark.parametrize("name", SURVEYS)
def test_a_page_says_what_the_card_says(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    caption = page.split("\n\n")[2]
    assert caption.startswith("Made-up cutouts"), (
        "what is shown is not the data of an archive with a licence of its own"
    )
    assert page == survey_page(plugins.survey(name), f"{name}.jpg", caption), AGAIN.format(name=name)
    assert (PAGES / f"{name}.jpg").stat().st_size > 1000


def test_the_index_leads_to_every_page_and_no_page_is_left_over():
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert index == index_page(plugins.surveys().values())
    assert {path.stem for path in PAGES.glob("*.md")} == {"README", *SURVEYS}
    assert {path.stem for path in PAGES.glob("*.jpg")} == set(SURVEYS)
