"""Which sources train and test, and what an encoder may be fed."""

import numpy as np
import pyarrow as pa
import pytest

from astrofm.card import ProductInput
from astrofm.contract import Channel, InputContract
from astrofm.data.catalog import Catalog
from astrofm.data.store import CutoutStore
from astrofm.errors import ContractError, DataError, UsageError
from astrofm.model import ModelCard
from astrofm.transfer.finetune import LabelledData
from astrofm.transfer.pairing import (
    check_contract,
    check_labels_unseen,
    labelled_data,
    leave_out_test_sources,
    num_test_sources,
    sources_without_place,
)
from astrofm.transfer.tasks import find_task


def changed(store, *, columns=(), **card):
    """Return a store with another card or other columns of the catalogue, and the same pixels."""
    made_from = store.manifest.made_from
    made_from = made_from.model_copy(update={"card": store.card.model_copy(update=card)})
    other = CutoutStore(store.path, store.manifest.model_copy(update={"made_from": made_from}))
    table = store.catalog.table
    for name, values in dict(columns).items():
        table = table.drop_columns([name] if name in table.column_names else []).append_column(name, pa.array(values))
    other.catalog = Catalog(table)
    return other


def radio_contract(*accepts, field_of_view_arcsec="unknown", **rest):
    channel = Channel(name="radio", accepts=accepts)
    return InputContract(channels=(channel,), size_pix=32, field_of_view_arcsec=field_of_view_arcsec, **rest)


def test_number_announced_is_that_of_the_labelled_test_rows(mock_stores):
    train, test = mock_stores["mirabest"], mock_stores["mightee"]
    task = test.card.tasks[0]
    labelled = labelled_data(train, test, train.card.tasks[0], task)[1]
    assert num_test_sources(train, test) == len(labelled.rows) < len(test)


def test_classes_in_another_order_are_numbered_as_the_training_task_lists_them(mock_stores):
    train, test = mock_stores["mirabest"], mock_stores["mightee"]
    task = find_task(test.card)
    turned = task.model_copy(update={"classes": dict(reversed(task.classes.items()))})
    as_listed = labelled_data(train, test, train.card.tasks[0], task)[1]
    np.testing.assert_array_equal(labelled_data(train, test, train.card.tasks[0], turned)[1].labels, as_listed.labels)


def test_training_rows_of_another_survey_that_are_test_sources_are_left_out(mock_stores):
    train = mock_stores["mirabest"]
    ra, dec = (train.catalog.column(axis).copy() for axis in ("ra", "dec"))
    dec[:10] += 59.0 / 3600.0
    dec[10:] += 61.0 / 3600.0
    other = changed(train, name="other", columns={"ra": ra, "dec": dec})
    rows, labels = np.arange(20), np.zeros(20, dtype=np.int64)
    kept, num = leave_out_test_sources(LabelledData(train, rows, labels), LabelledData(other, rows, labels))
    assert num == 10
    np.testing.assert_array_equal(kept.rows, rows[10:])


def test_splits_of_one_survey_are_taken_as_they_are(mock_stores):
    store = mock_stores["mirabest"]
    data = LabelledData(store, np.arange(5), np.zeros(5, dtype=np.int64))
    assert leave_out_test_sources(data, data) == (data, 0)


def test_card_answers_for_the_survey_that_is_new_to_a_network_that_knows_the_other(mock_stores):
    train, test = mock_stores["mirabest"], mock_stores["mightee"]
    (forwards,) = check_contract(radio_contract("VLA-FIRST-1.4GHz"), train, test, adapt_bands=False, resample=False)
    assert "'mightee' brings MeerKAT-L" in forwards
    (backwards,) = check_contract(radio_contract("MeerKAT-L"), train, test, adapt_bands=False, resample=False)
    assert "'mirabest' brings VLA-FIRST-1.4GHz" in backwards


def test_card_does_not_answer_for_a_network_that_knows_neither_survey(mock_stores):
    train, test = mock_stores["mirabest"], mock_stores["mightee"]
    optical = radio_contract("SDSS-g")
    with pytest.raises(ContractError, match="accepts SDSS-g and 'mirabest' brings VLA-FIRST"):
        check_contract(optical, train, test, adapt_bands=False, resample=False)
    assert len(check_contract(optical, train, test, adapt_bands=True, resample=False)) == 2


def test_pixel_scale_of_the_cutouts_comes_before_that_of_the_card(mock_stores):
    store = mock_stores["mirabest"]
    contract = radio_contract("VLA-FIRST-1.4GHz", field_of_view_arcsec=126.0)
    assert check_contract(contract, store, store, adapt_bands=False, resample=False) == ()
    fine = changed(store, columns={"pixel_scale": np.full(len(store), 0.1)})
    with pytest.raises(ContractError, match=r"looks at 126 arcsec .* span only"):
        check_contract(contract, fine, fine, adapt_bands=False, resample=False)


def test_images_of_another_resolution_are_refused_or_accepted_by_an_option_that_is_recorded(mock_stores):
    store = mock_stores["mirabest"]
    contract = radio_contract("VLA-FIRST-1.4GHz", resolution_arcsec=45.0)
    with pytest.raises(ContractError, match="resolution of 45 arcsec and 'mirabest' has"):
        check_contract(contract, store, store, adapt_bands=True, resample=False)
    (said,) = check_contract(contract, store, store, adapt_bands=False, resample=True)
    assert said.endswith("(accepted by --resample)")


def test_unknown_scale_under_a_known_field_of_view_is_recorded(mock_stores):
    store = mock_stores["gz-evo"]
    assert store.card.pixel_scale_arcsec.value is None
    channels = tuple(Channel(name=band, accepts=(band,)) for band in store.card.band_names)
    contract = InputContract(channels=channels, size_pix=32, field_of_view_arcsec=60.0)
    unknown = changed(store, columns={"pixel_scale": np.full(len(store), np.nan)})
    (said,) = check_contract(contract, unknown, unknown, adapt_bands=False, resample=False)
    assert "looks at 60 arcsec; the scale of 'gz-evo' is unknown" in said


def test_pixels_far_from_what_the_network_was_fed_are_refused(mock_stores):
    store = mock_stores["mirabest"]
    contract = radio_contract("VLA-FIRST-1.4GHz")
    assert check_contract(contract, store, store, adapt_bands=False, resample=False) == ()
    product = store.product.model_copy(update={"input": ProductInput(mean=(0.0,), std=(1e-7,))})
    wrong = changed(store, products={store.product_name: product})
    with pytest.raises(ContractError, match=r"cutouts of 'mirabest' have mean .*, far from 0 and 1"):
        check_contract(contract, wrong, store, adapt_bands=True, resample=True)


def test_sources_without_a_position_are_told(mock_stores):
    store = mock_stores["mirabest"]
    ra = store.catalog.column("ra").copy()
    ra[:3] = np.nan
    other = changed(store, name="other", columns={"ra": ra})
    labels = np.zeros(20, dtype=np.int64)
    data = [LabelledData(each, np.arange(20), labels) for each in (store, other)]
    assert sources_without_place(*data) == (
        "3 of 'other' have no position: whether a source is in both surveys is not known of them",
    )
    assert sources_without_place(data[0], data[0]) == ()


@pytest.mark.parametrize(
    ("kind", "seen", "labels_from", "folds", "refused"),
    [
        ("classes", ("train", "test"), "mirabest", False, True),
        ("votes", ("train",), "mirabest", True, True),
        ("votes", ("train",), "mirabest", False, False),
        ("classes", ("val",), "first", False, True),  # then all splits are tested on
        ("redshift", ("test",), "mirabest", False, False),
    ],
)
def test_a_model_is_not_tested_on_labels_that_it_has_seen(kind, seen, labels_from, folds, refused):
    card = ModelCard(
        name="tiny",
        contract=radio_contract("VLA-FIRST-1.4GHz"),
        encoder={"name": "resnet18"},
        objective="supervised",
        step=1,
        num_steps=1,
        surveys=("mirabest",),
        stores={},
        label_kind=kind,
        labelled_splits={"mirabest": seen},
        is_mock=False,
        seed=0,
        astrofm_version="0.1",
    )
    check_labels_unseen(card, labels_from, "first-rgd", folds=folds)
    if not refused:
        check_labels_unseen(card, labels_from, "mirabest", folds=folds)
        return
    with pytest.raises(UsageError, match=rf"trained on labels \({kind}\) of the .* split of 'mirabest'"):
        check_labels_unseen(card, labels_from, "mirabest", folds=folds)


def test_nothing_to_test_on_is_refused(mock_stores):
    store = mock_stores["mirabest"]
    task = find_task(store.card)
    bare = changed(store, columns={"split": ["train"] * len(store)})
    with pytest.raises(DataError, match="no labelled test object for 'fr-confident'"):
        labelled_data(bare, bare, task, task)
