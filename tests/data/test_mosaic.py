"""Mosaics and a catalogue as a survey: which tile, which pixels, and what is known of them."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from astrofm.card import SurveyCard
from astrofm.data.cutouts import CutoutBatch, Rejected
from astrofm.data.forms.mosaic import mosaic_catalog, mosaic_cutouts, mosaic_files, mosaic_mock
from astrofm.data.forms.mosaic_cutting import Piece, in_row_order
from astrofm.data.forms.mosaic_noise import clipped_stds
from astrofm.data.ingest import ingest
from astrofm.data.options import IngestOptions
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError, StoreError
from astrofm.survey import Survey, find_source
from astrofm.testing import SurveyTests
from astrofm.testing.compare import one_by_one

SIZE, NUM = 8, 60
SCALE_DEG = 1e-3
CARD = {
    "name": "tiles",
    "title": "Tiles",
    "domain": "radio",
    "reference": "made for tests",
    "bands": [{"name": "TEST-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
    "pixel_scale_arcsec": 3.6,
    "field_of_view_arcsec": 3.6 * SIZE,
    "beam": {"value": {"bmaj_arcsec": 9.0, "bmin_arcsec": 9.0}},
    "products": {"map": {"pattern": "*.fits", "shape": [1, SIZE, SIZE], "unit": "Jy/beam", "dtype": "float32"}},
    "splits": {"scheme": "by-id"},
    "citation": "@misc{tiles, year = {2026}}",
    "hard": "nothing is hard about these made-up tiles",
    "recipe": "byol-quick-radio",
    "quick_recipe": "byol-quick-radio",
    "mosaic": {"table": "sources.csv"},
}
BANDS = [{"name": f"TEST-{ghz}GHz", "unit": "Jy/beam", "frequency_hz": ghz * 1e9} for ghz in (1, 2)]


def card(**changes):
    return SurveyCard.model_validate(CARD | changes)


def product(**changes):
    return {"map": CARD["products"]["map"] | changes}


def header(ra=10.0, dec=-30.0, num=NUM, **more):
    found = fits.Header({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": ra, "CRVAL2": dec, "RADESYS": "ICRS"})
    found.update({"CRPIX1": num / 2, "CRPIX2": num / 2, "CDELT1": -SCALE_DEG, "CDELT2": SCALE_DEG, "BUNIT": "JY/BEAM"})
    found.update(more)
    return found


def noise(seed=0, num=NUM):
    return np.random.default_rng(seed).normal(0, 1e-3, (num, num)).astype(np.float32)


def write_sources(folder, of, x, y, name="sources.csv", **columns):
    ra, dec = WCS(of).celestial.wcs_pix2world(x, y, 0)
    ids = [f"s{number}" for number in range(len(ra))]
    Table({"id_str": ids, "ra": ra, "dec": dec, **columns}).write(folder / name, overwrite=True)


def read(survey_card, folder, rows=None, **source_changes):
    source = replace(find_source(survey_card, folder), **source_changes)
    table = mosaic_catalog(survey_card, source)
    return table, one_by_one(mosaic_cutouts(survey_card, source, table if rows is None else table[rows]))


class TestMockOfMosaics(SurveyTests):
    survey = "tiles.yaml"

    @pytest.fixture(scope="class")
    @classmethod
    def the_survey(cls):
        return Survey(card())


class TestMockOfBandFiles(SurveyTests):
    survey = "tiles.yaml"

    @pytest.fixture(scope="class")
    @classmethod
    def the_survey(cls):
        bands = {band["name"]: f"{band['name']}/*.fits" for band in BANDS}
        return Survey(
            card(
                bands=BANDS,
                products=product(shape=[2, SIZE, SIZE], pattern="*/*.fits"),
                mosaic={"table": "sources.csv", "bands": bands},
            )
        )


@pytest.mark.parametrize(
    "changes", [{"extensions": {"image": "SCI", "quality": "DQ"}}, {"columns": {"file_loc": "tile"}}]
)
def test_a_mock_has_the_form_that_the_card_describes(changes, tmp_path):
    found = card(mosaic=CARD["mosaic"] | changes)
    table, cutouts = read(found, mosaic_mock(found, 5, 1, tmp_path))
    assert set(table["file_loc"]) == {"mock.fits"}
    assert fits.getheader(tmp_path / "mock.fits")["MOCK"] is True
    assert len(cutouts) == 5
    for cutout in cutouts[1:]:
        assert np.isfinite(cutout.image).all()
    assert np.isnan(cutouts[0].image).sum() == ("extensions" in changes)  # its first pixel is flagged


def test_a_mock_of_8_bit_mosaics_is_read_as_such(tmp_path):
    found = card(products=product(dtype="uint8", unit="8-bit"))
    _, cutouts = read(found, mosaic_mock(found, 5, 1, tmp_path))
    assert {cutout.image.dtype for cutout in cutouts} == {np.dtype("uint8")}
    assert max(cutout.image.max() for cutout in cutouts) == 255


# Forms of files


def changed(head, **more):
    head = head.copy()
    head.update(more)
    return head


def as_int16(pixels, head):
    hdu = fits.PrimaryHDU(pixels, head)
    hdu.scale("int16", bzero=0.0, bscale=1e-3)
    return hdu


def as_uint16(pixels, head):
    return fits.PrimaryHDU(np.round(pixels * 1e3).astype(np.uint16), changed(head, BUNIT="mJy/beam"))


def with_blank(pixels, head):
    stored = np.where(np.isnan(pixels), -99, np.round(pixels * 1e3)).astype(np.int32)
    hdu = fits.PrimaryHDU(stored, changed(head, BUNIT="mJy/beam"))
    hdu.header["BLANK"] = -99
    return hdu


FORMS = {
    "float64": lambda pixels, head: fits.PrimaryHDU(pixels.astype(">f8"), head),
    "four axes": lambda pixels, head: fits.PrimaryHDU(
        pixels[None, None], changed(head, CTYPE3="FREQ", CTYPE4="STOKES", CRVAL3=1.4e9, CRVAL4=1.0)
    ),
    "int16 with a scale": as_int16,
    "uint16": as_uint16,
    "compressed rows": lambda pixels, head: fits.CompImageHDU(
        pixels, head, compression_type="GZIP_2", quantize_level=0.0
    ),
    "compressed tiles": lambda pixels, head: fits.CompImageHDU(
        pixels, head, compression_type="GZIP_1", quantize_level=0.0, tile_shape=(16, 16)
    ),
    "compressed integers": lambda pixels, head: fits.CompImageHDU(
        np.round(pixels * 1e3).astype(np.int32), changed(head, BUNIT="mJy/beam"), compression_type="RICE_1"
    ),
    "extension": lambda pixels, head: fits.ImageHDU(pixels, head, name="SCI"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mosaic_gives_the_same_cutouts(form, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 3000, (NUM, NUM)).astype(np.float32) / 1000
    x, y = np.random.default_rng(1).uniform(-0.4, NUM - 0.6, (2, 40))
    wanted, given = tmp_path / "plain", tmp_path / "other"
    for folder in (wanted, given):
        folder.mkdir()
        write_sources(folder, header(), x, y)
    fits.PrimaryHDU(pixels, header()).writeto(wanted / "map.fits")
    hdu = FORMS[form](pixels, header())
    primary = isinstance(hdu, fits.PrimaryHDU)
    (hdu if primary else fits.HDUList([fits.PrimaryHDU(), hdu])).writeto(given / "map.fits")
    for first, second in zip(read(card(), wanted)[1], read(card(), given)[1], strict=True):
        assert second.image.dtype == np.float32
        assert second.image.dtype.isnative
        np.testing.assert_allclose(second.image, first.image, rtol=1e-6)
        assert second.meta["rms"] == pytest.approx(first.meta["rms"], rel=1e-5)
        assert second.meta["edge_fraction"] == first.meta["edge_fraction"]


def test_a_gzipped_mosaic_and_one_with_blanks_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 3000, (NUM, NUM)).astype(np.float32) / 1000
    pixels[10:20, 10:20] = np.nan
    with_blank(pixels, header()).writeto(tmp_path / "map.fits")
    (tmp_path / "map.fits.gz").write_bytes(gzip.compress((tmp_path / "map.fits").read_bytes()))
    (tmp_path / "map.fits").unlink()
    write_sources(tmp_path, header(), [15, 40], [15, 41])
    _, (empty, full) = read(card(products=product(pattern="*.fits.gz")), tmp_path)
    assert np.isnan(empty.image).all()
    np.testing.assert_allclose(full.image[0], pixels[37:45, 36:44], rtol=1e-6)


def test_flagged_saturated_and_infinite_pixels_are_missing_and_errors_give_the_noise(tmp_path):
    pixels, flags = noise(), np.zeros((NUM, NUM), np.uint16)
    pixels[30, 31], pixels[30, 32] = np.inf, 5.0
    flags[31, 30], flags[31, 31] = 4, 32769
    errors = np.full((NUM, NUM), 2.5, np.float32)
    science = fits.ImageHDU(pixels, header(SATURATE=4.0), name="SCI")
    hdus = [fits.PrimaryHDU(), science, fits.ImageHDU(errors, fits.Header({"BUNIT": "mJy/beam"}), name="ERR")]
    fits.HDUList([*hdus, fits.ImageHDU(flags, name="DQ")]).writeto(tmp_path / "map.fits")
    write_sources(tmp_path, header(), [30], [30])
    _, (cutout,) = read(card(), tmp_path)
    assert np.argwhere(np.isnan(cutout.image[0])).tolist() == [[4, 5], [4, 6], [5, 4], [5, 5]]
    assert cutout.meta["rms"] == pytest.approx(2.5e-3)
    some = card(mosaic=CARD["mosaic"] | {"extensions": {"quality_bits": 4}})
    _, (cutout,) = read(some, tmp_path)
    assert np.argwhere(np.isnan(cutout.image[0])).tolist() == [[4, 5], [4, 6], [5, 4]]


def test_a_cube_has_its_planes_as_bands_and_another_number_is_refused(tmp_path):
    cube = np.stack([noise(0), noise(1)])
    fits.PrimaryHDU(cube, header()).writeto(tmp_path / "map.fits")
    write_sources(tmp_path, header(), [30], [31])
    _, (cutout,) = read(card(bands=BANDS, products=product(shape=[2, SIZE, SIZE])), tmp_path)
    np.testing.assert_array_equal(cutout.image, cube[:, 27:35, 26:34])
    _, (refused,) = read(card(), tmp_path)
    assert (refused.reason, refused.file) == ("wrong number of bands", "map.fits")


def test_the_beam_and_scale_of_the_tile_are_those_of_its_cutouts(tmp_path):
    fits.PrimaryHDU(noise(), header(BMAJ=0.0025, BMIN=0.002, BPA=12.0)).writeto(tmp_path / "map.fits")
    write_sources(tmp_path, header(), [30], [31])
    _, (cutout,) = read(card(), tmp_path)
    found = [cutout.meta[name] for name in ("pixel_scale", "bmaj", "bmin", "bpa", "orientation_deg")]
    assert found == pytest.approx([3.6, 9.0, 7.2, 12.0, 0.0])


# Which tile


def test_a_source_is_cut_from_the_tile_in_which_it_is_farthest_from_the_edge(tmp_path):
    heads = {"west": header(), "east": header(ra=10.0 + 40 * SCALE_DEG / np.cos(np.radians(-30)))}
    for seed, (name, head) in enumerate(heads.items()):
        fits.PrimaryHDU(noise(seed), head).writeto(tmp_path / f"{name}.fits")
    # x falls to the East: 20 pixels of the 60 are on both tiles.
    write_sources(tmp_path, heads["west"], [5.0, 55.0, -30.0, 14.0, 200.0, np.nan], [30.0] * 6)
    table, found = read(card(), tmp_path)
    assert list(table["id_str"]) == [f"s{number}" for number in range(6)]
    assert list(table["file_loc"]) == ["east.fits", "west.fits", "east.fits", "west.fits", "", ""]
    assert list(table["rejected"]) == [""] * 4 + ["outside the mosaic", "no position"]
    assert [cutout.reason for cutout in found[4:]] == ["outside the mosaic", "no position"]
    np.testing.assert_array_equal(found[1].image[0], noise(0)[26:34, 51:59])
    np.testing.assert_array_equal(found[0].image[0], noise(1)[26:34, 41:49])
    files = mosaic_files(card(), find_source(card(), tmp_path), table)
    assert {path.name for path in files} == {"west.fits", "east.fits", "sources.csv"}


def test_a_table_that_names_the_tiles_is_believed_where_they_hold_the_source(tmp_path):
    for seed, name in enumerate(("a", "b")):
        fits.PrimaryHDU(noise(seed), header()).writeto(tmp_path / f"{name}.fits")
    fits.PrimaryHDU(noise(2), header(ra=40.0)).writeto(tmp_path / "far.fits")
    tiles = ["b.fits", "a.fits", "far.fits", "b.fits"]
    write_sources(tmp_path, header(), [30] * 4, [20, 30, 30, 40], tile=tiles)
    found = card(mosaic=CARD["mosaic"] | {"columns": {"file_loc": "tile"}})
    table, cutouts = read(found, tmp_path)
    assert list(table["file_loc"]) == ["b.fits", "a.fits", "", "b.fits"]
    assert isinstance(cutouts[2], Rejected)
    np.testing.assert_array_equal(cutouts[3].image[0], noise(1)[36:44, 26:34])


def test_one_mosaic_is_a_source_with_the_table_beside_it(tmp_path):
    for name in ("one", "two"):
        fits.PrimaryHDU(noise(), header()).writeto(tmp_path / f"{name}.fits")
    write_sources(tmp_path, header(), [30], [31])
    table, (cutout,) = read(card(), tmp_path / "two.fits")
    assert list(table["file_loc"]) == ["two.fits"]
    assert cutout.image.shape == (1, SIZE, SIZE)


def test_bands_are_aligned_on_the_sky(tmp_path):
    heads = {"g": header(), "r": header(CRPIX1=33.0, CRPIX2=25.0)}
    for name, head in heads.items():
        pixels = np.zeros((NUM, NUM), np.float32)
        pixels[int(head["CRPIX2"]) - 1, int(head["CRPIX1"]) - 1] = 1.0
        fits.PrimaryHDU(pixels, head).writeto(tmp_path / f"{name}.fits")
    write_sources(tmp_path, heads["g"], [29.0, 55.0], [29.0, 29.0])
    patterns = {band["name"]: f"{name}*.fits" for band, name in zip(BANDS, heads, strict=True)}
    found = card(
        bands=BANDS, products=product(shape=[2, SIZE, SIZE]), mosaic={"table": "sources.csv", "bands": patterns}
    )
    table, (cutout, edge) = read(found, tmp_path)
    assert list(table["file_loc_TEST-2GHz"]) == ["r.fits", "r.fits"]
    assert cutout.image[:, 4, 4].tolist() == [1.0, 1.0]
    assert edge.meta["edge_fraction"] == pytest.approx(2 / 8)  # in the second band, which has it at x = 58
    for name, factor in (("g", 1.0), ("r", 3.0)):
        fits.PrimaryHDU(factor * noise(), heads[name]).writeto(tmp_path / f"{name}.fits", overwrite=True)
    _, (cutout, _) = read(found, tmp_path)
    of_bands = [cutout.meta[f"rms_{band['name']}"] for band in BANDS]
    assert of_bands[1] == pytest.approx(3 * of_bands[0], rel=0.1)
    assert "rms" not in cutout.meta, "one number for bands whose noise differs"
    fits.PrimaryHDU(noise(), header(CDELT1=-1.5 * SCALE_DEG, CDELT2=1.5 * SCALE_DEG)).writeto(
        tmp_path / "r.fits", overwrite=True
    )
    _, (refused, _) = read(found, tmp_path)
    assert refused.reason == "other pixel scale"
    assert refused.detail.startswith("r.fits has 5.4 arcsec a pixel and g.fits 3.6: the bands")
    turned = {"PC1_1": np.cos(0.3), "PC1_2": -np.sin(0.3), "PC2_1": np.sin(0.3), "PC2_2": np.cos(0.3)}
    fits.PrimaryHDU(noise(), header(**turned)).writeto(tmp_path / "r.fits", overwrite=True)
    _, (refused, _) = read(found, tmp_path)
    assert refused.reason == "other orientation"


# Noise


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (3, 57), elements=st.floats(-100, 100, width=32) | st.just(np.nan) | st.just(np.inf)))
def test_fields_at_once_are_clipped_as_one_by_one(fields):
    wanted = []
    for field in fields.astype(np.float64):
        known = field[np.isfinite(field)]
        wanted.append(sigma_clipped_stats(known, sigma=3.0, maxiters=5)[2] if known.size else np.nan)
    np.testing.assert_allclose(clipped_stds(fields), wanted, rtol=1e-5, atol=1e-4)


def test_the_noise_is_that_of_the_neighbourhood(tmp_path):
    num = 600
    pixels = noise(num=num)
    pixels[:, 300:] *= 5
    pixels[100, 100] = 50.0
    head = header(num=num)
    fits.PrimaryHDU(pixels, head).writeto(tmp_path / "map.fits")
    write_sources(tmp_path, head, [100, 400], [100, 400])
    _, cutouts = read(card(), tmp_path)
    assert [cutout.meta["rms"] for cutout in cutouts] == pytest.approx([1e-3, 5e-3], rel=0.1)


# Scales


def test_a_tile_of_another_scale_is_refused_in_a_sentence_that_names_the_option(tmp_path):
    head = header(CDELT1=-1.5 * SCALE_DEG, CDELT2=1.5 * SCALE_DEG)
    fits.PrimaryHDU(noise(), head).writeto(tmp_path / "map.fits")
    write_sources(tmp_path, head, [30], [30])
    _, (refused,) = read(card(), tmp_path)
    assert refused.reason == "other pixel scale"
    assert refused.detail == (
        "map.fits has 5.4 arcsec a pixel, so that the card's field of 28.8 arcsec is 5.333 pixels of it and not 8: "
        "bring all cutouts to one scale with --pixel-scale 3.6, or give the product its size"
    )
    with pytest.raises(StoreError, match=r"--pixel-scale 3.6"):
        ingest(Survey(card()), tmp_path, tmp_path / "out.zarr")


def test_a_cutout_that_will_be_resampled_covers_the_field(tmp_path):
    head = header(CDELT1=-1.5 * SCALE_DEG, CDELT2=1.5 * SCALE_DEG)
    fits.PrimaryHDU(noise(), head).writeto(tmp_path / "map.fits")
    write_sources(tmp_path, head, [30, 25], [30, 20])
    _, cutouts = read(card(), tmp_path, resampled_arcsec=28.8)
    assert [cutout.image.shape for cutout in cutouts] == [(1, 14, 14)] * 2  # 6 pixels, and 4 more on each side
    found = card(beam={"value": {"bmaj_arcsec": 9.0, "bmin_arcsec": 9.0}})
    ingest(Survey(found), tmp_path, tmp_path / "out.zarr", options=IngestOptions(pixel_scale_arcsec=3.6))
    store = CutoutStore.open(tmp_path / "out.zarr")
    assert store.shape == (2, 1, SIZE, SIZE)
    assert store.catalog.column("pixel_scale").tolist() == pytest.approx([3.6, 3.6])


# The whole way


def test_edges_are_counted_in_the_store_and_too_many_missing_pixels_rejected(tmp_path):
    fits.PrimaryHDU(noise(), header()).writeto(tmp_path / "map.fits")
    write_sources(tmp_path, header(), [30, 3, 0, 500], [30, 30, 0, 30])
    info = ingest(Survey(card()), tmp_path, tmp_path / "out.zarr")
    assert info["rejected"] == {"missing pixels": 1, "outside the mosaic": 1}
    store = CutoutStore.open(tmp_path / "out.zarr")
    assert store.catalog.column("edge_fraction").tolist() == [0.0, 1 / 8]
    assert store.catalog.column("file_loc").tolist() == ["map.fits"] * 2


def test_batches_and_rejections_come_in_the_order_of_the_rows():
    def piece(places, size):
        images = np.array(places, np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 1, size, size), np.float32)
        return Piece(np.array(places), images, {"rms": np.array(places, float)}, "Jy")

    rejected = {2: Rejected("why")}
    found = list(in_row_order([piece([0, 1, 5], 2), piece([3, 4], 3)], rejected, 6))
    assert [len(item.images) if isinstance(item, CutoutBatch) else item.reason for item in found] == [2, "why", 2, 1]
    values = [item.images[:, 0, 0, 0].tolist() for item in found if isinstance(item, CutoutBatch)]
    assert values == [[0.0, 1.0], [3.0, 4.0], [5.0]]
    assert found[3].meta["rms"].tolist() == [5.0]


# What cannot be


def test_what_is_missing_is_said_in_one_sentence(tmp_path):
    write_sources(tmp_path, header(), [30], [31])
    fits.PrimaryHDU(noise(), header(ra=100.0)).writeto(tmp_path / "map.fits")
    with pytest.raises(
        DataError, match=r"no source of 'sources.csv' lies on a mosaic of .*: the first is at ra 9.99885, dec -29.998"
    ):
        read(card(), tmp_path)
    with pytest.raises(DataError, match=r"no mosaic in .* has a name like 'r/\*\.fits'"):
        read(card(mosaic={"table": "sources.csv", "images": "r/*.fits"}), tmp_path)
    with pytest.raises(DataError, match=r"gives bands files, and TEST-1.4GHz, X is on one side alone"):
        read(card(mosaic={"table": "sources.csv", "bands": {"X": "*.fits"}}), tmp_path)
    fits.PrimaryHDU(noise(), header(BUNIT="K")).writeto(tmp_path / "map.fits", overwrite=True)
    with pytest.raises(DataError, match=r"cannot be used \(unexpected unit: map\.fits is in 'K'"):
        read(card(), tmp_path)
    (tmp_path / "map.fits").write_bytes((tmp_path / "map.fits").read_bytes()[:9000])
    with pytest.raises(DataError, match="cannot be used"):
        read(card(), tmp_path)
    (tmp_path / "map.fits").write_bytes(b"no FITS at all" * 500)
    with pytest.raises(DataError, match=r"cannot be used \(not FITS: map\.fits"):
        read(card(), tmp_path)


def test_a_tile_that_vanishes_or_is_cut_short_after_the_catalogue_rejects_its_rows(tmp_path):
    fits.PrimaryHDU(noise(), header()).writeto(tmp_path / "map.fits")
    write_sources(tmp_path, header(), [30], [31])
    source = find_source(card(), tmp_path)
    table = mosaic_catalog(card(), source)
    raw = (tmp_path / "map.fits").read_bytes()
    (tmp_path / "map.fits").write_bytes(raw[:9000])
    (refused,) = mosaic_cutouts(card(), source, table)
    assert (refused.reason, refused.file) == ("truncated file", "map.fits")
    (tmp_path / "map.fits").unlink()
    (refused,) = mosaic_cutouts(card(), source, table)
    assert refused.reason == "missing file"


# Real maps


def test_a_real_map_with_blank_edges_is_cut_at_its_catalogue(data_dir, tmp_path):
    for name in ("1904-66_SIN.fits", "1904_comp.fits"):
        (tmp_path / name).symlink_to(data_dir / "radio-fits" / name)
    found = card(
        pixel_scale_arcsec=240.0,
        field_of_view_arcsec=240.0 * 16,
        products=product(shape=[1, 16, 16], pattern="1904-66*.fits"),
        mosaic={"table": "1904_comp.fits", "columns": {"id_str": "uuid"}},
    )
    table, cutouts = read(found, tmp_path)
    peaks = np.asarray(table["peak_flux"])
    taken = [place for place, cutout in enumerate(cutouts) if not isinstance(cutout, Rejected)]
    assert len(taken) == len(table)
    centres = np.array([np.nanmax(cutouts[place].image[0, 7:10, 7:10]) for place in taken])
    bright = peaks[taken] > 1.0
    assert bright.sum() > 10
    # The catalogue has peaks over the background, and the brightest pixel is near the fitted peak.
    np.testing.assert_allclose(centres[bright], peaks[taken][bright], rtol=0.2)
    assert cutouts[0].meta["bmaj"] == pytest.approx(864.0)
    assert any(np.isnan(cutout.image).any() for cutout in cutouts)


def test_images_without_a_sky_are_refused(data_dir, tmp_path):
    (tmp_path / "cube.fits").symlink_to(data_dir / "mirabest" / "mirabest_jy_per_beam_150px_rice.fits")
    write_sources(tmp_path, header(), [30], [31])
    with pytest.raises(DataError, match=r"not a sky image: cube\.fits: its axes are '' and ''"):
        read(card(), tmp_path)


def test_a_real_cube_is_cut_in_all_its_bands(data_dir, tmp_path):
    (tmp_path / "cube.fits").symlink_to(data_dir / "optical-fits" / "Cut_HSC1.fits")
    pixels, head = fits.getdata(tmp_path / "cube.fits", header=True)
    write_sources(tmp_path, head, [25], [24])
    five = [{"name": f"TEST-{name}", "unit": "adu", "wavelength_nm": 500} for name in "grizy"]
    found = card(
        bands=five,
        pixel_scale_arcsec=0.168,
        field_of_view_arcsec=0.168 * SIZE,
        products=product(shape=[5, SIZE, SIZE], unit="adu"),
    )
    _, (cutout,) = read(found, tmp_path)
    np.testing.assert_array_equal(cutout.image, pixels[:, 20:28, 21:29].astype(np.float32))
