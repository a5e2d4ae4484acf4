"""The archive of Galaxy Zoo Evo, which the core reads by the card: Parquet shards of pictures and votes."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astrofm_galaxyzoo import GalaxyZooVotes
from PIL import Image

from astrofm import Rejected, VoteSchema, plugins
from astrofm.data.catalog import Catalog
from astrofm.data.labels import check_labels
from astrofm.errors import DataError, RecipeError
from astrofm.schema import Question
from astrofm.survey import find_source

SCHEMA = VoteSchema(
    name="two-questions",
    source="made for this test",
    questions=(
        Question(name="smooth", answers=("yes", "no")),
        Question(name="bar", answers=("yes", "no"), asked_after="smooth_no"),
    ),
)


def picture(level, size=424):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), level, dtype=np.uint8)).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def opened(folder, shards, **changes):
    """Write shards of grey pictures and open them; ``changes`` replaces columns, None drops one."""
    (folder / "data").mkdir(parents=True)
    for name, ids in shards.items():
        columns = {
            "id_str": ids,
            "image": [{"bytes": picture(10 * int(i)), "path": f"{i}.jpg"} for i in ids],
            "dataset_name": ["gz2"] * len(ids),
            "smooth_yes": [3] * len(ids),
            "smooth_no": pa.array([None] * len(ids), pa.int32()),
            "bar_yes": [0] * len(ids),
            "bar_no": [1] * len(ids),
            "smooth_yes_fraction": [1.0] * len(ids),
            "smooth_total-votes": [3] * len(ids),
        }
        columns = {key: value for key, value in (columns | changes).items() if value is not None}
        pq.write_table(pa.table(columns), folder / "data" / name, row_group_size=2)
    survey = GalaxyZooVotes(plugins.survey("gz-evo").card, SCHEMA)
    source = find_source(survey.card, folder)
    return survey, source, survey.catalog(source)


def test_rows_have_their_votes_campaign_and_split_and_no_derived_columns(tmp_path):
    shards = {"validation-00000-of-00001.parquet": ["3"], "train-00000-of-00001.parquet": ["1", "2"]}
    survey, _, table = opened(tmp_path, shards)
    catalog = check_labels(Catalog.from_astropy(table), survey.votes)
    assert catalog.column("id_str").tolist() == ["1", "2", "3"]
    assert catalog.column("split").tolist() == ["train", "train", "val"]
    assert catalog.column("dataset_name").tolist() == ["gz2"] * 3
    assert catalog.column("smooth_no").tolist() == [0, 0, 0]
    assert catalog.column("smooth_no").dtype == np.int32
    assert not {"smooth_yes_fraction", "smooth_total-votes"} & set(catalog.columns)


def test_a_shard_that_tells_no_split_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"0000\.parquet tells no split"):
        opened(tmp_path, {"0000.parquet": ["1"]})


def test_another_release_of_the_votes_is_refused_by_name(tmp_path):
    survey, _, table = opened(tmp_path, {"train-0.parquet": ["1"]}, bar_no=None)
    with pytest.raises(DataError, match="lacks bar_no, which 'two-questions' needs"):
        check_labels(Catalog.from_astropy(table), survey.votes)


def test_pictures_are_resized_to_the_product(tmp_path):
    survey, source, table = opened(tmp_path, {"train-0.parquet": ["1", "2", "3"]})
    (batch,) = survey.cutouts(source, table)
    assert batch.images.shape == (3, 3, 128, 128)
    assert [int(np.median(image)) for image in batch.images] == [10, 20, 30]
    small = [{"bytes": picture(5, size=100), "path": "small.jpg"}]
    survey, source, table = opened(tmp_path / "small", {"train-0.parquet": ["1"]}, image=small)
    (rejected,) = survey.cutouts(source, table)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "too small"


def test_a_card_without_a_vote_schema_is_refused():
    with pytest.raises(RecipeError, match="names no vote schema"):
        GalaxyZooVotes(plugins.survey("gz-evo").card)
