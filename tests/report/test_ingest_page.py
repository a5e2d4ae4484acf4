"""The page of a store says what is in it, and nothing of where or when it was made."""

import re
import shutil

import numpy as np
import pyarrow as pa
import pytest

from astrofm.card import Step
from astrofm.data.ingest import ingest
from astrofm.data.merge import merge
from astrofm.data.store import CutoutStore
from astrofm.errors import StoreError
from astrofm.report.contact_sheet import Sample, contact_sheet, label_texts
from astrofm.report.ingest_page import ingest_report, write_ingest_report
from astrofm.survey import Survey


@pytest.fixture(scope="module")
def store(tmp_path_factory, radio_card_folder):
    """A store of 34 sources: of the 36 one file is cut short and one blank."""
    from astropy.io import fits

    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(radio_card_folder / "archive", folder / "archive")
    broken = folder / "archive" / "s004.fits"
    broken.write_bytes(broken.read_bytes()[:2000])
    fits.PrimaryHDU(np.full((16, 16), np.nan, ">f4"), fits.Header({"BUNIT": "Jy/beam"})).writeto(
        folder / "archive" / "s007.fits", overwrite=True
    )
    ingest(Survey.from_yaml(radio_card_folder / "card.yaml"), folder / "archive", folder / "field.zarr")
    return folder / "field.zarr"


@pytest.fixture(scope="module")
def html(store):
    return ingest_report(store)


@pytest.fixture(scope="module")
def mock_html(mock_stores):
    return {name: ingest_report(mock_stores[name].path) for name in ("mirabest", "gz-evo")}


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S))


def test_counts_reasons_and_examples_are_there(html):
    text = text_of(html)
    assert "34 of 36 catalogue rows (94.4%)" in text
    assert "1 band of 16 x 16 pixels, float32" in text
    assert re.search(r"no data 1 s007: all pixels are missing", text)
    assert re.search(r"truncated file 1 s004: ", text)


def test_splits_labels_and_pixels_are_counted(store, html):
    text = text_of(html)
    assert "Splits: published" in text
    assert re.search(r"label train test all 0 11 6 17 1 11 6 17 all 22 12 34", text)
    assert "log10" not in text
    assert "noise (Jy/beam)" in text
    pixels = CutoutStore.open(store).read(slice(None))
    assert f"{pixels.max():.4g}" in text


def test_the_page_is_a_function_of_the_store_alone(store, html, tmp_path):
    shutil.copytree(store, tmp_path / "elsewhere.zarr")
    assert ingest_report(tmp_path / "elsewhere.zarr") == html
    assert str(store.parent) not in html
    assert not re.search(r"src=\"(?!data:)|href=|<script|@import", html)


def test_it_is_written_beside_the_store_and_leaves_it_alone(store, html):
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    written = write_ingest_report(store)
    assert written == store.with_name("field.zarr.report.html")
    assert written.read_text(encoding="utf-8") == html
    assert before == {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    with pytest.raises(StoreError, match="there is no store"):
        write_ingest_report(store.with_name("none.zarr"))


def test_mock_data_say_so_at_the_top(mock_html):
    for html in mock_html.values():
        assert html.index("Mock data from a sky model") < html.index("<h1>")
        assert "(mock)</h1>" in html
        assert html.count("data:image/png") == 25


def test_real_data_have_no_such_banner(html):
    assert 'class="banner"' not in html


def test_votes_and_stretch_are_named(mock_html):
    optical, radio = (text_of(mock_html[name]) for name in ("gz-evo", "mirabest"))
    assert "48 cutouts have votes" in optical
    assert "as red, green and blue, as they are stored" in optical
    assert "in the stretch 'mirabest' of the survey's card" in radio.replace("&#x27;", "'")


def test_a_merged_store_names_its_parts(radio_card_folder, store, write_field, tmp_path):
    write_field(tmp_path / "archive", [100.0, 101.0], [0.0, 0.0], ["train", "test"])
    table = tmp_path / "archive" / "table.csv"
    table.write_text(table.read_text().replace("\ns0", "\nt0"))
    for file in list((tmp_path / "archive").glob("s*.fits")):
        file.rename(file.with_name(f"t{file.name[1:]}"))
    ingest(Survey.from_yaml(radio_card_folder / "card.yaml"), tmp_path / "archive", tmp_path / "more.zarr")
    merge([store, tmp_path / "more.zarr"], tmp_path / "merged.zarr")
    text = text_of(ingest_report(tmp_path / "merged.zarr"))
    for part in (store, tmp_path / "more.zarr"):
        assert CutoutStore.open(part).content_hash[:16] in text
    assert "36 of 38 catalogue rows" in text


def test_the_sample_reads_chunks_from_end_to_end_of_a_store(store, monkeypatch):
    opened = CutoutStore.open(store)
    monkeypatch.setattr(type(opened), "chunk_rows", 2)
    sample = Sample.of(opened)
    assert len(sample.rows) == 16
    assert (sample.rows[0], sample.rows[-1]) == (0, 33)
    np.testing.assert_array_equal(sample.images, opened.read(sample.rows))
    assert (sample.missing == 0).all()
    assert sample.known_pixels(0).shape == (16 * 16 * 16,)


def test_three_of_five_bands_make_a_colour_from_long_to_short_waves(store):
    opened = CutoutStore.open(store)
    waves = {"SDSS-u": 355, "SDSS-g": 475, "SDSS-r": 622, "SDSS-i": 763, "SDSS-z": 905}
    band = type(opened.card.bands[0])
    bands = tuple(band(name=name, unit="nanomaggy", wavelength_nm=wave) for name, wave in waves.items())
    card = opened.card.model_copy(update={"bands": bands, "domain": "optical"})
    made_from = opened.manifest.made_from.model_copy(update={"card": card})
    five = CutoutStore(opened.path, opened.manifest.model_copy(update={"made_from": made_from}))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(34, 5, 16, 16)).astype(np.float32)
    pictures, how = contact_sheet(five, Sample(np.arange(34), images, np.zeros_like(images, bool)))
    assert "SDSS-z, SDSS-r, SDSS-u as red, green and blue" in how
    assert "percentile" in how
    assert len(pictures) == 25


def test_labels_are_put_into_words(store):
    opened = CutoutStore.open(store)
    assert set(label_texts(opened)) == {"0", "1"}
    named = opened.card.model_copy(update={"label_names": {0: "one blob"}})
    opened.manifest = opened.manifest.model_copy(
        update={"made_from": opened.manifest.made_from.model_copy(update={"card": named})}
    )
    assert set(label_texts(opened)) == {"one blob", "1"}
    table = opened.catalog.table
    labels = pa.array([None, *table["label"].to_pylist()[1:]], pa.int64())
    opened.catalog = type(opened.catalog)(table.set_column(table.column_names.index("label"), "label", labels))
    assert label_texts(opened)[0] == ""


def test_a_stretch_of_the_card_is_applied_to_the_pictures(store):
    opened = CutoutStore.open(store)
    card = opened.card.model_copy(update={"stretches": {"clipped": (Step(name="minmax"),)}})
    made_from = opened.manifest.made_from.model_copy(update={"card": card})
    stretched = CutoutStore(opened.path, opened.manifest.model_copy(update={"made_from": made_from}))
    _, how = contact_sheet(stretched, Sample.of(stretched))
    assert "in the stretch 'clipped'" in how
    _, how = contact_sheet(opened, Sample.of(opened))
    assert "between the percentiles 1 and 99.5 of its pixels" in how
