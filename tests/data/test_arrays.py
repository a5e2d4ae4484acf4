"""HDF5 and NumPy files of images: axes, types, columns, what is refused, and what is read of them at once."""

import json
import sys
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.card import SurveyCard
from astrofm.data.catalog import Catalog
from astrofm.data.cutouts import CutoutBatch, Rejected
from astrofm.data.forms import arrays as arrays_module
from astrofm.data.forms.array_files import open_arrays
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError
from astrofm.survey import Survey, find_source
from astrofm.testing import SurveyTests

TASK = [{"name": "t", "title": "t", "column": "label", "classes": {"a": [0], "b": [1]}}]


def card(arrays, *, shape=(2, 4, 6), pattern="*.h5", dtype="float32", **changes):
    bands = [{"name": f"My-b{number}", "unit": "Jy/beam", "frequency_hz": 1e9 + number} for number in range(shape[0])]
    given = {
        "name": "my-arrays",
        "title": "Images in arrays",
        "domain": "radio",
        "reference": "made for tests",
        "bands": bands,
        "pixel_scale_arcsec": 1.8,
        "field_of_view_arcsec": 43,
        "beam": {"value": {"bmaj_arcsec": 6, "bmin_arcsec": 5}},
        "products": {"arrays": {"pattern": pattern, "shape": shape, "unit": "Jy/beam", "dtype": dtype}},
        "splits": {"scheme": "by-id"},
        "citation": "@misc{arrays, year = {2026}}",
        "hard": "Nothing is hard about them.",
        "recipe": "byol-quick-radio",
        "quick_recipe": "byol-quick-radio",
        "arrays": arrays,
    }
    return SurveyCard.model_validate(given | changes)


def numbered(num=5, shape=(2, 4, 6), dtype=np.float32):
    """Images of which each pixel knows its place. Shape: (num, *shape)."""
    return np.arange(num * np.prod(shape)).reshape(num, *shape).astype(dtype)


def write(path, **arrays):
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = np.char.encode(values, "utf-8") if np.asarray(values).dtype.kind == "U" else values
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        np.save(path, arrays["images"])
    return path


def opened(survey_card, folder):
    survey = Survey(survey_card)
    source = find_source(survey_card, folder)
    return survey, source, survey.catalog(source)


def read(survey_card, folder):
    survey, source, table = opened(survey_card, folder)
    return np.concatenate([part.images for part in survey.cutouts(source, table)])


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".npy"])
def test_images_come_back_as_they_were_written(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", images=numbered())
    images = read(card({}, pattern=f"*{suffix}"), tmp_path)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, numbered())


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".npy"])
@pytest.mark.parametrize("top_row_first", [False, True])
def test_axes_are_put_in_order(tmp_path, suffix, top_row_first):
    stored = numbered()[:, :, ::-1] if top_row_first else numbered()
    write(tmp_path / f"a{suffix}", images=np.moveaxis(stored, 1, -1))
    layout = {"axes": "nyxb", "top_row_first": top_row_first}
    np.testing.assert_array_equal(read(card(layout, pattern=f"*{suffix}"), tmp_path), numbered())
    write(tmp_path / f"a{suffix}", images=stored[:, 0])
    survey_card = card(layout | {"axes": "nyx"}, pattern=f"*{suffix}", shape=(1, 4, 6))
    np.testing.assert_array_equal(read(survey_card, tmp_path), numbered()[:, :1])


@pytest.mark.parametrize("dtype", [">f8", "<f8", ">f4", "f2", ">i2", "i2", "u1", "i4", "?"])
@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_every_kind_of_number_becomes_native_float32(tmp_path, dtype, suffix):
    values = numbered(3).astype(np.dtype(dtype))
    write(tmp_path / f"a{suffix}", images=values)
    images = read(card({}, pattern=f"*{suffix}"), tmp_path)
    assert images.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(images, values.astype(np.float64))


def test_nan_is_kept_and_what_float32_cannot_hold_is_missing(tmp_path):
    values = numbered(2, dtype=np.float64)
    values[0, 0, 0, :2] = np.nan, 1e300
    write(tmp_path / "a.h5", images=values)
    image = read(card({}), tmp_path)[0]
    assert np.isnan(image[0, 0, 0])
    assert np.isinf(image[0, 0, 1])


def test_uint8_is_refused_where_it_would_change_the_values(tmp_path):
    values = np.full((5, 1, 4, 4), 7.0)
    values[1, 0, 0, 0] = np.nan
    values[2, 0, 0, 0] = 0.5
    values[3, 0, 0, 0] = 256
    write(tmp_path / "a.h5", images=values)
    survey, source, table = opened(card({}, shape=(1, 4, 4), dtype="uint8"), tmp_path)
    first, *rejected, last = survey.cutouts(source, table)
    assert isinstance(first, CutoutBatch)
    assert first.images.dtype == np.uint8
    assert np.argwhere(first.masks).tolist() == [[1, 0, 0]]
    assert first.images[1, 0, 0, :2].tolist() == [0, 7]
    assert [item.reason for item in rejected] == ["not 8-bit", "not 8-bit"]
    assert all(isinstance(item, Rejected) for item in rejected)
    assert len(last.images) == 1
    assert last.masks is None


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_columns_lie_beside_the_images(tmp_path, suffix):
    columns = {"name": np.array(["x", "y"]), "ans": [1, 0], "RAJ2000": [1.5, 2.5], "DEJ2000": [3.0, 4.0]}
    write(tmp_path / f"a{suffix}", images=numbered(2), **columns)
    survey_card = card({"columns": {"id_str": "name", "label": "ans"}}, pattern=f"*{suffix}", tasks=TASK)
    catalog = Catalog.from_astropy(opened(survey_card, tmp_path)[2])
    assert catalog.column("id_str").tolist() == ["x", "y"]
    assert catalog.column("label").tolist() == [1, 0]
    assert catalog.column("ra").tolist() == [1.5, 2.5]


def test_hdf5_columns_may_lie_anywhere_and_in_a_table(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data/images"] = numbered(2)
        file["data/flux"] = [0.1, 0.2]
        file["data/names"] = ["naïve", "y"]
        file["labels/kind"] = [1, 0]
        file["labels/other"] = [5, 6]
        file["data/positions"] = np.array([(1.0, 2.0), (3.0, 4.0)], dtype=[("ra", "f8"), ("dec", "f8")])
    layout = {"images": "/data/images", "columns": {"label": "labels/kind", "id_str": "data/names"}}
    catalog = Catalog.from_astropy(opened(card(layout), tmp_path)[2])
    assert catalog.column("label").tolist() == [1, 0]
    assert catalog.column("dec").tolist() == [2.0, 4.0]
    assert catalog.column("id_str").tolist() == ["naïve", "y"]
    assert catalog.column("flux").tolist() == [0.1, 0.2]
    assert "other" not in catalog.columns


def test_arrays_that_are_no_columns_are_named(tmp_path):
    write(tmp_path / "a.h5", images=numbered(2), mean=np.zeros(7), weights=np.zeros((2, 3)))
    with pytest.warns(UserWarning, match=r"a\.h5: no columns of the 2 images, left out: mean \(7,\), weights \(2, 3\)"):
        opened(card({"images": "images"}), tmp_path)


def test_a_table_beside_the_arrays_follows_their_rows(tmp_path):
    for name, num in (("a", 2), ("b", 1)):
        write(tmp_path / f"{name}.npy", images=numbered(num))
    Table({"id_str": ["007", "008", "009"], "kind": [1, 0, 1]}).write(tmp_path / "t.csv")
    survey_card = card({"table": "t.csv", "columns": {"label": "kind"}}, pattern="*.npy", tasks=TASK)
    _, _, table = opened(survey_card, tmp_path)
    assert list(table["id_str"]) == ["007", "008", "009"]
    assert list(table["file_loc"]) == ["a.npy", "a.npy", "b.npy"]
    assert list(table["file_row"]) == [0, 1, 0]
    assert list(table["label"]) == [1, 0, 1]
    survey = Survey(survey_card)
    source = find_source(survey_card, tmp_path)
    assert {path.name for path in survey.files(source, table)} == {"a.npy", "b.npy", "t.csv"}
    Table({"id_str": ["007"], "kind": [1]}).write(tmp_path / "t.csv", overwrite=True)
    with pytest.raises(DataError, match=r"'t\.csv' has 1 rows for 3 images"):
        opened(survey_card, tmp_path)


def test_images_without_ids_are_called_after_file_and_row(tmp_path):
    write(tmp_path / "a.npy", images=numbered(2))
    assert list(opened(card({}, pattern="*.npy"), tmp_path)[2]["id_str"]) == ["a-0", "a-1"]


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(11)), st.sampled_from([".h5", ".npz", ".npy", "compressed"]), st.integers(1, 400))
def test_rows_come_in_the_order_asked_for_whatever_the_batch(tmp_path_factory, order, form, batch_bytes):
    folder = tmp_path_factory.mktemp("arrays")
    images = numbered(11)
    for name, part in (("a", images[:7]), ("b", images[7:])):
        if form == "compressed":
            np.savez_compressed(folder / f"{name}.npz", images=part)
        else:
            write(folder / f"{name}{form}", images=part)
    survey, source, table = opened(card({}, pattern="*.npz" if form == "compressed" else f"*{form}"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays_module, "BATCH_BYTES", batch_bytes)
        found = np.concatenate([part.images for part in survey.cutouts(source, table[list(order)])])
    np.testing.assert_array_equal(found, images[list(order)])


@pytest.mark.parametrize("form", ["stored", "compressed", ".npy", ".h5"])
def test_memory_is_that_of_a_batch_not_of_the_archive(tmp_path, form):
    images = np.zeros((400, 1, 100, 100))  # 32 MB
    images[:, 0, 0, 0] = np.arange(400)
    path = tmp_path / ("a.npz" if form in ("stored", "compressed") else f"a{form}")
    if form == "compressed":
        np.savez_compressed(path, images=images)
    else:
        write(path, images=images)
    survey, source, table = opened(card({}, shape=(1, 100, 100), pattern=path.name), tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays_module, "BATCH_BYTES", 1_000_000)
        tracemalloc.start()
        seen = np.concatenate([part.images[:, 0, 0, 0].copy() for part in survey.cutouts(source, table[100:])])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seen.tolist() == list(range(100, 400))
    assert most < 8_000_000


def test_an_archive_with_objects_is_refused_and_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "made").mkdir, ()

    for name in ("a.npz", "b.npy"):
        target = tmp_path / name
        values = np.array([Trap(), None], dtype=object)
        np.savez(target, images=numbered(2), extra=values) if name == "a.npz" else np.save(target, values)
        with pytest.raises(DataError, match="holds Python objects, which only unpickling could read"):
            opened(card({"images": "images"} if name == "a.npz" else {}, pattern=name), tmp_path)
    assert not (tmp_path / "made").exists()


def test_damaged_files_are_one_sentence(tmp_path):
    for suffix in (".h5", ".npz", ".npy"):
        path = write(tmp_path / f"a{suffix}", images=numbered(50))
        whole = path.read_bytes()
        for content in (b"", b"rubbish", whole[:-200]):
            path.write_bytes(content)
            with pytest.raises(DataError, match=rf"a\{suffix}"):
                opened(card({}, pattern=f"*{suffix}"), tmp_path)


def test_a_flipped_byte_in_a_compressed_member_is_one_sentence(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.random.default_rng(0).normal(size=(50, 2, 4, 6)))
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("images.npy")
    content = bytearray(path.read_bytes())
    content[member.header_offset + member.compress_size // 2] ^= 0xFF
    survey, source, table = opened(card({}, pattern="*.npz"), tmp_path)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz cannot be read as npz"):
        list(survey.cutouts(source, table))


@pytest.mark.parametrize(
    ("layout", "shape", "said"),
    [
        ({"images": "pictures"}, (2, 4, 6), r"no array 'pictures'.*images \(5, 2, 4, 6\)"),
        ({"images": "images", "axes": "nyx"}, (2, 4, 6), r"has the shape \(5, 2, 4, 6\).*axes are nyx"),
        ({}, (3, 4, 6), "has 2 bands, and the product 3"),
        ({"images": "images", "axes": "nyxb"}, (2, 4, 6), "read as nyxb, has 6 bands"),
        ({"columns": {"label": "kind"}}, (2, 4, 6), "no column 'kind', which the card maps to 'label'"),
    ],
)
def test_what_does_not_fit_the_card_is_named(tmp_path, layout, shape, said):
    write(tmp_path / "a.h5", images=numbered())
    with pytest.raises(DataError, match=said):
        opened(card(layout, shape=shape), tmp_path)


def test_of_two_arrays_the_card_names_one(tmp_path):
    write(tmp_path / "a.h5", small=numbered(2), large=numbered(2))
    with pytest.raises(DataError, match="2 arrays that could be the images; name one"):
        opened(card({}), tmp_path)


def test_values_in_another_file_are_refused(tmp_path):
    """They would change without the store noticing: only the files of the archive are hashed."""
    (tmp_path / "raw.bin").write_bytes(numbered(2).tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        shape = numbered(2).shape
        file.create_dataset("images", shape, "f4", external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(DataError, match="the values of 'images' lie in another file"):
        opened(card({}), tmp_path)


def test_hdf5_without_its_package_says_how_to_get_it(tmp_path, monkeypatch):
    write(tmp_path / "a.h5", images=numbered())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"a\.h5 is HDF5.*pip install h5py"):
        opened(card({}), tmp_path)


def test_fortran_order_is_read_or_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(numbered()))
    np.testing.assert_array_equal(read(card({}, pattern="*.npy"), tmp_path), numbered())
    np.savez_compressed(tmp_path / "a.npz", images=np.asfortranarray(numbered()))
    with pytest.raises(DataError, match=r"'images' is compressed in Fortran order.*ascontiguousarray"):
        opened(card({}, pattern="*.npz"), tmp_path)


def test_another_suffix_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.mat has no suffix of a file of arrays"), open_arrays(tmp_path / "a.mat"):
        pass


@pytest.mark.parametrize("pattern", ["sky.h5", "sky.npz", "*.npy"])
def test_a_mock_archive_becomes_a_store(tmp_path, pattern):
    layout = {"table": "t.csv"} if pattern == "*.npy" else {"images": "sky/images", "axes": "nyx"}
    axes = {"axes": "nyx", "top_row_first": True, "columns": {"label": "ans"}}
    survey = Survey(card(layout | axes, shape=(1, 24, 24), pattern=pattern, tasks=TASK))
    folder = survey.mock(8, 2, tmp_path / "mock")
    assert json.loads((folder / "MOCK.json").read_text())["n"] == 8
    assert ingest(survey, folder, tmp_path / "mock.zarr")["num_cutouts"] == 8
    assert CutoutStore.open(tmp_path / "mock.zarr").is_mock


class TestArraysFromACard(SurveyTests):
    """A card with an ``arrays`` section keeps the contract of every survey."""

    @pytest.fixture(scope="class")
    @classmethod
    def the_survey(cls):
        return Survey(card({"images": "images"}, shape=(1, 24, 24), tasks=TASK))

    survey = "my-arrays.yaml"


def test_real_cutouts_in_an_archive_are_read_by_a_card_alone(data_dir):
    """MGCLS: 6161 sources, row by row those of ``protege_rank``."""
    layout = {"images": "images", "axes": "nyx", "columns": {"id_str": "protege_rank"}}
    survey_card = card(layout, shape=(1, 110, 110), pattern="mgcls*.npz", dtype="uint8")
    survey, source, table = opened(survey_card, data_dir / "mgcls")
    assert len(table) == 6161
    images = np.concatenate([part.images for part in survey.cutouts(source, table[[3, 6000]])])
    with np.load(data_dir / "mgcls" / "mgcls_intensity_110px_uint8.npz") as archive:
        np.testing.assert_array_equal(images[:, 0], archive["images"][[3, 6000]])
