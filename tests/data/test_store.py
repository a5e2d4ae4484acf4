"""What an open store gives, and what it says of a path that is none."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import zarr
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrofm.card import Product
from astrofm.data.ingest import ingest
from astrofm.data.layout import Layout
from astrofm.data.store import CutoutStore, store_info, verify
from astrofm.errors import StoreError, UnknownNameError
from astrofm.survey import Survey


@pytest.fixture
def store(small_pieces, survey, archive, tmp_path) -> CutoutStore:
    ingest(survey, archive, tmp_path / "store")
    return CutoutStore.open(tmp_path / "store")


def test_each_row_of_the_catalogue_has_the_pixels_of_its_own_file(store, archive):
    for row, (name, file) in enumerate(
        zip(store.catalog.column("id_str"), store.catalog.column("file_loc"), strict=True)
    ):
        image = fits.getdata(archive / str(file)).astype(np.float32)
        stored = store.read([row])[0, 0]
        if name == "src006":  # 20 x 18 pixels, padded to 24 x 24 about the centre pixel
            assert np.isnan(stored).sum() == 24 * 24 - 20 * 18
            stored = stored[2:22, 3:21]
            assert (store.catalog.column("size_y")[row], store.catalog.column("size_x")[row]) == (20, 18)
        np.testing.assert_array_equal(stored, image)


def test_the_store_says_what_it_is(store, survey):
    assert store.shape == (39, 1, 24, 24) == (len(store), *survey.card.products["fits"].shape)
    assert (store.card, store.product_name, store.dtype, store.votes) == (survey.card, "fits", np.float32, None)
    assert not store.is_mock
    assert np.all(store.measured("rms") > 0)
    assert np.all(np.isnan(store.measured("bmaj")))
    assert store.read_mask(slice(None)) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(rows=st.lists(st.integers(0, 38), max_size=50))
def test_rows_come_in_the_order_asked_for(store, rows):
    everything = store.read(slice(None))
    np.testing.assert_array_equal(store.read(rows), everything[np.array(rows, int)])
    np.testing.assert_array_equal(store.read(slice(3, 30, 4)), everything[3:30:4])


def test_rows_may_be_chosen_by_true_and_false(store):
    is_test = store.catalog.column("split") == "test"
    rows = np.flatnonzero(is_test)
    np.testing.assert_array_equal(store.read(is_test), store.read(rows))
    for chosen in (is_test, tuple(rows.tolist())):
        np.testing.assert_array_equal(store.stretched(chosen, "clipped"), store.stretched(rows, "clipped"))
    with pytest.raises(IndexError, match=r"selection of shape \(2,\) was given for 39 cutouts"):
        store.read(np.array([True, False]))


@pytest.mark.parametrize("rows", [[39], [-1], [0, 100]])
def test_a_row_that_is_not_there_is_refused(store, rows):
    with pytest.raises(IndexError, match="39 cutouts"):
        store.read(rows)


def test_blocks_are_the_chunks(store):
    assert [row for block in store.blocks() for row in block] == list(range(39))
    assert {len(block) for block in store.blocks()[:-1]} == {zarr.open_array(store.path / "image").chunks[0]} == {4}


def test_a_stretch_of_the_card_is_applied_with_each_cutouts_own_rms(store):
    image, rms = store.read([7])[0], store.measured("rms")[7]
    clipped = np.where(image > 3 * np.float32(rms), image, 0)
    np.testing.assert_allclose(
        store.stretched([7], "clipped")[0], (clipped - clipped.min()) / (clipped.max() - clipped.min()), rtol=1e-6
    )
    with pytest.raises(UnknownNameError, match=r"no stretch named 'cliped'.*did you mean 'clipped'"):
        store.stretched([7], "cliped")


def test_a_store_is_read_through_a_url(store):
    far = CutoutStore.open(f"file://{store.path}")
    np.testing.assert_array_equal(far.read([5, 1]), store.read([5, 1]))
    assert far.catalog.table.equals(store.catalog.table)


def test_info_counts_every_byte(store):
    info = store_info(store.path)
    assert info["bytes"] == sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    assert info["rejected"] == {"known artefact": 1, "missing pixels": 1, "truncated file": 1}
    assert json.loads(json.dumps(info))["shape"] == [39, 1, 24, 24]


def test_a_path_that_is_no_store_is_refused_in_one_sentence(store, tmp_path):
    zarr.create_group(tmp_path / "foreign")
    (tmp_path / "begun.partial").mkdir()
    (tmp_path / "folder").mkdir()
    shutil.copytree(store.path, tmp_path / "lost")
    (tmp_path / "lost" / "manifest.json").unlink()
    shutil.copytree(store.path, tmp_path / "old")
    root = tmp_path / "old" / "zarr.json"
    root.write_text(root.read_text().replace('"encoding-version": 2', '"encoding-version": 0'))
    sentences = {
        "nowhere": "there is no store at",
        "foreign": "is Zarr and no store of astrofm",
        "begun": "is unfinished: give the same ingest command again",
        "begun.partial": "is an unfinished ingest",
        "folder": "is no store",
        "lost": "has lost its manifest.json",
        "old": "has encoding-version 0 and this astrofm reads 2",
    }
    for name, sentence in sentences.items():
        with pytest.raises(StoreError, match=sentence) as raised:
            CutoutStore.open(tmp_path / name)
        assert str(tmp_path / name) in str(raised.value)


def test_a_changed_byte_in_any_file_is_found(store, tmp_path):
    assert verify(store.path) == []
    files = [file.relative_to(store.path) for file in store.path.rglob("*") if file.is_file()]
    rng = np.random.default_rng(0)
    for file in files:
        sound = (store.path / file).read_bytes()
        for place in {0, len(sound) - 1, *rng.integers(0, len(sound), 4).tolist()}:
            damaged = bytearray(sound)
            damaged[place] ^= 1 << int(rng.integers(8))
            (store.path / file).write_bytes(damaged)
            assert file.as_posix() in [damage.file for damage in verify(store.path)], (file, place)
        (store.path / file).write_bytes(sound)
    assert verify(store.path) == []


def test_missing_and_foreign_files_are_named(store):
    (store.path / "image" / "c" / "2" / "0" / "0" / "0").unlink()
    (store.path / "notes.txt").write_text("mine")
    assert [str(damage).split(":")[0] for damage in verify(store.path)] == [
        "image/c/2/0/0/0 is missing",
        "notes.txt is no part of the store",
    ]


@given(size=st.integers(8, 3000), num_bands=st.integers(1, 5), dtype=st.sampled_from(["uint8", "float32"]))
def test_chunks_stay_under_8_mb_and_shards_between_64_and_128(size, num_bands, dtype):
    product = Product(pattern="*", shape=(num_bands, size, size), unit="count", dtype=dtype)
    layout = Layout.of(product)
    cutout_bytes = num_bands * size**2 * np.dtype(dtype).itemsize
    assert layout.chunk_rows in {1, 2, 4, 8, 16, 32, 64}
    assert layout.chunk_rows * cutout_bytes < 8e6 or layout.chunk_rows == 1
    assert layout.chunk_rows == 64 or 2 * layout.chunk_rows * cutout_bytes >= 8e6
    assert layout.shard_rows % layout.chunk_rows == 0
    assert 64e6 <= layout.shard_rows * cutout_bytes < 128e6 or cutout_bytes > 64e6


def test_a_store_of_real_cutouts_is_bit_for_bit_the_archive(data_dir, survey, tmp_path):
    real = sorted((data_dir / "mirabest" / "fits").glob("*.fits"))[:6]
    (tmp_path / "archive").mkdir()
    lines = ["id_str,ra,dec,split"]
    for index, file in enumerate(real):
        shutil.copy(file, tmp_path / "archive" / f"s{index}.fits")
        header = fits.getheader(file)
        lines.append(f"s{index},{header['CRVAL1']},{header['CRVAL2']},train")
    (tmp_path / "archive" / "table.csv").write_text("\n".join(lines))
    products = {"fits": survey.card.products["fits"].model_copy(update={"shape": (1, 150, 150)})}
    ingest(Survey(survey.card.model_copy(update={"products": products})), tmp_path / "archive", tmp_path / "store")
    store = CutoutStore.open(tmp_path / "store")
    assert len(store) >= 5
    for row, file in enumerate(store.catalog.column("file_loc")):
        whole = np.squeeze(fits.getdata(tmp_path / "archive" / str(file)))
        np.testing.assert_array_equal(store.read([row])[0, 0], whole[75:225, 75:225].astype(np.float32))
    assert verify(tmp_path / "store") == []
