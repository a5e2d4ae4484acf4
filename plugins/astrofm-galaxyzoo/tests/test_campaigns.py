"""The surveys of one campaign each: the contract, their mocks, and real votes through their cards."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astrofm_galaxyzoo import CAMPAIGNS

from astrofm import plugins
from astrofm.card import VoteTask
from astrofm.data.catalog import Catalog
from astrofm.data.ingest import ingest
from astrofm.data.labels import check_labels, task_labels
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError
from astrofm.survey import find_source
from astrofm.testing import SurveyTests


class TestGZ2(SurveyTests):
    survey = "gz2"


class TestDECaLSDR12(SurveyTests):
    survey = "gz-decals-dr12"


class TestDECaLSDR5(SurveyTests):
    survey = "gz-decals-dr5"


class TestDECaLSDR8(SurveyTests):
    survey = "gz-decals-dr8"


class TestDESI(SurveyTests):
    survey = "gz-desi"


class TestHubble(SurveyTests):
    survey = "gz-hubble"


class TestCANDELS(SurveyTests):
    survey = "gz-candels"


class TestUKIDSS(SurveyTests):
    survey = "gz-ukidss"


class TestCosmicDawn(SurveyTests):
    survey = "gz-cosmic-dawn"


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_mock_has_both_classes_of_the_first_task_and_the_votes_follow_the_tree(name, tmp_path):
    survey = plugins.survey(name)
    rows = survey.catalog(find_source(survey.card, survey.mock(60, 1, tmp_path)))
    catalog = check_labels(Catalog.from_astropy(rows), survey.votes)
    labels = task_labels(catalog, survey.card.tasks[0]).tolist()
    assert {0, 1} <= set(labels)
    for question in survey.votes.questions:
        if question.asked_after is not None:
            asked = sum(catalog.column(column) for column in question.columns)
            np.testing.assert_array_equal(asked, catalog.column(question.asked_after))


def test_the_tree_tells_how_many_real_volunteers_got_to_each_question(data_dir):
    """By the fractions of the answers before it. Mergers had other answers when most of these galaxies were shown."""
    votes = plugins.survey("gz-decals-dr5").votes
    with (data_dir / "gz-votes" / "gz_decals_votes_1618.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    counts = np.array([[float(row[column.replace("-dr5", "")]) for column in votes.columns] for row in rows])
    totals = np.stack([counts[:, answers].sum(axis=1) for answers in votes.slices], axis=1)
    lengths = [len(question.answers) for question in votes.questions]
    shares = votes.shares_asked(counts / np.maximum(totals, 1).repeat(lengths, axis=1))
    names = [question.name for question in votes.questions]
    well_known = totals[:, names.index("smooth-or-featured-dr5")] >= 20
    assert well_known.sum() > 500
    found = totals[well_known] / totals[well_known, :1]
    others = [place for place, name in enumerate(names) if name != "merging-dr5"]
    np.testing.assert_allclose(shares[well_known][:, others], found[:, others], atol=0.05)  # a few left half-way
    assert (found[:, others].mean(axis=0) < 0.5).sum() >= 5


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_tasks_ask_for_enough_votes_to_mean_something(name):
    tasks = plugins.survey(name).card.tasks
    assert tasks
    assert all(isinstance(task, VoteTask) and task.min_votes >= 10 for task in tasks)


def shards(folder, columns):
    """Write one shard for training and one for the test, with the same rows but for their ids."""
    (folder / "data").mkdir(parents=True)
    for split in ("train", "test"):
        ids = [f"{split}-{id_str}" for id_str in columns["id_str"]]
        table = pa.table({**columns, "id_str": ids})
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def test_a_shard_of_all_decals_campaigns_gives_each_card_its_own_votes(tmp_path):
    names = ("gz-decals-dr12", "gz-decals-dr5", "gz-decals-dr8")
    surveys = [plugins.survey(name) for name in names]
    own = [survey.mock(6, 0, tmp_path / survey.name) for survey in surveys]
    (tmp_path / "together" / "data").mkdir(parents=True)
    for split in ("train", "test"):
        tables = [pq.read_table(folder / "data" / f"{split}-00000-of-00001.parquet") for folder in own]
        pq.write_table(
            pa.concat_tables(tables, promote_options="default"),
            tmp_path / "together" / "data" / f"{split}-00000-of-00001.parquet",
        )
    for survey in surveys:
        source = find_source(survey.card, tmp_path / "together")
        catalog = check_labels(Catalog.from_astropy(survey.catalog(source)), survey.votes)
        votes = np.stack([catalog.column(column) for column in survey.votes.columns])
        is_own = np.array([survey.name in id_str for id_str in catalog.column("id_str")])
        assert is_own.sum() == 6
        assert (votes[:, is_own].sum(axis=0) > 0).all()
        assert (votes[:, ~is_own] == 0).all(), "galaxies of the other campaigns are unlabelled"
        campaigns = [suffix for suffix in ("dr12", "dr5", "dr8") if suffix not in survey.name]
        assert not [column for column in catalog.columns if any(f"-{suffix}_" in column for suffix in campaigns)]


def real_pictures(data_dir, table, image_of):
    """Return the rows of a real vote table that have a picture, and the pictures."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = [(row, image_of(row)) for row in rows]
    return [(row, path.read_bytes()) for row, path in found if path is not None and path.is_file()]


def test_real_votes_and_pictures_of_decals_go_through_the_card(data_dir, tmp_path):
    """The published table names its columns without the ending of the campaign."""
    folder = data_dir / "gz-votes" / "galaxy_zoo_decals"
    pictures = {path.name: path for path in folder.rglob("*.png")}
    survey = plugins.survey("gz-decals-dr5")
    real = real_pictures(
        data_dir, folder / "gz_decals_volunteers_5.csv", lambda row: pictures.get(Path(row["png_loc"]).name)
    )
    assert len(real) >= 5
    plain = [column.replace("-dr5_", "_") for column in survey.votes.columns]
    columns = {
        "id_str": [row["iauname"] for row, _ in real],
        "ra": [float(row["ra"]) for row, _ in real],
        "dec": [float(row["dec"]) for row, _ in real],
        "image": [content for _, content in real],
        **{column: [int(row[column]) for row, _ in real] for column in plain},
    }
    out = tmp_path / "dr5.zarr"
    ingest(survey, shards(tmp_path / "archive", columns), out)
    store = CutoutStore.open(out)
    assert len(store) == len(real), "the pictures of test are those of train"
    labels = {row["iauname"]: row for row, _ in real}
    for place, id_str in enumerate(store.catalog.column("id_str")):
        row = labels[id_str.removeprefix("train-").removeprefix("test-")]
        for column, own in zip(plain, survey.votes.columns, strict=True):
            assert store.catalog.column(own)[place] == int(row[column])


def test_votes_that_are_fractions_are_refused(tmp_path, data_dir):
    survey = plugins.survey("gz-desi")
    picture = next((data_dir / "gz-votes").rglob("*.png")).read_bytes()
    columns = {"id_str": ["a"], "ra": [10.0], "dec": [1.0], "image": [picture]}
    columns |= {column: [0.5] for column in survey.votes.columns}
    source = find_source(survey.card, shards(tmp_path, columns))
    with pytest.raises(DataError, match=r"holds 0.5 .* which is no number of votes"):
        check_labels(Catalog.from_astropy(survey.catalog(source)), survey.votes)
