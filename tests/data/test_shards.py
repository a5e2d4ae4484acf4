"""Chunks decoded by hand are those that Zarr decodes, and what is damaged is named."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.data.feeding import shards
from astrofm.data.feeding.shards import ShardFiles
from astrofm.data.layout import Layout, create_arrays, shard_file
from astrofm.data.making.shard_writer import write_shard
from astrofm.errors import StoreError

NUM_ROWS = 45
LAYOUT = Layout(shape=(2, 6, 5), dtype="float32", chunk_rows=4, shard_rows=12, range_rows=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four shards, of which the last has a chunk cut short; with masks, and NaN in every image."""
    folder = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(NUM_ROWS, 2, 6, 5)).astype(np.float32)
    images[:, 0, 0, 0] = np.nan
    create_arrays(folder, LAYOUT, NUM_ROWS, has_mask=True)
    masks = rng.random((NUM_ROWS, 6, 5)) < 0.5
    for index, rows in enumerate(LAYOUT.shards_of(NUM_ROWS)):
        for name, values in (("image", images), ("mask", masks)):
            chunks = [values[first : min(first + 4, rows.stop)] for first in range(rows.start, rows.stop, 4)]
            write_shard(folder / shard_file(name, index, values.ndim), chunks, chunk_rows=4, chunks_per_shard=3)
    return folder


def read(folder, name, rows):
    array = zarr.open_array(folder / name, mode="r")
    files = ShardFiles(folder, name, LAYOUT, array.shape, array.dtype)
    out = np.empty((len(rows), *array.shape[1:]), array.dtype)
    files.read_into(out, np.asarray(rows, dtype=np.int64))
    return out, np.asarray(array[:])[rows]


@pytest.mark.parametrize("name", ["image", "mask"])
@pytest.mark.parametrize("num_cpus", [1, 3])
@settings(deadline=None, max_examples=30)
@given(rows=st.lists(st.integers(0, NUM_ROWS - 1), max_size=60))
def test_rows_in_any_order_and_number_are_those_that_zarr_reads(folder, name, num_cpus, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "_num_cpus", lambda: num_cpus)
        found, expected = read(folder, name, rows)
    np.testing.assert_array_equal(found, expected)


def test_whole_store_in_order_backwards_and_with_gaps(folder):
    for rows in (np.arange(NUM_ROWS), np.arange(NUM_ROWS)[::-1], np.r_[0:4, 8:12, 13:17, 44:45]):
        found, expected = read(folder, "image", rows)
        np.testing.assert_array_equal(found, expected)


def damaged(folder, tmp_path, change):
    """Return a copy of the store whose second shard is changed."""
    copy = tmp_path / "copy"
    for file in folder.rglob("*"):
        if file.is_file():
            (copy / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (copy / file.relative_to(folder)).write_bytes(file.read_bytes())
    shard = copy / "image" / "c" / "1" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    change(content)
    shard.write_bytes(content)
    return copy


def test_damage_is_named_with_the_file_and_the_commands(folder, tmp_path):
    def cut(content):
        del content[-30:]

    with pytest.raises(StoreError, match=r"image/c/1/0/0/0 of .*its index does not have its checksum.*store repair"):
        read(damaged(folder, tmp_path, cut), "image", [13])
    (tmp_path / "copy" / "image" / "c" / "1" / "0" / "0" / "0").unlink()
    with pytest.raises(StoreError, match="it is missing: astrofm store verify"):
        read(tmp_path / "copy", "image", [13])
    found, expected = read(tmp_path / "copy", "image", [3, 30])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("byte", [0, 4, 5, 12])
def test_chunk_with_another_head_is_refused(folder, tmp_path, byte):
    """Blosc's head says the decoded and encoded sizes; a smaller decoded size would leave memory as it was."""

    def flip(content):
        content[byte] ^= 0x11

    with pytest.raises(StoreError, match="its chunk 0 cannot be decoded"):
        read(damaged(folder, tmp_path, flip), "image", [12])
