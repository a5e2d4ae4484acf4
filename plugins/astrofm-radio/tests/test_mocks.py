"""Mock archives have the form of the real ones, and say that they are mock."""

import json

import numpy as np
import pytest
from astropy.io import fits

from astrofm import Cutout, CutoutBatch, Rejected

NAMES = ["mirabest", "first-rgd", "mgcls", "mightee"]


def read(survey, source):
    """Return the catalogue and all cutouts, one by one."""
    table = survey.catalog(source)
    found = []
    for part in survey.cutouts(source, table):
        found.extend(part.images if isinstance(part, CutoutBatch) else [part])
    return table, found


@pytest.mark.parametrize("name", NAMES)
def test_a_mock_archive_is_read_as_the_real_one(name, surveys, opened, tmp_path):
    path = surveys[name].mock(16, 3, tmp_path)
    survey, source = opened(name, path)
    table, found = read(survey, source)
    assert len(table) == len(found) == len(set(table["id_str"])) == 16
    assert np.isfinite(table["ra"]).all()
    assert np.isfinite(table["dec"]).all()
    assert set(table["split"]) <= {"train", "val", "test"}
    for image in found:
        assert not isinstance(image, Rejected)
        pixels = image.image if isinstance(image, Cutout) else image
        assert pixels.shape == source.product.shape
        assert pixels.dtype == source.product.dtype
    assert json.loads((path / "MOCK.json").read_text()) == {"survey": name, "n": 16, "seed": 3}


@pytest.mark.parametrize("name", NAMES)
def test_an_object_is_the_same_in_a_larger_mock_and_another_with_another_seed(name, surveys, opened, tmp_path):
    archives = {}
    for n, seed in ((3, 1), (6, 1), (3, 2)):
        survey, source = opened(name, surveys[name].mock(n, seed, tmp_path / f"{n}-{seed}"))
        table, found = read(survey, source)
        pixels = [image.image if isinstance(image, Cutout) else image for image in found]
        archives[n, seed] = dict(zip(map(str, table["id_str"]), pixels, strict=True))
    same = archives[3, 1].keys() & archives[6, 1].keys()
    assert len(same) == 3
    assert all(np.array_equal(archives[3, 1][key], archives[6, 1][key], equal_nan=True) for key in same)
    assert not any(np.array_equal(one, other) for one in archives[3, 1].values() for other in archives[3, 2].values())


@pytest.mark.parametrize(("name", "frequency_hz"), [("mirabest", 1.4e9), ("mightee", 1.284e9)])
def test_mock_fits_files_have_the_headers_of_an_imager(name, frequency_hz, surveys, opened, tmp_path):
    survey, source = opened(name, surveys[name].mock(2, 0, tmp_path))
    header = fits.getheader(source.files[0])
    assert header["MOCK"] is True
    assert header["NAXIS"] == 4
    assert header["CRVAL3"] == frequency_hz
    table = survey.catalog(source)
    for row, cutout in zip(table, survey.cutouts(source, table), strict=True):
        assert cutout.meta["pixel_scale"] == pytest.approx(survey.card.pixel_scale_arcsec.value)
        assert cutout.meta["bmaj"] == pytest.approx(survey.card.beam.value.bmaj_arcsec)
        centre = cutout.wcs.pixel_to_world(cutout.image.shape[2] // 2, cutout.image.shape[1] // 2)
        assert centre.ra.deg == pytest.approx(row["ra"], abs=1e-5)
        assert centre.dec.deg == pytest.approx(row["dec"], abs=1e-5)


def test_a_mirabest_mock_of_400_serves_few_label_tests(surveys, tmp_path):
    """Only the draw is tested for all 400; writing them takes longer than a test may."""
    from astrofm_radio.mock_mirabest import _draw

    from astrofm.mock.seeding import object_rng

    drawn = [_draw(object_rng(0, number)) for number in range(400)]
    confident = [split for name, _, split in drawn if name.label in (0, 1, 2, 5, 6)]
    assert confident.count("train") >= 145
    assert confident.count("test") >= 15
    assert len({str(name) for name, _, _ in drawn}) == 400
    assert not any(name.why_left_out for name, _, _ in drawn)


def test_one_mirabest_mock_object_misses_too_much_and_the_others_little(surveys, opened, tmp_path):
    survey, source = opened("mirabest", surveys["mirabest"].mock(40, 0, tmp_path))
    table = survey.catalog(source)
    missing = [float(np.isnan(cutout.image).mean()) for cutout in survey.cutouts(source, table)]
    assert sum(share > 0.25 for share in missing) == 1
    assert sum(0 < share <= 0.25 for share in missing) >= 1


def test_mightee_mock_votes_give_certain_sources_of_both_classes(surveys, opened, tmp_path):
    survey, source = opened("mightee", surveys["mightee"].mock(40, 0, tmp_path))
    labels = survey.catalog(source)["label"].tolist()
    assert labels.count(0) >= 8
    assert labels.count(1) >= 8
    assert -1 in labels


def test_tasks_of_train_and_test_survey_name_the_same_classes(surveys):
    mightee = surveys["mightee"].card
    mirabest = surveys[mightee.transfer.train].card
    assert list(mightee.tasks[0].classes) == list(mirabest.tasks[0].classes) == ["FRI", "FRII"]
