"""Campaigns as released on Zenodo: real votes and pictures go through their cards as they lie in the release."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError
from astrofm.survey import find_source

FOLDERS = {"gz2": "galaxy_zoo_2", "gz-decals-dr5": "galaxy_zoo_decals", "gz-decals-dr12": "galaxy_zoo_decals"}


@pytest.fixture
def release(data_dir):
    """Return the folder of a campaign's release."""
    return lambda name: data_dir / "gz-votes" / FOLDERS[name]


def published(table, key):
    """Return the rows of a table by their id."""
    with table.open(encoding="utf-8", newline="") as stream:
        return {row[key]: row for row in csv.DictReader(stream)}


def stored(name, folder, out):
    ingest(plugins.survey(name), folder, out)
    return CutoutStore.open(out)


@pytest.mark.parametrize(
    ("name", "table", "ending"),
    [
        ("gz-decals-dr5", "gz_decals_volunteers_5.csv", "-dr5"),
        ("gz-decals-dr12", "gz_decals_volunteers_1_and_2.csv", "-dr12"),
    ],
)
def test_votes_of_decals_are_those_of_the_released_table(name, table, ending, release, tmp_path):
    store = stored(name, release(name), tmp_path / "store")
    rows = published(release(name) / table, "iauname")
    ids = store.catalog.column("id_str").tolist()
    assert set(ids) == set(rows)
    votes = plugins.survey(name).votes
    for column in votes.columns:
        theirs = column.replace(f"{ending}_", "_")
        assert store.catalog.column(column).tolist() == [int(float(rows[one][theirs])) for one in ids], column
    assert store.shape[1:] == (3, 128, 128)
    np.testing.assert_allclose(store.catalog.column("ra"), [float(rows[one]["ra"]) for one in ids], atol=1e-9)
    assert set(store.catalog.column("split")) <= {"train", "test"}
    assert not [column for column in store.catalog.columns if column.endswith(("_fraction", "_debiased"))]


def test_pictures_and_answers_of_galaxy_zoo_2_are_found_by_both_its_tables(release, tmp_path):
    store = stored("gz2", release("gz2"), tmp_path / "store")
    rows = published(release("gz2") / "gz2_hart16.csv", "dr7objid")
    ids = store.catalog.column("id_str").tolist()
    assert set(ids) == set(rows)
    assert len(ids) == 3
    for column, theirs in (
        ("smooth-or-featured-gz2_featured-or-disk", "t01_smooth_or_features_a02_features_or_disk_count"),
        ("bar-gz2_no", "t03_bar_a07_no_bar_count"),
        ("bulge-size-gz2_dominant", "t05_bulge_prominence_a13_dominant_count"),
        ("bulge-size-gz2_no", "t05_bulge_prominence_a10_no_bulge_count"),
        ("spiral-arm-count-gz2_cant-tell", "t11_arms_number_a37_cant_tell_count"),
    ):
        assert store.catalog.column(column).tolist() == [int(rows[one][theirs]) for one in ids], column
    votes = np.stack([store.catalog.column(column) for column in plugins.survey("gz2").votes.columns])
    first_question = votes[:3].sum(axis=0)
    assert first_question.tolist() == [int(rows[one]["total_classifications"]) for one in ids]


def test_a_picture_is_resized_and_not_cropped(release, tmp_path):
    """The mean of a picture stays, up to the rounding of 8 bits."""
    store = stored("gz2", release("gz2"), tmp_path / "store")
    rows = published(release("gz2") / "gz2_filename_mapping.csv", "objid")
    for place, one in enumerate(store.catalog.column("id_str").tolist()):
        whole = np.asarray(Image.open(release("gz2") / "images" / f"{rows[one]['asset_id']}.jpg"))
        assert whole.shape[0] > 128
        np.testing.assert_allclose(store.read(np.array([place]))[0].mean(), whole.mean(), atol=0.6)


def test_a_release_without_its_table_is_one_sentence(release, tmp_path):
    picture = next(release("gz-decals-dr5").rglob("*.png"))
    shutil.copy(picture, tmp_path)
    survey = plugins.survey("gz-decals-dr5")
    with pytest.raises(DataError, match=r"has pictures and no table gz_decals_volunteers_5\.csv, \.parquet or \.fits"):
        survey.catalog(find_source(survey.card, tmp_path))


def test_a_galaxy_without_a_picture_and_a_picture_without_a_galaxy_are_told(release, tmp_path):
    name = "gz-decals-dr5"
    folder = tmp_path / "release"
    folder.mkdir()
    shutil.copy(release(name) / "gz_decals_volunteers_5.csv", folder)
    shutil.copy(next(release(name).rglob("J081412.47+220853.0.png")), folder)
    shutil.copy(next(release(name).rglob("J084235.76+241231.3.png")), folder)
    info = ingest(plugins.survey(name), folder, tmp_path / "store")
    assert info["num_cutouts"] == 1
    assert info["rejected"] == {"missing file": 5, "no row in the table": 1}


def test_two_pictures_of_one_galaxy_are_refused_and_one_that_is_missing_adds_no_file(release, tmp_path):
    folder, survey = tmp_path / "release", plugins.survey("gz2")
    shutil.copytree(release("gz2"), folder, copy_function=shutil.copyfile)
    first, second, *_ = sorted((folder / "images").glob("*.jpg"))
    (folder / "notes.txt").write_text("not of the release")
    first.unlink()
    source = find_source(survey.card, folder)
    files = survey.files(source, survey.catalog(source))
    assert {path.relative_to(folder).parts[0] for path in files} == {
        "gz2_hart16.csv",
        "gz2_filename_mapping.csv",
        "images",
    }
    assert len(files) == 2 + len(list((folder / "images").glob("*.jpg")))
    (folder / "old").mkdir()
    shutil.copyfile(second, folder / "old" / second.name)
    with pytest.raises(
        DataError, match=rf"both 'images/{second.name}' and 'old/{second.name}' could be '{second.stem}'"
    ):
        survey.catalog(source)


def test_a_table_of_another_year_is_refused(release, tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(release("gz2"), folder, copy_function=shutil.copyfile)
    (folder / "gz2_hart16.csv").chmod(0o644)
    (folder / "gz2_hart16.csv").write_text("dr7objid,ra,dec\n587726016142835881,180.4,3.2\n")
    survey = plugins.survey("gz2")
    with pytest.raises(DataError, match=r"lacks 30 columns of votes of Hart et al. 2016, such as t01_"):
        survey.catalog(find_source(survey.card, folder))
