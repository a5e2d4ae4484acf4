"""The surveys ``gz-rings`` and ``gz-challenge``: their real tables, their constants and their mocks."""

import math
from collections import Counter

import numpy as np
import pytest
from astrofm_galaxyzoo.gz_rings import position_of

from astrofm import plugins
from astrofm.data.catalog import Catalog
from astrofm.data.labels import task_labels
from astrofm.data.splits import assign_splits
from astrofm.survey import find_source
from astrofm.testing import SurveyTests


class _OnRealData(SurveyTests):
    """A survey whose real archive is among the test data, under its name."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _use_the_archive(cls, data_dir):
        cls.example = data_dir / cls.survey


class TestGalaxyZooRings(_OnRealData):
    survey = "gz-rings"


class TestGalaxyZooChallenge(_OnRealData):
    survey = "gz-challenge"


@pytest.fixture(scope="module")
def real(data_dir):
    """Return ``real(name)``: survey, source, rows and catalogue of the real archive."""

    def real(name):
        survey = plugins.survey(name)
        source = find_source(survey.card, data_dir / name)
        rows = survey.catalog(source)
        return survey, source, rows, Catalog.from_astropy(rows)

    return real


def test_half_of_the_470_galaxies_have_a_ring(real):
    survey, _, _, catalog = real("gz-rings")
    assert len(set(catalog.column("id_str"))) == 470
    assert Counter(catalog.column("label").tolist()) == {0: 235, 1: 235}
    (task,) = survey.card.tasks
    assert Counter(task_labels(catalog, task).tolist()) == {0: 235, 1: 235}


def test_galaxies_lie_where_their_names_say(real):
    _, _, _, catalog = real("gz-rings")
    place = catalog.column("id_str").tolist().index("J000411.19+020924.0")
    assert catalog.column("ra")[place] == pytest.approx(15 * (4 / 60 + 11.19 / 3600))
    assert catalog.column("dec")[place] == pytest.approx(2 + 9 / 60 + 24.0 / 3600)
    assert np.isfinite(catalog.column("ra")).all()
    assert catalog.column("dec").min() < -1


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("J120000.00-003000.0", (180.0, -0.5)),  # the sign is that of all of it, not of the degrees
        ("J235959.9+895959", (359.999583, 89.999722)),
        ("mock-gz-rings-0-000001", (math.nan, math.nan)),
        ("J12000", (math.nan, math.nan)),
    ],
)
def test_position_of_a_name(name, position):
    assert position_of(name) == pytest.approx(position, abs=1e-6, nan_ok=True)


def test_the_challenge_has_no_labels_and_no_positions(real):
    survey, _, rows, catalog = real("gz-challenge")
    assert len(set(catalog.column("id_str"))) == 2000
    assert not {"label_dir", "split", "label"} & set(rows.colnames)
    assert np.isnan(catalog.column("ra")).all()
    assert survey.card.tasks == ()


@pytest.mark.parametrize(("name", "num"), [("gz-rings", 379), ("gz-challenge", 1619)])
def test_the_constants_of_the_card_are_those_of_the_training_split(name, num, real):
    survey, source, rows, catalog = real(name)
    train = rows[assign_splits(catalog, survey.card.splits) == "train"]
    assert len(train) == num
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for batch in survey.cutouts(source, train):
        pixels = batch.images.swapaxes(0, 1).reshape(3, -1) / np.float32(255.0)
        count += pixels.shape[1]
        total += pixels.sum(axis=1, dtype=np.float64)
        squares += np.square(pixels).sum(axis=1, dtype=np.float64)
    mean = total / count
    constants = next(iter(survey.card.products.values())).input
    np.testing.assert_allclose(constants.mean, mean, atol=6e-5)
    np.testing.assert_allclose(constants.std, np.sqrt(squares / count - mean**2), atol=6e-5)


def test_made_up_galaxies_have_a_ring_where_they_say_so(tmp_path):
    """Light at the radius of the ring stands out above the disk."""
    survey = plugins.survey("gz-rings")
    source = find_source(survey.card, survey.mock(40, 0, tmp_path), "pictures-256")
    rows = survey.catalog(source)
    catalog = Catalog.from_astropy(rows)
    assert np.isfinite(catalog.column("ra")).all(), "their names tell where they lie"
    images = np.concatenate([batch.images for batch in survey.cutouts(source, rows)]).astype(float).mean(axis=1)
    y, x = np.indices(images.shape[1:]) - (images.shape[1] - 1) / 2
    radius = np.hypot(x, y).astype(int)
    counts = np.bincount(radius.ravel())[:60]
    profiles = np.array([np.bincount(radius.ravel(), image.ravel())[:60] / counts for image in images])
    bump = (profiles[:, 8:40] / profiles[:, 4:36]).max(axis=1)  # a disk without a ring only falls
    has_ring = catalog.column("label") == 1
    assert 10 < has_ring.sum() < 30
    assert np.median(bump[has_ring]) > np.median(bump[~has_ring]) + 0.05


def test_pictures_of_rings_come_in_two_sizes(real):
    survey, source, rows, _ = real("gz-rings")
    large = find_source(survey.card, source.folder, "pictures-256")
    for of_product, size in ((source, 128), (large, 256)):
        (batch,) = survey.cutouts(of_product, rows[:2])
        assert batch.images.shape == (2, 3, size, size)
