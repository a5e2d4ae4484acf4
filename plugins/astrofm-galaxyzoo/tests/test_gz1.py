"""Galaxy Zoo 1: the contract of a survey, the real table and the mock."""

import io
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from astrofm_galaxyzoo.gz1_mock import ANTICLOCKWISE, CLASS_COUNTS, CLOCKWISE
from PIL import Image

from astrofm import plugins
from astrofm.data.catalog import Catalog
from astrofm.data.labels import task_labels
from astrofm.data.splits import assign_splits
from astrofm.survey import find_source
from astrofm.testing import SurveyTests


class TestGalaxyZoo1(SurveyTests):
    survey = "gz1"
    num_mock = 40  # so that the shares of the archive bring a spiral of known handedness

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _use_the_archive(cls, data_dir):
        cls.example = data_dir / "gz1-sdss"


@pytest.fixture(scope="module")
def gz1():
    return plugins.survey("gz1")


@pytest.fixture(scope="module")
def real(gz1, data_dir):
    """The real archive and its catalogue, with the splits a store of it gets."""
    source = find_source(gz1.card, data_dir / "gz1-sdss")
    rows = gz1.catalog(source)
    catalog = Catalog.from_astropy(rows)
    return source, rows, catalog.with_columns({"split": assign_splits(catalog, gz1.card.splits)})


@pytest.fixture(scope="module")
def mock_rows(gz1, tmp_path_factory):
    folder = gz1.mock(300, 0, tmp_path_factory.mktemp("gz1"))
    return pq.read_table(folder / "gz1_sdss_mock.parquet").to_pylist()


def test_the_real_table_has_the_published_galaxies_in_the_classes_of_the_card(gz1, real):
    _, _, catalog = real
    assert len(set(catalog.column("id_str"))) == 6664
    assert Counter(catalog.column("label").tolist()) == CLASS_COUNTS
    for label, name in set(zip(catalog.column("label").tolist(), catalog.column("label_name").tolist(), strict=True)):
        assert gz1.card.label_names[label] == name


def test_positions_of_the_real_table_are_unknown(real):
    _, _, catalog = real
    assert np.isnan(catalog.column("ra")).all()
    assert (catalog.column("_healpix_29") == -1).all()


def test_tasks_leave_out_what_they_do_not_ask_for(gz1, real):
    _, _, catalog = real
    morphology, kind, handedness = (task_labels(catalog, task) for task in gz1.card.tasks)
    assert Counter(morphology.tolist()) == {0: 4645, 1: 436 + 414 + 998, -1: 115 + 56}
    assert Counter(kind.tolist()) == {0: 4645, 1: 436 + 414, 2: 998, 3: 115, -1: 56}
    assert Counter(handedness.tolist()) == {0: 414, 1: 436, -1: 6664 - 414 - 436}


def test_pictures_are_those_of_the_table_north_up(gz1, real, data_dir):
    source, rows, _ = real
    (batch,) = gz1.cutouts(source, rows[[7, 4321]])
    contents = pq.read_table(data_dir / "gz1-sdss", columns=["jpeg"])["jpeg"]
    for image, row in zip(batch.images, (7, 4321), strict=True):
        picture = np.asarray(Image.open(io.BytesIO(contents[row].as_py())))
        np.testing.assert_array_equal(image, picture[::-1].transpose(2, 0, 1))


def test_the_constants_of_the_card_are_those_of_the_training_split(gz1, real):
    source, rows, catalog = real
    train = rows[catalog.column("split") == "train"]
    assert len(train) == 5345
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for batch in gz1.cutouts(source, train):
        pixels = batch.images.swapaxes(0, 1).reshape(3, -1) / np.float32(255.0)
        count += pixels.shape[1]
        total += pixels.sum(axis=1, dtype=np.float64)
        squares += np.square(pixels).sum(axis=1, dtype=np.float64)
    mean = total / count
    constants = gz1.card.products["pictures"].input
    np.testing.assert_allclose(constants.mean, mean, atol=6e-5)
    np.testing.assert_allclose(constants.std, np.sqrt(squares / count - mean**2), atol=6e-5)


def test_the_mock_has_the_columns_of_the_real_table_and_says_that_it_is_mock(gz1, data_dir, tmp_path):
    mock = pq.read_schema(gz1.mock(2, 0, tmp_path) / "gz1_sdss_mock.parquet")
    assert mock.names == pq.read_schema(data_dir / "gz1-sdss" / "gz1_sdss_128px.parquet").names
    assert mock.metadata[b"MOCK"] == b"true"


def test_the_mock_has_the_classes_in_the_shares_of_the_archive(mock_rows):
    found = Counter(row["class"] for row in mock_rows)
    for label, count in CLASS_COUNTS.items():
        expected = 300 * count / sum(CLASS_COUNTS.values())
        assert abs(found[label] - expected) < 4 * np.sqrt(expected) + 1


def winding(content):
    """Return the excess of two arms winding anticlockwise (outwards against the clock, trailing) over clockwise ones.

    Of the logarithmic spirals with two arms that fit the picture, divided by its mean profile, as Fourier components in
    angle and logarithm of the radius.
    """
    image = np.asarray(Image.open(io.BytesIO(content)).convert("L"), dtype=np.float64)
    y, x = np.indices(image.shape) - 63.5
    radius, angle = np.hypot(x, y), np.arctan2(-y, x)
    ring = np.clip(radius.astype(int), 3, 28)
    profile = np.bincount(ring.ravel(), image.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    used = (ring > 3) & (ring < 28)
    excess = np.clip(image[used] / np.maximum(profile[ring[used]], 1.0) - 1.0, -1.0, 1.0) / radius[used]

    def power(sense):
        phases = (2.0 * angle[used] + sense * p * np.log(radius[used]) for p in range(1, 9))
        return sum(abs((excess * np.exp(1j * phase)).sum()) ** 2 for phase in phases)

    return (power(1) - power(-1)) / (power(1) + power(-1))


def mean_winding(contents, labels, label):
    return np.mean([winding(content) for content, own in zip(contents, labels, strict=True) if own == label])


def test_spirals_of_the_mock_wind_as_their_class_says(mock_rows):
    contents, labels = ([row[name] for row in mock_rows] for name in ("jpeg", "class"))
    assert mean_winding(contents, labels, CLOCKWISE) < -0.05
    assert mean_winding(contents, labels, ANTICLOCKWISE) > 0.05


def test_the_real_pictures_are_not_mirrored(data_dir):
    """Their spirals wind as those of the mock, which have North up and East left."""
    table = pq.read_table(data_dir / "gz1-sdss", columns=["jpeg", "class"])[:2500].to_pydict()
    assert mean_winding(table["jpeg"], table["class"], CLOCKWISE) < -0.1
    assert mean_winding(table["jpeg"], table["class"], ANTICLOCKWISE) > 0.1
