"""The mock archive looks like the real one and obeys the decision trees."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from astrofm import plugins
from astrofm.survey import find_source

NUM = 30


@pytest.fixture(scope="module")
def gz_evo():
    return plugins.survey("gz-evo")


@pytest.fixture(scope="module")
def folder(gz_evo, tmp_path_factory):
    return gz_evo.mock(NUM, 1, tmp_path_factory.mktemp("gz-evo"))


@pytest.fixture(scope="module")
def rows(gz_evo, folder):
    return gz_evo.catalog(find_source(gz_evo.card, folder))


def test_every_shard_says_that_it_is_mock(folder):
    shards = sorted((folder / "data").glob("*.parquet"))
    assert [shard.name.split("-")[0] for shard in shards] == ["test", "train"]
    for shard in shards:
        assert pq.read_schema(shard).metadata[b"MOCK"] == b"true"


def test_a_galaxy_has_votes_in_one_campaign_only(rows, gz_evo):
    suffixes = sorted({question.name.rsplit("-", 1)[1] for question in gz_evo.votes.questions})
    assert suffixes == ["candels", "dr12", "dr5", "dr8", "gz2", "hubble"]
    asked = np.stack(
        [
            sum(np.asarray(rows[c]) for q in gz_evo.votes.questions if q.name.endswith(f"-{suffix}") for c in q.columns)
            for suffix in suffixes
        ]
    )
    assert ((asked > 0).sum(axis=0) == 1).all()


def test_a_question_is_asked_of_those_who_gave_the_answer_before_it(rows, gz_evo):
    for question in gz_evo.votes.questions:
        if question.asked_after is not None:
            asked = sum(np.asarray(rows[column]) for column in question.columns)
            np.testing.assert_array_equal(asked, rows[question.asked_after])


def test_one_galaxy_in_five_is_for_the_test(rows):
    assert (np.asarray(rows["split"]) == "test").sum() == NUM // 5


def test_both_products_read_the_same_archive(gz_evo, folder, rows):
    for product, size in (("huggingface", 128), ("huggingface-256", 256)):
        source = find_source(gz_evo.card, folder, product)
        (batch,) = gz_evo.cutouts(source, rows[:1])
        assert batch.images.shape == (1, 3, size, size)
