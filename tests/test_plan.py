import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits

from astrofm.contract import Range
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.errors import ContractError, DataError
from astrofm.plan import field_of_view_arcsec, make_contract, plan_run, rows_of_splits
from astrofm.recipe import Recipe
from astrofm.survey import Survey

ARCSEC = 1 / 3600


def stored(card, archive):
    path = Path(f"{archive}.zarr")
    ingest(Survey.from_yaml(card), archive, path)
    return CutoutStore.open(path)


def recipe_for(radio_recipe, *cards, **data):
    given = radio_recipe | {"data": radio_recipe["data"] | {"surveys": [str(card) for card in cards]} | data}
    return Recipe.parse(given, "the test")


@pytest.fixture
def neighbours(tmp_path, write_card, write_field):
    """Cards and stores of ``near``, ten sources, and ``test``, whose test sources lie near some of them."""
    cards = [write_card(tmp_path / f"{name}.yaml", name=name) for name in ("near", "test")]
    ra, dec = [359.999, *range(1, 10)], [-30.0] * 10
    close = [
        (0.0125, -30.0, "test"),  # 42 arcsec from RA 359.999
        (3.0, -30.0 + 59 * ARCSEC, "test"),
        (5.0, -30.0 + 61 * ARCSEC, "test"),
        (7.0, -30.0, "train"),
    ]
    close += [(100.0, 10.0, "train")] * 2
    archives = [
        write_field(tmp_path / "near", ra, dec, ["train"] * 9 + ["val"]),
        write_field(tmp_path / "test", *zip(*close, strict=True)),
    ]
    stores = {store.card.name: store for store in map(stored, cards, archives)}
    return cards, stores


def exclude(card, radius=60.0, split="test"):
    return [{"survey": str(card), "split": split, "radius_arcsec": radius}]


def test_sources_near_the_test_set_are_left_out_and_counted(radio_recipe, neighbours):
    cards, stores = neighbours
    plan = plan_run(recipe_for(radio_recipe, cards[0], exclude=exclude(cards[1])), stores)
    assert plan.excluded == {"near": 2}
    (feed,) = plan.feeds
    np.testing.assert_array_equal(feed.rows, [1, 2, 4, 5, 6, 7, 8])
    assert plan.num_cutouts == 7


def test_the_radius_and_the_split_decide(radio_recipe, neighbours):
    cards, stores = neighbours
    wide = plan_run(recipe_for(radio_recipe, cards[0], exclude=exclude(cards[1], 62.0)), stores)
    assert wide.excluded == {"near": 3}
    other = plan_run(recipe_for(radio_recipe, cards[0], exclude=exclude(cards[1], split="train")), stores)
    assert other.excluded == {"near": 1}
    assert 7 not in other.feeds[0].rows
    none = plan_run(recipe_for(radio_recipe, cards[0]), stores)
    assert none.excluded == {"near": 0}
    np.testing.assert_array_equal(none.feeds[0].rows, np.arange(9))


def test_a_survey_may_be_kept_away_from_its_own_test_split(radio_recipe, neighbours):
    cards, stores = neighbours
    both = recipe_for(radio_recipe, *cards, exclude=exclude(cards[1], 7300.0))
    plan = plan_run(both, stores)
    assert plan.excluded["test"] == 1
    assert plan.excluded["near"] > 3


def test_nothing_left_to_train_on_is_refused(radio_recipe, neighbours):
    cards, stores = neighbours
    everything = recipe_for(radio_recipe, cards[0], exclude=exclude(cards[1], 180 * 3600.0))
    with pytest.raises(DataError, match=r"no cutout is left to train on in near .*'near': 9\}\)$"):
        plan_run(everything, stores)


def test_only_the_splits_of_the_recipe_are_trained_on(radio_recipe, radio_card_folder, radio_store):
    store = CutoutStore.open(radio_store)
    card = str(radio_card_folder / "card.yaml")
    plan = plan_run(recipe_for(radio_recipe, card), {"test-field": store})
    assert set(store.catalog.column("split")[plan.feeds[0].rows]) == {"train"}
    assert plan.num_cutouts == 24
    rows = rows_of_splits(store, ("train", "test"))
    np.testing.assert_array_equal(rows, np.arange(36))
    assert not plan.is_mock


def limited(radio_recipe, card, **limits):
    return recipe_for(radio_recipe, card, surveys=[{"name": str(card), "limits": limits}])


def test_only_rows_within_the_limits_of_the_recipe_are_trained_on(radio_recipe, radio_card_folder, radio_store):
    """RA of source i is 10 + i degrees, its label i modulo 2; every third is in the test split."""
    stores = {"test-field": CutoutStore.open(radio_store)}
    card = radio_card_folder / "card.yaml"
    train = [row for row in range(36) if row % 3]
    for limits, is_within in [
        ({"ra": [20.0, None]}, lambda row: row >= 10),
        ({"ra": [None, 29.5]}, lambda row: row <= 19),
        ({"ra": [12.0, 40.0], "label": [1, 1]}, lambda row: 2 <= row <= 30 and row % 2),
    ]:
        plan = plan_run(limited(radio_recipe, card, **limits), stores)
        np.testing.assert_array_equal(plan.feeds[0].rows, [row for row in train if is_within(row)])
        assert plan.excluded == {"test-field": 0}
    with pytest.raises(DataError, match=r"limits 'test-field' by the column 'las'.*its columns: id_str, ra, dec"):
        plan_run(limited(radio_recipe, card, las=[25, None]), stores)
    with pytest.raises(DataError, match="by the column 'id_str', and its store has no such column of numbers"):
        plan_run(limited(radio_recipe, card, id_str=[25, None]), stores)


def test_weights_and_labels_of_the_recipe_reach_the_feeds(radio_recipe, neighbours):
    cards, stores = neighbours
    surveys = [{"name": str(cards[0]), "weight": 3.0}, {"name": str(cards[1]), "weight": 1.0}]
    given = radio_recipe | {"data": radio_recipe["data"] | {"surveys": surveys, "labelled_fraction": 0.5}}
    labels = stores["near"].catalog.column("label")
    task = stores["near"].card.tasks[0]
    one_class = task.model_copy(update={"classes": {"one": (0,)}})
    card = stores["near"].card.model_copy(update={"tasks": (one_class,)})
    made_from = stores["near"].manifest.made_from.model_copy(update={"card": card})
    half = CutoutStore(stores["near"].path, stores["near"].manifest.model_copy(update={"made_from": made_from}))
    feeds = plan_run(Recipe.parse(given, "the test"), stores | {"near": half}).feeds
    assert [feed.weight for feed in feeds] == [3.0, 1.0]
    np.testing.assert_array_equal(feeds[0].is_labelled, labels[feeds[0].rows] == 0)
    assert feeds[1].is_labelled.all()


def test_a_channel_without_bands_accepts_those_of_the_stores(radio_recipe, radio_card_folder, radio_store):
    store = CutoutStore.open(radio_store)
    card = str(radio_card_folder / "card.yaml")
    contract = make_contract(recipe_for(radio_recipe, card), [store])
    assert contract.channels[0].accepts == ("TEST-1.4GHz",)
    assert contract.resolution_arcsec == Range(low=9, high=9)
    assert contract.size_pix == 32
    named = recipe_for(radio_recipe, card, channels=[{"name": "radio", "accepts": ["MeerKAT-L"]}])
    with pytest.raises(ContractError, match=r"accepts MeerKAT-L and 'test-field' brings TEST-1\.4GHz"):
        plan_run(named, {"test-field": store})


def test_another_number_of_bands_is_refused(radio_recipe, radio_card_folder, radio_store):
    channels = [{"name": name} for name in "grz"]
    recipe = recipe_for(radio_recipe, radio_card_folder / "card.yaml", channels=channels)
    with pytest.raises(ContractError, match=r"'test-field' has 1 bands .* the network takes 3"):
        plan_run(recipe, {"test-field": CutoutStore.open(radio_store)})


def test_cutouts_smaller_than_the_view_are_refused(radio_recipe, radio_card_folder, radio_store):
    store = CutoutStore.open(radio_store)
    assert field_of_view_arcsec(store) == 48
    recipe = recipe_for(radio_recipe, radio_card_folder / "card.yaml", field_of_view_arcsec=60.0)
    with pytest.raises(ContractError, match="looks at 60 arcsec and the cutouts of 'test-field' span only 48"):
        plan_run(recipe, {"test-field": store})


@pytest.mark.parametrize("constants", [{"std": [0.0725], "mean": [0.0129]}, {"std": [100.0]}, {"mean": [-4.0]}])
def test_constants_of_other_pixels_are_refused_and_the_measured_ones_pass(
    radio_recipe, tmp_path, write_card, write_field, constants
):
    """Jy/beam constants on 8-bit images fed a published network inputs of 260 sigma."""
    archive = write_field(tmp_path / "field", range(12), [0.0] * 12, ["train"] * 12)
    card = write_card(tmp_path / "card.yaml")
    normalise(card, **constants)
    with pytest.raises(ContractError, match="far from 0 and 1") as caught:
        plan_run(recipe_for(radio_recipe, card), {"test-field": stored(card, archive)})
    said = re.search(r"measured on 12 cutouts: mean \[(\S+)\], std \[(\S+)\]", str(caught.value))
    normalise(card, mean=[float(said[1])], std=[float(said[2])])
    (tmp_path / "field.zarr").rename(tmp_path / "old.zarr")
    plan = plan_run(recipe_for(radio_recipe, card), {"test-field": stored(card, archive)})
    assert plan.num_cutouts == 12


def test_each_band_gets_its_own_constants_where_the_card_has_several(radio_recipe, tmp_path, write_card, write_field):
    archive = write_field(tmp_path / "field", range(12), [0.0] * 12, ["train"] * 12)
    for file in sorted(archive.glob("*.fits")):
        first = fits.getdata(file)
        fits.PrimaryHDU(np.stack([first, 100 * first]), fits.Header({"BUNIT": "Jy/beam"})).writeto(file, overwrite=True)
    card = write_card(tmp_path / "card.yaml")
    given = yaml.safe_load(card.read_text())
    given["bands"] = [{"name": f"TEST-{n}", "unit": "Jy/beam", "frequency_hz": 1e9} for n in "ab"]
    given["products"]["fits"]["shape"][0] = 2
    card.write_text(yaml.safe_dump(given))
    normalise(card, mean=[0.0, 0.0], std=[1.0, 1.0])
    recipe = recipe_for(radio_recipe, card, channels=[{"name": "a"}, {"name": "b"}])
    with pytest.raises(ContractError) as caught:
        plan_run(recipe, {"test-field": stored(card, archive)})
    said = re.search(r"measured on 12 cutouts: mean \[(.*?)\], std \[(.*?)\]", str(caught.value))
    mean, std = ([float(value) for value in text.split(", ")] for text in said.groups())
    assert std[1] == pytest.approx(100 * std[0], rel=0.01)
    assert mean[1] == pytest.approx(100 * mean[0], rel=0.01)


def normalise(card, **constants):
    given = yaml.safe_load(card.read_text())
    given["products"]["fits"]["input"].update(measured_on="the test", **constants)
    card.write_text(yaml.safe_dump(given))


def test_an_exclusion_is_refused_where_positions_are_unknown(radio_recipe, tmp_path, write_card, write_field):
    cards = [write_card(tmp_path / f"{name}.yaml", name=name) for name in ("near", "test")]
    archives = [
        write_field(tmp_path / "near", [1.0, float("nan"), 3.0], [0.0, float("nan"), 0.0], ["train"] * 3),
        write_field(tmp_path / "test", [50.0, 60.0], [0.0, 0.0], ["test", "train"]),
    ]
    stores = {store.card.name: store for store in map(stored, cards, archives)}
    with pytest.raises(DataError, match="1 sources of 'near' and 'test' have no position"):
        plan_run(recipe_for(radio_recipe, cards[0], exclude=exclude(cards[1])), stores)
