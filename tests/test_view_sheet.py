"""The sheet shows what pretraining feeds: the same cutouts, the same views, and numbers of them that are right."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from astrofm import view_sheet as module
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.errors import ContractError, UsageError
from astrofm.objectives.byol import BYOL
from astrofm.pretrain import pretrain
from astrofm.recipe import Recipe
from astrofm.survey import Survey
from astrofm.view_sheet import NUM_DRAWS, view_sheet, wanted_surveys


@pytest.fixture
def stores(radio_store):
    return {"test-field": CutoutStore.open(radio_store)}


@pytest.fixture
def drawn(monkeypatch):
    """The blocks of the sheets that were drawn, beside the drawing itself."""
    blocks = []
    draw = module.draw_sheet

    def keep(title, lines, given, facts):
        blocks.extend(given)
        return draw(title, lines, given, facts)

    monkeypatch.setattr(module, "draw_sheet", keep)
    return blocks


def with_data(radio_recipe, **data):
    return Recipe.parse(radio_recipe | {"data": radio_recipe["data"] | data}, "the test")


def test_the_views_are_those_that_pretraining_feeds_bit_for_bit(radio_recipe, stores, drawn, monkeypatch, tmp_path):
    jitter = {"name": "jitter", "settings": {"brightness": 0.4, "contrast": 0.4, "p": 0.8}}
    recipe = Recipe.parse(radio_recipe | {"views": ["rotate", "flip", "zoom", jitter, "blur"]}, "the test")
    fed = []
    forward = BYOL.forward

    def keep(self, views, step):
        fed.append(views)
        return forward(self, views, step)

    monkeypatch.setattr(BYOL, "forward", keep)
    pretrain(recipe, stores, tmp_path / "run")
    sheet = view_sheet(recipe, stores, num=6)
    assert len(fed) == len(drawn) == 2
    train = np.flatnonzero(stores["test-field"].catalog.column("split") == "train")
    for block, views in zip(drawn, fed, strict=True):
        ids = stores["test-field"].catalog.column("id_str")[train[views.row_ids.numpy()[:3]]]
        assert [row.title for row in block.rows] == ids.tolist()
        for place, row in enumerate(block.rows):
            assert row.pictures.shape == (1 + 2 * NUM_DRAWS, 1, 32, 32)
            # The card of the test normalises nothing, so that the pictures are the input itself.
            for view, images in enumerate(views.images):
                np.testing.assert_array_equal(row.pictures[1 + view], images[place].numpy())
    assert sheet.ids == tuple(row.title for block in drawn for row in block.rows)


def test_the_first_picture_is_the_cutout_as_it_is_and_the_others_differ(radio_recipe, stores, drawn):
    store = stores["test-field"]
    sheet = view_sheet(with_data(radio_recipe, size_pix=16), stores, num=4)
    for block in drawn:
        for row in block.rows:
            (place,) = np.flatnonzero(store.catalog.column("id_str") == row.title)
            np.testing.assert_allclose(row.pictures[0], 1000 * store.read([place])[0], rtol=1e-5, atol=1e-5)
            assert len({picture.tobytes() for picture in row.pictures}) == len(row.pictures)
    assert sheet.statistics["test-field"].difference > 0.5


def test_the_numbers_are_those_of_the_pixels(radio_recipe, stores):
    store = stores["test-field"]
    sheet = view_sheet(with_data(radio_recipe, size_pix=16), stores, num=16)
    assert len(set(sheet.ids)) == 16
    rows = np.flatnonzero(np.isin(store.catalog.column("id_str"), sheet.ids))
    pixels = 1000.0 * store.read(rows).astype(np.float64)
    found = sheet.statistics["test-field"]
    assert found.num_cutouts == 16
    np.testing.assert_allclose(
        [found.plain.min, found.plain.max, found.plain.mean, found.plain.std],
        [pixels.min(), pixels.max(), pixels.mean(), pixels.std()],
        rtol=1e-5,
    )
    assert found.plain.zero_share == found.plain.missing_share == 0.0
    np.testing.assert_allclose([found.black, found.white], np.percentile(pixels, [0.5, 99.5]), rtol=1e-4)


def test_zeros_are_counted_after_the_normalisation_too(radio_recipe, radio_card_folder, write_card, tmp_path, drawn):
    stretch = [{"sigma_clip_floor": {"k": 3.0}}, {"scale": {"factor": 1000}}]
    products = {
        "fits": {
            "pattern": "*.fits",
            "shape": [1, 16, 16],
            "unit": "Jy/beam",
            "dtype": "float32",
            "input": {"stretch": stretch, "mean": [0.3], "std": [1.7], "measured_on": "a guess"},
        }
    }
    card = write_card(tmp_path / "card.yaml", products=products)
    ingest(Survey.from_yaml(card), radio_card_folder / "archive", tmp_path / "field.zarr")
    stores = {"test-field": CutoutStore.open(tmp_path / "field.zarr")}
    sheet = view_sheet(with_data(radio_recipe, surveys=[str(card)], size_pix=16), stores, num=16)
    plain = np.stack([row.pictures[0] for block in drawn for row in block.rows])
    found = sheet.statistics["test-field"].plain
    assert found.zero_share == (np.abs(plain) < 1e-5).mean() > 0.9
    assert found.input_mean == pytest.approx((found.mean - 0.3) / 1.7, rel=1e-5)
    assert found.input_std == pytest.approx(found.std / 1.7, rel=1e-5)


def test_every_survey_has_its_turn_and_its_numbers(tiny_recipe, mock_stores, drawn):
    surveys = [{"name": "mirabest", "weight": 15.0}, {"name": "mightee", "splits": ["test"], "weight": 1.0}]
    recipe = tiny_recipe("mirabest", batch_size=32)
    given = recipe.model_dump(mode="json")
    given["data"]["surveys"] = surveys
    sheet = view_sheet(Recipe.parse(given, "the test"), mock_stores, num=4)
    assert [{row.subtitle for row in block.rows} for block in drawn] == [{"mirabest", "mightee"}] * 2
    counts = {survey: found.num_cutouts for survey, found in sheet.statistics.items()}
    assert counts == {"mirabest": 60, "mightee": 4}


def test_colour_is_shown_in_colour(tiny_recipe, mock_stores, drawn):
    sheet = view_sheet(tiny_recipe("gz-evo"), mock_stores, num=1)
    (block,) = drawn
    (row,) = block.rows
    assert row.pictures.shape[1] == 3
    assert sheet.views == ("rotate", "flip", "jitter")
    assert np.asarray(Image.open(BytesIO(sheet.png))).ndim == 3


def test_input_that_a_run_refuses_is_drawn_and_named(radio_recipe, radio_card_folder, write_card, tmp_path):
    products = {
        "fits": {
            "pattern": "*.fits",
            "shape": [1, 16, 16],
            "unit": "Jy/beam",
            "dtype": "float32",
            "input": {"mean": [50.0], "std": [1.0], "measured_on": "nothing"},
        }
    }
    card = write_card(tmp_path / "card.yaml", products=products)
    ingest(Survey.from_yaml(card), radio_card_folder / "archive", tmp_path / "field.zarr")
    stores = {"test-field": CutoutStore.open(tmp_path / "field.zarr")}
    recipe = with_data(radio_recipe, surveys=[str(card)])
    with pytest.raises(ContractError, match="far from 0 and 1") as refused:
        pretrain(recipe, stores, tmp_path / "run")
    sheet = view_sheet(recipe, stores, num=2)
    assert sheet.problem == str(refused.value)
    assert Image.open(BytesIO(sheet.png)).size[0] > 500


def test_fewer_pixels_to_begin_with_are_told(radio_recipe, stores, monkeypatch):
    said = []
    monkeypatch.setattr(module, "draw_sheet", lambda title, lines, given, facts: said.extend(lines) or b"")
    training = radio_recipe["training"] | {"coarse": {"size_pix": 16, "fraction": 0.5}}
    view_sheet(Recipe.parse(radio_recipe | {"training": training}, "the test"), stores, num=2)
    assert "The first 50% of the steps see the same field in 16 x 16 pixels, which is not shown." in said
    said.clear()
    view_sheet(Recipe.parse(radio_recipe, "the test"), stores, num=2)
    assert not any("fewer" in line or "which is not shown" in line for line in said)


def test_a_batch_larger_than_the_data_is_refused_as_in_a_run(radio_recipe, stores):
    training = radio_recipe["training"] | {"batch_size": 64}
    with pytest.raises(UsageError, match="a batch of 64 is larger than the data, 24 rows"):
        view_sheet(Recipe.parse(radio_recipe | {"training": training}, "the test"), stores)
    with pytest.raises(UsageError, match="at least one cutout, and 0 were asked for"):
        view_sheet(Recipe.parse(radio_recipe, "the test"), stores, num=0)


def test_stores_to_keep_away_from_are_wanted_and_those_of_probes_are_not():
    assert wanted_surveys(Recipe.load("byol-rgz")) == ["rgz", "mirabest"]
    assert wanted_surveys(Recipe.load("byol-radio-cpu", surveys=["mgcls"])) == ["mgcls", "mirabest"]
