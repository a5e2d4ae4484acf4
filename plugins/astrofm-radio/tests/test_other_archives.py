"""The archives of the FIRST radio galaxy dataset, MGCLS and MIGHTEE."""

import shutil
from collections import Counter

import numpy as np
import pytest
from astrofm_radio.mightee import classify_votes

from astrofm.errors import DataError


@pytest.fixture(scope="module")
def first_rgd(data_dir, opened):
    survey, source = opened("first-rgd", data_dir / "first-rgd")
    return survey, source, survey.catalog(source)


def test_first_rgd_has_the_published_classes_and_splits(first_rgd):
    _, _, table = first_rgd
    assert len(set(table["id_str"])) == 2158
    assert Counter(map(str, table["label_name"])) == {"FRI": 495, "FRII": 924, "Compact": 391, "Bent": 348}
    assert Counter(map(str, table["split"])) == {"train": 1758, "val": 200, "test": 200}
    test = table[table["split"] == "test"]
    assert set(Counter(test["label"].tolist()).values()) == {50}


def test_first_rgd_images_come_in_the_order_of_the_rows(first_rgd):
    survey, source, table = first_rgd
    there = np.concatenate([part.images for part in survey.cutouts(source, table[:70])])
    back = np.concatenate([part.images for part in survey.cutouts(source, table[:70][::-1])])
    assert there.shape == (70, 1, 300, 300)
    assert there.dtype == np.uint8
    assert np.array_equal(there, back[::-1])
    assert not np.array_equal(there[0], there[1])


def test_first_rgd_lies_on_the_sky_as_mirabest_does(first_rgd, data_dir, opened):
    """Of the sources in both sets, the images agree as they are and not when they are mirrored."""
    survey, source, table = first_rgd
    mirabest, batches = opened("mirabest", data_dir / "mirabest", "batches")
    known = mirabest.catalog(batches)
    place = {(round(row["ra"], 3), round(row["dec"], 3)): number for number, row in enumerate(known)}
    shared = [row for row in table[:60] if (round(row["ra"], 3), round(row["dec"], 3)) in place]
    rows = known[[place[round(row["ra"], 3), round(row["dec"], 3)] for row in shared]]
    ours = np.concatenate([part.images for part in survey.cutouts(source, table[[row.index for row in shared]])])
    ours = ours[:, 0, 75:225, 75:225].astype(float)
    theirs = np.concatenate([part.images for part in mirabest.cutouts(batches, rows)])[:, 0].astype(float)

    def likeness(images):
        return np.corrcoef(images.ravel(), theirs.ravel())[0, 1]

    assert len(shared) > 30
    assert likeness(ours) > 0.8
    assert max(likeness(ours[:, ::-1]), likeness(ours[:, :, ::-1]), likeness(ours[:, ::-1, ::-1])) < 0.6


def test_mgcls_has_the_published_sources_all_in_train(data_dir, opened):
    survey, source = opened("mgcls", data_dir / "mgcls")
    table = survey.catalog(source)
    assert len(set(table["id_str"])) == len(table) == 6161
    assert set(table["split"]) == {"train"}
    images = np.concatenate([part.images for part in survey.cutouts(source, table[[3, 6000]])])
    stored = np.load(data_dir / "mgcls" / "mgcls_intensity_110px_uint8.npz")["images"]
    assert np.array_equal(images[:, 0], stored[[3, 6000]])
    assert survey.card.pixel_scale_of("images") is None


def test_mgcls_table_of_other_sources_is_refused(data_dir, opened, tmp_path):
    for name in ("mgcls_intensity_110px_uint8.npz", "protege_catalogue.csv"):
        shutil.copyfile(data_dir / "mgcls" / name, tmp_path / name)
    table = tmp_path / "protege_catalogue.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    survey, source = opened("mgcls", tmp_path)
    with pytest.raises(DataError, match="sha256"):
        survey.catalog(source)
    (tmp_path / "MOCK.json").write_text("{}")  # the checksums of mock data are not those of the card
    with pytest.raises(DataError, match="do not list the same sources"):
        survey.catalog(source)


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ((0, 0, 14, 6), 0),  # 0.70 FRI
        ((0, 0, 13, 7), 2),  # 0.65 FRI is not above 0.65
        ((0, 0, 7, 13), 3),
        ((1, 0, 0, 9), 1),
        ((0, 0, 10, 10), -1),
        ((9, 0, 1, 0), -1),
        ((0, 9, 1, 0), -1),
        ((0, 0, 0, 0), -1),
    ],
)
def test_votes_become_classes_by_the_published_rules(votes, label):
    labels, fraction = classify_votes(np.array([votes]))
    assert labels.tolist() == [label]
    assert fraction[0] == pytest.approx(max(votes) / max(sum(votes), 1))
