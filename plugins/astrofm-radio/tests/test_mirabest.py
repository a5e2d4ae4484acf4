"""The three forms of MiraBest agree with each other and with what was published."""

import shutil
from collections import Counter

import numpy as np
import pytest
from astrofm_radio.source_names import SourceName
from hypothesis import given
from hypothesis import strategies as st

from astrofm import Cutout, CutoutStore, plugins
from astrofm.data.ingest import ingest
from astrofm.errors import DataError
from astrofm.views.stretch import Stretch

torch = pytest.importorskip("torch")

BLACKLISTED = "100_036.061+000.563_0.1400_0093.07"


@pytest.fixture(scope="module")
def catalogs(data_dir, opened):
    """Survey, source and catalogue of each product."""
    folder = data_dir / "mirabest"
    found = {}
    for product, path in (("batches", folder), ("fits", folder / "fits"), ("cube", folder)):
        survey, source = opened("mirabest", path, product)
        found[product] = survey, source, survey.catalog(source)
    return found


def images_of(survey, source, rows):
    """Return the images and noise of some rows. Shapes: (n, y, x), (n,)."""
    images, noise = [], []
    for part in survey.cutouts(source, rows):
        if isinstance(part, Cutout):
            images.append(part.image[None])
            noise.append([part.meta["rms"]])
        else:
            images.append(part.images)
            noise.append(part.meta.get("rms", np.full(len(part.images), np.nan)))
    return np.concatenate(images)[:, 0], np.concatenate(noise)


def select(table, names):
    rows = {name: row for row, name in enumerate(table["id_str"])}
    return table[[rows[name] for name in names]]


@pytest.mark.parametrize("product", ["batches", "cube"])
def test_the_published_numbers_are_there(catalogs, product):
    _, _, table = catalogs[product]
    assert len(table) == len(set(table["id_str"])) == 1256
    assert not any(table["rejected"])
    assert [Counter(table["label"].tolist())[label] for label in range(10)] == [339, 49, 9, 191, 3, 432, 4, 195, 19, 15]
    confident = table[np.isin(table["label"], [0, 1, 2, 5, 6])]
    assert Counter(map(str, confident["split"])) == {"train": 729, "test": 104}


def test_all_products_say_the_same_of_a_source(catalogs):
    columns = ["id_str", "ra", "dec", "label", "split", "z_spec", "size_arcsec"]
    batches = catalogs["batches"][2]
    for product in ("fits", "cube"):
        table = catalogs[product][2]
        table = table[table["id_str"] != BLACKLISTED]
        same = select(batches, table["id_str"])
        for column in columns:
            assert table[column].tolist() == same[column].tolist(), (product, column)


def test_the_blacklisted_raw_image_is_left_out_with_its_reason(catalogs):
    _, _, table = catalogs["fits"]
    assert len(table) == 27
    assert [(row["id_str"], "missing data" in row["rejected"]) for row in table if row["rejected"]] == [
        (BLACKLISTED, True)
    ]


def test_the_stretch_makes_the_published_images_from_the_raw_ones_bit_for_bit(catalogs):
    survey, source, table = catalogs["fits"]
    table = table[table["rejected"] == ""]
    raw, rms = images_of(survey, source, table)
    stretched = Stretch(survey.card.stretches["mirabest"])(torch.from_numpy(raw[:, None]), torch.from_numpy(rms))
    published, _ = images_of(*catalogs["batches"][:2], select(catalogs["batches"][2], table["id_str"]))
    assert len(table) == 26
    assert np.array_equal(stretched[:, 0].numpy(), published)


def test_the_network_sees_the_same_of_raw_and_8_bit_images(catalogs):
    survey, source, table = catalogs["fits"]
    table = table[table["rejected"] == ""]
    raw, rms = images_of(survey, source, table)
    from_raw = Stretch(survey.card.products["fits"].input.stretch)(
        torch.from_numpy(raw[:, None]), torch.from_numpy(rms)
    )
    published, _ = images_of(*catalogs["batches"][:2], select(catalogs["batches"][2], table["id_str"]))
    from_8bit = Stretch(survey.card.products["batches"].input.stretch)(torch.from_numpy(published[:, None])).numpy()
    assert np.array_equal(from_raw, from_8bit)
    assert float(from_8bit.max()) == pytest.approx(1.0)


def test_the_cube_holds_the_centres_of_the_raw_images_and_their_noise(catalogs):
    survey, source, table = catalogs["fits"]
    table = table[table["rejected"] == ""]
    raw, rms = images_of(survey, source, table)
    cube_survey, cube_source, cube_table = catalogs["cube"]
    centres, cube_rms = images_of(cube_survey, cube_source, select(cube_table, table["id_str"]))
    assert centres.dtype == np.float32
    assert np.abs(centres - raw[:, 75:225, 75:225]).max() < 1.4e-5
    np.testing.assert_allclose(cube_rms, rms, rtol=1e-6)
    assert cube_rms.dtype == np.float64


def test_the_constants_on_the_card_are_those_of_the_train_split(catalogs):
    survey, source, table = catalogs["batches"]
    images, _ = images_of(survey, source, table[table["split"] == "train"])
    seen = images[:, 40:110, 40:110] / 255.0
    given_input = survey.card.products["batches"].input
    assert len(images) == 1099
    assert given_input.mean[0] == pytest.approx(seen.mean(), abs=1e-6)
    assert given_input.std[0] == pytest.approx(seen.std(), abs=1e-6)


def test_a_tarball_with_another_checksum_is_refused_in_one_sentence(data_dir, opened, tmp_path):
    copy = tmp_path / "MiraBest_F_batches.tar.gz"
    shutil.copyfile(data_dir / "mirabest" / copy.name, copy)
    with copy.open("ab") as stream:
        stream.write(b"\0")
    survey, source = opened("mirabest", copy)
    with pytest.raises(DataError, match="7d4e3a623d29db7204bce81676ee8ce2") as caught:
        survey.catalog(source)
    assert "\n" not in str(caught.value)


positions = st.tuples(st.integers(0, 359_999), st.integers(-90_000, 90_000))


@given(
    class3=st.sampled_from(["100", "210", "403"]),
    position=positions,
    redshift=st.integers(0, 9999),
    size=st.integers(0, 999_999),
)
def test_a_name_reads_back_as_it_was_written(class3, position, redshift, size):
    name = SourceName(class3, position[0] / 1e3, position[1] / 1e3, redshift / 1e4, size / 1e2)
    assert SourceName.parse(str(name)) == name
    assert bool(name.why_left_out) == (class3 == "403" or size >= 27_000)


def test_a_name_of_another_form_is_refused():
    with pytest.raises(DataError, match="CLASS_RA"):
        SourceName.parse("100_10.4-9.2")


def test_a_store_of_the_raw_images_gives_the_published_ones_bit_for_bit(data_dir, tmp_path):
    survey = plugins.survey("mirabest")
    ingest(survey, data_dir / "mirabest", tmp_path / "batches.zarr")
    info = ingest(survey, data_dir / "mirabest" / "fits", tmp_path / "raw.zarr")
    assert info["rejected"] == {"missing data (published list of corrupt images)": 1}
    published, raw = (CutoutStore.open(tmp_path / f"{name}.zarr") for name in ("batches", "raw"))
    row_of = {name: row for row, name in enumerate(published.catalog.column("id_str"))}
    rows = [row_of[name] for name in raw.catalog.column("id_str")]
    stretched = raw.stretched(slice(None), "mirabest")
    assert stretched.dtype == np.uint8
    assert stretched.shape == (26, 1, 150, 150)
    np.testing.assert_array_equal(stretched, published.read(rows))


def test_a_raw_image_that_the_table_does_not_name_keeps_its_published_split(data_dir, opened, tmp_path):
    names = ["100_131.189+021.492_0.2720_0042.73", "200_005.282-000.925_0.1082_0041.40"]
    for name in names:
        shutil.copyfile(data_dir / "mirabest" / "fits" / f"{name}.fits", tmp_path / f"{name}.fits")
    (tmp_path / "mirabest_index.csv").write_text(f"name,split\n{names[1]},val\n")
    survey, source = opened("mirabest", tmp_path)
    assert survey.catalog(source)["split"].tolist() == ["test", "val"]
    (tmp_path / "mirabest_index.csv").write_text(f"id,split\n{names[1]},val\n")
    with pytest.raises(DataError, match=r"mirabest_index.csv has no column name"):
        survey.catalog(source)


def test_a_tarball_that_is_none_is_refused_in_one_sentence(opened, tmp_path):
    (tmp_path / "My_batches.tar.gz").write_bytes(b"not found")
    survey, source = opened("mirabest", tmp_path)
    with pytest.raises(DataError, match=r"My_batches.tar.gz is damaged or no tar archive"):
        survey.catalog(source)
