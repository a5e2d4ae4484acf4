import pickle
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from astrofm.card import Band, Fact, ProductInput, Step, SurveyCard
from astrofm.errors import DataError, RecipeError, UnknownNameError
from astrofm.survey import Survey, find_source


@pytest.fixture
def card(radio_card_folder):
    return SurveyCard.from_yaml(radio_card_folder / "card.yaml")


def changed(card, **changes):
    return SurveyCard.model_validate(card.model_dump(mode="json", exclude_defaults=True) | changes)


def test_a_fact_has_a_value_or_what_would_settle_it():
    assert Fact[float].model_validate(1.8).value == 1.8
    assert Fact[float].model_validate({"value": 1.8, "source": "header"}).source == "header"
    assert Fact[float].model_validate({"unknown": "the release notes"}).value is None
    for given in ("unknown", {}, {"value": 1, "unknown": "both"}, {"source": "header"}):
        with pytest.raises(ValidationError):
            Fact[float].model_validate(given)


@pytest.mark.parametrize("name", ["SDSS-g", "VLA-FIRST-1.4GHz", "MeerKAT-L"])
def test_bands_are_qualified_by_their_instrument(name):
    assert Band(name=name, unit="Jy", frequency_hz=1.4e9).name == name
    for bare in ("g", "RGB", "-g", "SDSS-", "SDSS g"):
        with pytest.raises(ValidationError):
            Band(name=bare, unit="Jy", frequency_hz=1.4e9)


def test_a_band_lies_at_one_wavelength_or_frequency():
    assert Band(name="A-b", unit="Jy", frequency_hz="1.4e9").frequency_hz == 1.4e9
    for given in ({}, {"wavelength_nm": 475, "frequency_hz": 1e9}):
        with pytest.raises(ValidationError, match="needs either wavelength_nm or frequency_hz"):
            Band(name="A-b", unit="Jy", **given)


def test_a_step_may_be_a_bare_name_a_shorthand_or_spelt_out():
    assert Step.model_validate("minmax") == Step(name="minmax")
    short, long = ({"sigma_clip_floor": {"k": 3}}, {"name": "sigma_clip_floor", "settings": {"k": 3}})
    assert Step.model_validate(short) == Step.model_validate(long)
    assert Step.model_validate({"minmax": None}) == Step(name="minmax")


def test_a_spread_of_zero_is_refused():
    with pytest.raises(ValidationError, match="std must be positive"):
        ProductInput(std=(1.0, 0.0))


def test_a_card_comes_back_from_yaml_and_from_a_pickle(card, tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(card.model_dump(mode="json", exclude_defaults=True)))
    assert SurveyCard.from_yaml(path) == card
    assert pickle.loads(pickle.dumps(card)) == card


def test_a_card_cannot_be_changed(card):
    with pytest.raises(ValidationError):
        card.name = "other"


def test_the_resolution_is_the_geometric_mean_of_the_beam_or_the_psf(card):
    assert changed(card, beam={"bmaj_arcsec": 9, "bmin_arcsec": 4}).resolution_arcsec == 6
    assert changed(card, beam={"unknown": "the release notes"}).resolution_arcsec is None
    assert changed(card, domain="optical", beam=None, psf_fwhm_arcsec=1.3).resolution_arcsec == 1.3


@pytest.mark.parametrize(("domain", "key"), [("radio", "beam"), ("optical", "psf_fwhm_arcsec")])
def test_each_domain_states_its_resolution(card, domain, key):
    with pytest.raises(ValidationError, match=f"needs '{key}'"):
        changed(card, domain=domain, beam=None)


def test_a_product_may_have_its_own_pixel_scale(card):
    assert card.pixel_scale_of("fits") == 3.0
    finer = card.model_dump(mode="json")["products"]
    finer["fits"]["pixel_scale_arcsec"] = 1.5
    assert changed(card, products=finer).pixel_scale_of("fits") == 1.5
    assert changed(card, pixel_scale_arcsec={"unknown": "headers"}).pixel_scale_of("fits") is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tilte": "x"}, "tilte: no such key"),
        ({"folder": {"tabel": "t.csv", "table": "t.csv"}}, "folder.tabel: no such key"),
        ({"name": "Bad Name"}, "is no name of a survey"),
        ({"domain": "infrared"}, "domain: Input should be 'optical' or 'radio'"),
        ({"bands": []}, "bands: Tuple should have at least 1 item"),
    ],
)
def test_a_faulty_card_is_one_sentence_that_names_the_key(tmp_path, write_card, changes, sentence):
    path = write_card(tmp_path / "card.yaml", **changes)
    with pytest.raises(RecipeError) as caught:
        SurveyCard.from_yaml(path)
    assert str(path) in str(caught.value)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_card_file_is_one_sentence(tmp_path):
    empty, binary, torn = (tmp_path / name for name in ("empty.yaml", "binary.yaml", "torn.yaml"))
    empty.touch()
    binary.write_bytes(b"\xff\xfe\x00")
    torn.write_text("bands: [\n")
    for path in (tmp_path / "none.yaml", tmp_path, empty / "inside.yaml", empty, binary, torn):
        with pytest.raises(RecipeError) as caught:
            SurveyCard.from_yaml(path)
        assert "\n" not in str(caught.value)


def test_the_vote_schema_lies_beside_the_card(tmp_path, write_card):
    path = write_card(tmp_path / "card.yaml", votes="tiny-v1")
    with pytest.raises(RecipeError, match=r"no vote schema at .*schemas/tiny-v1\.yaml"):
        Survey.from_yaml(path)
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "tiny-v1.yaml").write_text(
        "name: tiny-v1\nsource: made for tests\nquestions: [{name: smooth, answers: ['yes', 'no']}]\n"
    )
    assert Survey.from_yaml(path).votes.columns == ("smooth_yes", "smooth_no")


def test_a_source_is_the_first_product_that_is_there(card, radio_card_folder, tmp_path):
    source = find_source(card, radio_card_folder / "archive")
    assert source.product_name == "fits"
    assert [path.name for path in source.files][:2] == ["s000.fits", "s001.fits"]
    one = find_source(card, radio_card_folder / "archive" / "s003.fits")
    assert one.files == [radio_card_folder / "archive" / "s003.fits"]


def test_a_source_that_is_missing_or_of_another_kind_is_one_sentence(card, tmp_path):
    with pytest.raises(DataError, match=r"no folder or file at .*nowhere, where the archive of 'test-field'"):
        find_source(card, tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"holds no product of 'test-field'; looked for \*\.fits \(fits\), found nothing"
    ):
        find_source(card, tmp_path)
    for name in ("a.fit", "b.fit", "inside/c.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"found 2 \*\.fit, 1 folder; '\*/' before a pattern looks into folders$"):
        find_source(card, tmp_path)
    (tmp_path / "a.fits").touch()
    assert find_source(card, Path(tmp_path), "fits").product_name == "fits"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixel_scale_arcsec": -1.8}, "pixel_scale_arcsec must be positive, got -1.8"),
        ({"field_of_view_arcsec": 0}, "field_of_view_arcsec must be positive"),
        ({"shape": [16, 16, 1]}, r"has the shape \(16, 16, 1\), which is read as \(band, y, x\), and the card names 1"),
        ({"shape": [1, 0, 16]}, r"has the shape \(1, 0, 16\)"),
        ({"input": {"mean": [0.0, 1.0]}}, "gives 2 values of mean; give 1"),
    ],
)
def test_a_card_whose_numbers_cannot_be_is_refused(card, changes, message):
    given = card.model_dump(mode="json", exclude_defaults=True)
    product = next(iter(given["products"].values()))
    for key, value in changes.items():
        (product if key in product or key == "input" else given)[key] = value
    with pytest.raises(ValidationError, match=message):
        SurveyCard.model_validate(given)


def test_a_product_that_the_card_does_not_have_is_refused_with_those_it_has(radio_card_folder):
    card = Survey.from_yaml(radio_card_folder / "card.yaml").card
    with pytest.raises(UnknownNameError, match=f"known: {', '.join(card.products)}"):
        find_source(card, radio_card_folder / "archive", "cubes")


@pytest.mark.parametrize(
    "classes", [{"barred": [True], "unbarred": ["x"]}, {"a": [0], "b": ["no", False]}, {True: [1], False: [0]}]
)
@pytest.mark.parametrize("kind", [{"column": "bar"}, {"question": "bar"}])
def test_yes_and_no_without_quotes_are_refused(card, classes, kind):
    task = {"name": "bar", "title": "Barred", **kind, "classes": classes}
    with pytest.raises(ValidationError, match="YAML reads yes, no, on and off as true or false"):
        changed(card, tasks=[task])
