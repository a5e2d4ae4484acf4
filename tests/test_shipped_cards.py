"""The cards of surveys without code keep the contract of every survey."""

import pytest

from astrofm import plugins
from astrofm.home import shipped
from astrofm.testing import SurveyTests


class TestNVSS(SurveyTests):
    survey = "nvss"


class TestVLASS(SurveyTests):
    survey = "vlass"


def test_every_shipped_card_is_a_survey_without_code():
    cards = sorted(shipped("surveys").glob("*.yaml"))
    assert cards
    for card in cards:
        survey = plugins.survey(card.stem)
        assert survey.name == card.stem
        assert survey.card.folder is not None or survey.card.mosaic is not None


@pytest.mark.parametrize("name", ["nvss", "vlass"])
def test_cutouts_are_as_wide_as_the_card_says(name):
    card = plugins.survey(name).card
    (product,) = card.products.values()
    assert product.size_pix[0] * card.pixel_scale_arcsec.value == pytest.approx(card.field_of_view_arcsec.value)


def test_the_beam_of_nvss_spans_three_pixels():
    card = plugins.survey("nvss").card
    assert card.resolution_arcsec == 3 * card.pixel_scale_arcsec.value
