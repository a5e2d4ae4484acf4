"""The reader of the Parquet shards: what it takes, what it refuses, which way is up."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astrofm_galaxyzoo.parquet import decode, read_catalog, read_cutouts
from PIL import Image

from astrofm import Rejected, VoteSchema
from astrofm.card import Product
from astrofm.errors import DataError
from astrofm.schema import Question
from astrofm.survey import Source

SCHEMA = VoteSchema(
    name="two-questions",
    source="made for this test",
    questions=(
        Question(name="smooth", answers=("yes", "no")),
        Question(name="bar", answers=("yes", "no"), asked_after="smooth_no"),
    ),
)
PRODUCT = Product(pattern="data/*.parquet", shape=(3, 8, 8), unit="8-bit", dtype="uint8")


def jpeg(rgb):
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def flat(colour, size=16):
    return jpeg(np.full((size, size, 3), colour, dtype=np.uint8))


def archive(folder, shards, **changes):
    """Write shards of grey pictures; ``changes`` replaces columns, None drops one."""
    (folder / "data").mkdir(parents=True)
    for name, ids in shards.items():
        columns = {
            "id_str": ids,
            "image": [{"bytes": flat(10 * int(i)), "path": f"{i}.jpg"} for i in ids],
            "smooth_yes": [3] * len(ids),
            "smooth_no": [None] * len(ids),
            "bar_yes": [0] * len(ids),
            "bar_no": [1] * len(ids),
            "smooth_yes_fraction": [1.0] * len(ids),
            "smooth_total-votes": [3] * len(ids),
        }
        columns = {key: value for key, value in (columns | changes).items() if value is not None}
        pq.write_table(pa.table(columns), folder / "data" / name, row_group_size=2)
    return Source(folder, "huggingface", PRODUCT)


def test_rows_follow_the_shards_and_each_knows_its_place(tmp_path):
    source = archive(tmp_path, {"train-00001-of-00002.parquet": ["3"], "train-00000-of-00002.parquet": ["1", "2"]})
    rows = read_catalog(source, SCHEMA)
    assert list(rows["id_str"]) == ["1", "2", "3"]
    assert list(rows["file_row"]) == [0, 1, 0]
    assert [name.split("/")[-1][:11] for name in rows["file_loc"]] == ["train-00000", "train-00000", "train-00001"]


def test_the_split_is_in_the_name_of_the_shard(tmp_path):
    names = ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"]
    source = archive(tmp_path, {name: [str(i)] for i, name in enumerate(names)})
    assert list(read_catalog(source, SCHEMA)["split"]) == ["test", "train", "val"]


def test_a_shard_that_tells_no_split_is_refused(tmp_path):
    source = archive(tmp_path, {"0000.parquet": ["1"]})
    with pytest.raises(DataError, match=r"0000\.parquet tells no split"):
        read_catalog(source, SCHEMA)


def test_missing_votes_are_zero(tmp_path):
    rows = read_catalog(archive(tmp_path, {"train-0.parquet": ["1", "2"]}), SCHEMA)
    assert rows["smooth_no"].dtype == np.int32
    assert list(rows["smooth_no"]) == [0, 0]
    assert list(rows["smooth_yes"]) == [3, 3]


def test_derived_columns_are_left_out_in_silence_and_positions_may_be_absent(tmp_path):
    rows = read_catalog(archive(tmp_path, {"train-0.parquet": ["1"]}), SCHEMA)
    assert "smooth_yes_fraction" not in rows.colnames
    assert np.isnan(rows["ra"]).all()


def test_a_question_with_only_some_of_its_columns_is_refused(tmp_path):
    source = archive(tmp_path, {"train-0.parquet": ["1"]}, bar_no=None)
    with pytest.raises(DataError, match="lacks bar_no, which two-questions needs"):
        read_catalog(source, SCHEMA)


def test_a_question_nobody_was_asked_is_named_and_has_no_votes(tmp_path):
    source = archive(tmp_path, {"train-0.parquet": ["1"]}, bar_yes=None, bar_no=None)
    with pytest.warns(UserWarning, match="nobody was asked these questions of two-questions.*: bar$"):
        rows = read_catalog(source, SCHEMA)
    assert list(rows["bar_yes"]) == [0]


def test_a_column_the_schema_does_not_know_is_named(tmp_path):
    source = archive(tmp_path, {"train-0.parquet": ["1"]}, ring_yes=[4])
    with pytest.warns(UserWarning, match="two-questions does not know these columns.*: ring_yes$"):
        assert "ring_yes" not in read_catalog(source, SCHEMA).colnames


@pytest.mark.parametrize("bad", [-1, 0.5])
def test_a_vote_that_is_no_count_is_refused(tmp_path, bad):
    source = archive(tmp_path, {"train-0.parquet": ["1"]}, smooth_yes=[bad])
    with pytest.raises(DataError, match=r"smooth_yes of train-0\.parquet holds .* no number of votes"):
        read_catalog(source, SCHEMA)


def test_a_truncated_shard_is_named(tmp_path):
    source = archive(tmp_path, {"train-0.parquet": ["1"]})
    file = tmp_path / "data" / "train-0.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train-0\.parquet cannot be read as Parquet"):
        read_catalog(source, SCHEMA)


def test_each_row_gets_its_own_image_across_row_groups_and_shards(tmp_path):
    source = archive(tmp_path, {"test-0.parquet": ["9", "8", "7"], "train-0.parquet": ["1", "2", "3", "4", "5"]})
    rows = read_catalog(source, SCHEMA)
    shuffled = rows[[5, 0, 7, 2, 3, 1, 6, 4]]
    found = [int(np.median(cutout.image)) for cutout in read_cutouts(source, shuffled)]
    assert found == [10 * int(name) for name in shuffled["id_str"]]


def test_an_image_that_cannot_be_used_is_rejected_with_its_reason(tmp_path):
    images = [
        {"bytes": flat(50)[:200], "path": "cut.jpg"},
        {"bytes": None, "path": "elsewhere.jpg"},
        {"bytes": flat(50, size=4), "path": "small.jpg"},
        {"bytes": jpeg(np.zeros((16, 20, 3), dtype=np.uint8)), "path": "wide.jpg"},
    ]
    source = archive(tmp_path, {"train-0.parquet": ["1", "2", "3", "4"]}, image=images)
    results = list(read_cutouts(source, read_catalog(source, SCHEMA)))
    assert all(isinstance(result, Rejected) for result in results)
    assert [result.reason for result in results] == ["unreadable image", "no image", "too small", "wrong aspect"]


def test_the_top_of_the_picture_is_north_and_its_channels_are_red_green_blue():
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    picture[:8, :, 0] = 200  # red above
    picture[8:, :, 2] = 200  # blue below
    image = decode(jpeg(picture), (16, 16))
    assert image.shape == (3, 16, 16)
    assert image.dtype == np.uint8
    red, _, blue = image.astype(int)
    assert red[12:].mean() > 150 > 50 > red[:4].mean(), "y increases to the North"
    assert blue[:4].mean() > 150 > 50 > blue[12:].mean()


def test_resizing_keeps_the_whole_field_and_does_not_alias():
    checkered = np.where(np.indices((64, 64)).sum(axis=0) % 2, 255, 0).astype(np.uint8)
    image = decode(jpeg(np.repeat(checkered[..., None], 3, axis=-1)), (16, 16))
    assert np.abs(image.astype(int) - 128).max() < 12, "pixels finer than the stored scale average out"
    half = np.zeros((64, 64, 3), dtype=np.uint8)
    half[:, 32:] = 240
    left, right = np.split(decode(jpeg(half), (16, 16))[0], 2, axis=1)
    assert left[:, :6].max() < 20
    assert right[:, 2:].min() > 220


def test_real_galaxy_images_are_read_from_parquet_bytes(data_dir):
    file = data_dir / "gz-rings" / "gz_rings_256px.parquet"
    table = pq.read_table(file, columns=["jpeg"]).slice(0, 5)
    for value in table.column("jpeg").to_pylist():
        image = decode(value, (128, 128))
        assert image.shape == (3, 128, 128)
        middle = image[:, 56:72, 56:72].mean()
        assert middle > image[:, :16, :16].mean(), "the galaxy is in the middle"
