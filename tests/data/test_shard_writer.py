"""What is written without zarr is what zarr reads."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import zarr

from astrofm.data import layout
from astrofm.data.layout import Layout, create_arrays, hash_pixels, shard_file
from astrofm.data.making.shard_writer import write_shard

SHAPE = (2, 5, 7)


@pytest.fixture
def small_layout(monkeypatch) -> Layout:
    monkeypatch.setattr(layout, "CHUNK_ROWS", 4)
    return Layout(shape=SHAPE, dtype="float32", chunk_rows=4, shard_rows=12, range_rows=5)


def pixels(num: int) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(num, *SHAPE)).astype(np.float32)
    values[0, 0, 0, 0] = np.nan
    return values


def write(store, name, values, small_layout, num):
    written = []
    for index, rows in enumerate(small_layout.shards_of(num)):
        here = values[rows.start : rows.stop]
        file = store / shard_file(name, index, values.ndim)
        chunks = [here[first : first + 4] for first in range(0, len(here), 4)]
        written.append((file, here, write_shard(file, chunks, 4, small_layout.shard_rows_for(num) // 4)))
    return written


@pytest.mark.parametrize("num", [1, 3, 4, 11, 12, 13, 29])
def test_zarr_reads_every_row_back(tmp_path, small_layout, num):
    image, mask = pixels(num), np.random.default_rng(1).random((num, *SHAPE[1:])) < 0.5
    create_arrays(tmp_path, small_layout, num, has_mask=True)
    for name, values in (("image", image), ("mask", mask)):
        for file, here, written in write(tmp_path, name, values, small_layout, num):
            content = file.read_bytes()
            assert (written.sha256, written.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
            assert written.pixels_sha256 == hash_pixels(here)
        np.testing.assert_array_equal(zarr.open_array(tmp_path / name, mode="r")[:], values)


def test_a_changed_byte_of_the_index_is_noticed_by_zarr(tmp_path, small_layout):
    create_arrays(tmp_path, small_layout, 12, has_mask=False)
    ((file, _, _),) = write(tmp_path, "image", pixels(12), small_layout, 12)
    damaged = bytearray(file.read_bytes())
    damaged[-10] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(tmp_path / "image", mode="r")[:]


def test_the_bytes_of_a_shard_are_always_the_same(tmp_path):
    rows = np.random.default_rng(0).normal(size=(64, 1, 64, 64)).astype(np.float32)
    hashes = {write_shard(tmp_path / str(turn), [rows, rows[:5]], 64, 2).sha256 for turn in range(20)}
    assert len(hashes) == 1
