"""VLA FIRST by its card alone, and that surveys agree on where North, East and an arcsecond are."""

import csv
import shutil

import numpy as np
import pytest
from astrofm_radio.mock_rgz import COLUMNS
from astrofm_radio.rgz import TABLES
from astropy.io import fits
from astropy.wcs import WCS

from astrofm import CutoutStore, plugins
from astrofm.data.ingest import ingest
from astrofm.testing import SurveyTests

EAST_ARCSEC, NORTH_ARCSEC = 90.0, 45.0
"""Where a second source stands from the first."""


class TestFIRST(SurveyTests):
    survey = "first"


def sky_header(card, ra, dec, num):
    """The header of an image as the VLA's imager writes it, with four axes and the keywords of its time."""
    scale_deg = card.pixel_scale_arcsec.value / 3600
    axes = {
        **{"CTYPE1": "RA---SIN", "CRVAL1": ra, "CRPIX1": num / 2, "CDELT1": -scale_deg, "CROTA1": 0.0},
        **{"CTYPE2": "DEC--SIN", "CRVAL2": dec, "CRPIX2": num / 2, "CDELT2": scale_deg, "CROTA2": 0.0},
        **{"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CRPIX3": 1.0, "CDELT3": 1e8},
        **{"CTYPE4": "STOKES", "CRVAL4": 1.0, "CRPIX4": 1.0, "CDELT4": 1.0},
    }
    return fits.Header({**axes, "BUNIT": "JY/BEAM", "EPOCH": 2000.0})


def two_sources(card, ra, dec, num):
    """One of 2 Jy at a position and one of 1 Jy to the North-East of it, in the beam and noise of a survey."""
    header = sky_header(card, ra, dec, num)
    east_deg = EAST_ARCSEC / 3600 / np.cos(np.radians(dec + NORTH_ARCSEC / 3600))
    x, y = WCS(header).celestial.wcs_world2pix([ra, ra + east_deg], [dec, dec + NORTH_ARCSEC / 3600], 0)
    grid_y, grid_x = np.indices((num, num))
    sigma_pix = card.resolution_arcsec / card.pixel_scale_arcsec.value / 2.3548
    image = np.random.default_rng(0).normal(0, 1e-4, (num, num))
    for place, jy in enumerate((2.0, 1.0)):
        image += jy * np.exp(-((grid_x - x[place]) ** 2 + (grid_y - y[place]) ** 2) / (2 * sigma_pix**2))
    return fits.PrimaryHDU(image[None, None].astype(np.float32), header)


def write_table(path, names, *rows):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([names, *rows])


def write_first(folder, card, ra, dec):
    """An archive of one image, in its folder, and the catalogue of VizieR."""
    (folder / "10000").mkdir(parents=True)
    two_sources(card, ra, dec, 300).writeto(folder / "10000" / "10000+30000A.fits")
    write_table(folder / "first.csv", ["FIRST", "_RAJ2000", "_DEJ2000"], ["J100000.0+300000", ra, dec])
    return folder


def write_nvss(folder, card, ra, dec):
    folder.mkdir()
    two_sources(card, ra, dec, 64).writeto(folder / "one.fits")
    write_table(folder / "nvss.csv", ["NVSS", "_RAJ2000", "_DEJ2000"], ["one", ra, dec])
    return folder


def write_rgz(folder, card, ra, dec):
    folder.mkdir()
    two_sources(card, ra, dec, 150).writeto(folder / "RGZ_J1.fits")
    names = ["CatID", "RGZID", "RA", "Dec", "LAE"]
    assert set(names) <= set(COLUMNS)
    write_table(folder / next(iter(TABLES)), names, [1, "RGZ_J1", ra, dec, 40.0])
    return folder


def peaks(image, scale_arcsec):
    """Places (y, x) of the brightest pixel and of the brightest one that is more than 40 arcsec away from it."""
    first = np.unravel_index(np.nanargmax(image), image.shape)
    grid_y, grid_x = np.indices(image.shape)
    is_far = np.hypot(grid_y - first[0], grid_x - first[1]) * scale_arcsec > 40.0
    second = np.unravel_index(np.argmax(np.where(is_far, image, -np.inf)), image.shape)
    return np.array(first), np.array(second)


@pytest.mark.parametrize(("name", "write"), [("first", write_first), ("nvss", write_nvss), ("rgz", write_rgz)])
def test_the_same_sky_has_one_orientation_and_angular_scale_in_each_survey(name, write, tmp_path):
    survey = plugins.survey(name)
    ingest(survey, write(tmp_path / "archive", survey.card, 150.0, 30.0), tmp_path / "store.zarr")
    store = CutoutStore.open(tmp_path / "store.zarr")
    (image,) = store.read(slice(0, 1))[:, 0]
    scale = store.catalog.column("pixel_scale")[0]
    assert scale == pytest.approx(survey.card.pixel_scale_arcsec.value, rel=1e-3)
    first, second = peaks(image, scale)
    assert np.abs(first - np.array(image.shape) // 2).max() <= 1
    north_arcsec, east_arcsec = (second - first) * scale * np.array([1, -1])
    assert north_arcsec == pytest.approx(NORTH_ARCSEC, abs=scale)
    assert east_arcsec == pytest.approx(EAST_ARCSEC, abs=scale)
    assert image.max() == pytest.approx(2.0, rel=0.1)


def test_a_row_beside_the_images_is_counted_and_a_beam_in_the_history_goes_before_the_cards(tmp_path):
    survey = plugins.survey("first")
    folder = write_first(tmp_path / "archive", survey.card, 150.0, 2.0)
    with fits.open(folder / "10000" / "10000+30000A.fits", mode="update") as hdus:
        hdus[0].header["HISTORY"] = "AIPS   CLEAN BMAJ=  1.7778E-03 BMIN=  1.5000E-03 BPA=   0.00"
    with (folder / "first.csv").open("a") as stream:
        stream.write("J110000.0+300000,165.0,30.0\n")
    info = ingest(survey, folder, tmp_path / "store.zarr")
    assert info["rejected"] == {"outside the mosaic": 1}
    catalog = CutoutStore.open(tmp_path / "store.zarr").catalog
    assert catalog.column("file_loc").tolist() == ["10000/10000+30000A.fits"]
    assert catalog.column("bmaj")[0] == pytest.approx(6.4, abs=1e-3)
    assert catalog.column("bmin")[0] == pytest.approx(5.4, abs=1e-3)


def test_a_mock_has_the_beam_unit_pixels_and_noise_of_the_card_and_splits_by_blocks(tmp_path):
    survey = plugins.survey("first")
    info = ingest(survey, survey.mock(60, 1, tmp_path / "archive"), tmp_path / "first.zarr")
    assert info["rejected"] == {}
    assert info["shape"] == [60, 1, 150, 150]
    store = CutoutStore.open(tmp_path / "first.zarr")
    assert store.product.unit == "Jy/beam"
    catalog = store.catalog
    for column, value in {"pixel_scale": 1.8, "bmaj": 5.4, "bmin": 5.4, "edge_fraction": 0.0}.items():
        np.testing.assert_allclose(catalog.column(column), value, rtol=1e-3)
    assert np.all((catalog.column("rms") > 1e-4) & (catalog.column("rms") < 3e-4))
    cells, splits = catalog.column("_healpix_29") >> 2 * (29 - 5), catalog.column("split")
    assert all(len(set(splits[cells == cell])) == 1 for cell in np.unique(cells))


def test_a_real_image_of_first_gives_the_pixels_that_rgz_takes(data_dir, tmp_path):
    """A file that SkyView made of FIRST, read as a mosaic and as a cutout."""
    file = sorted((data_dir / "mirabest" / "fits").glob("*.fits"))[1]  # the first one has missing data
    header = fits.getheader(file)
    # SkyView puts the position on the corner of four pixels: a quarter of a pixel to the North-West is in one of them.
    dec = header["CRVAL2"] + 0.45 / 3600
    ra = header["CRVAL1"] - 0.45 / 3600 / np.cos(np.radians(dec))
    folder = tmp_path / "first"
    folder.mkdir()
    shutil.copyfile(file, folder / "one.fits")
    write_table(folder / "first.csv", ["FIRST", "_RAJ2000", "_DEJ2000"], ["J1", ra, dec])
    other = tmp_path / "rgz"
    other.mkdir()
    shutil.copyfile(file, other / "RGZ_J1.fits")
    write_table(other / next(iter(TABLES)), ["RGZID", "RA", "Dec", "LAE"], ["RGZ_J1", ra, dec, 40.0])
    images = {}
    for survey, source in (("first", folder), ("rgz", other)):
        ingest(plugins.survey(survey), source, tmp_path / f"{survey}.zarr")
        images[survey] = CutoutStore.open(tmp_path / f"{survey}.zarr").read(slice(0, 1))[0, 0]
    np.testing.assert_array_equal(images["first"], images["rgz"])
    assert np.nanmax(images["first"]) > 0.01
    first, second = (CutoutStore.open(tmp_path / f"{survey}.zarr").catalog for survey in ("first", "rgz"))
    assert first.column("pixel_scale")[0] == second.column("pixel_scale")[0] == pytest.approx(1.8)
