import pickle
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling.fitting import TRFLSQFitter
from astropy.modeling.models import Gaussian2D
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.card import Beam, SurveyCard
from astrofm.data.changes.beams import beam_covariance
from astrofm.data.changes.prepare import Preparation
from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.noise import clipped_std
from astrofm.data.fits import read_cutout
from astrofm.data.options import NO_CHANGES, IngestOptions
from astrofm.data.units import Geometry, brightness_factor
from astrofm.errors import UnknownNameError, UsageError

FWHM_OF_SIGMA = np.sqrt(8 * np.log(2))
SCALE_ARCSEC = 1.8
UNKNOWN = {"unknown": "the FITS headers"}

RADIO = {
    "name": "test-radio",
    "title": "Radio",
    "domain": "radio",
    "reference": "made for tests",
    "bands": [{"name": "TEST-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
    "pixel_scale_arcsec": SCALE_ARCSEC,
    "field_of_view_arcsec": 180.0,
    "beam": {"value": {"bmaj_arcsec": 6.4, "bmin_arcsec": 5.4, "bpa_deg": 20.0}},
    "products": {
        "fits": {"pattern": "*.fits", "shape": [1, 100, 100], "unit": "Jy/beam", "dtype": "float32"},
        "pictures": {"pattern": "*.png", "shape": [1, 100, 100], "unit": "", "dtype": "uint8"},
        "stretched": {
            "pattern": "*.npy",
            "shape": [1, 100, 100],
            "unit": "Jy/beam",
            "dtype": "float32",
            "stretch_applied": "asinh",
        },
    },
    "splits": {"scheme": "published"},
    "citation": "@misc{tiny}",
    "hard": "nothing",
    "recipe": "none",
    "quick_recipe": "none",
    "folder": {"table": "table.csv"},
}
OPTICAL = RADIO | {
    "domain": "optical",
    "bands": [{"name": f"TEST-{band}", "unit": "nanomaggy", "wavelength_nm": 500.0} for band in "gr"],
    "pixel_scale_arcsec": 0.3,
    "field_of_view_arcsec": 24.0,
    "beam": None,
    "psf_fwhm_arcsec": 1.2,
    "products": {"fits": {"pattern": "*.fits", "shape": [2, 80, 80], "unit": "nanomaggy", "dtype": "float32"}},
}


def radio(**changes):
    return SurveyCard.model_validate(RADIO | changes)


def preparation(card=None, product="fits", **options):
    return Preparation(IngestOptions(**options), radio() if card is None else card, product)


def source(beam, scale=SCALE_ARCSEC, num=100, flux=1.0, unit="Jy/beam", place=(0.0, 0.0), **meta):
    """A point source as a beam draws it, off the centre by ``place`` arcsec (y, x)."""
    turned = np.linalg.inv(beam_covariance(beam, meta.get("orientation_deg", 0.0)))
    offset = (np.indices((num, num)) - num // 2) * scale - np.array(place)[:, None, None]
    peak = np.exp(-0.5 * np.einsum("iyx,ij,jyx->yx", offset, turned, offset))
    meta |= {"pixel_scale": scale, "bmaj": beam.bmaj_arcsec, "bmin": beam.bmin_arcsec, "bpa": beam.bpa_deg}
    factor = brightness_factor("Jy/beam", unit, Geometry(scale, beam.bmaj_arcsec, beam.bmin_arcsec, 1.4e9))
    return Cutout((flux * factor * peak).astype(np.float32)[None], unit, meta=meta)


def flux(cutout):
    """Flux in Jy of all pixels, by what the cutout says of itself."""
    known = Geometry(cutout.meta["pixel_scale"], cutout.meta["bmaj"], cutout.meta["bmin"], 1.4e9)
    return np.nansum(cutout.image, dtype=float) * brightness_factor(cutout.unit, "Jy/pixel", known)


def fitted_fwhm(cutout):
    """Full widths at half maximum in arcsec, the larger first, by a least-squares fit."""
    image = np.asarray(cutout.image[0], float)
    y, x = np.indices(image.shape)
    top = np.unravel_index(image.argmax(), image.shape)
    start = Gaussian2D(image.max(), top[1], top[0], 3.0, 2.5, 0.1)
    model = TRFLSQFitter()(start, x, y, image)
    widths = np.abs([model.x_stddev.value, model.y_stddev.value]) * FWHM_OF_SIGMA * cutout.meta["pixel_scale"]
    return np.sort(widths)[::-1]


beams = st.builds(
    lambda bmaj, ratio, bpa: Beam(bmaj_arcsec=bmaj, bmin_arcsec=bmaj * ratio, bpa_deg=bpa),
    st.floats(7, 10),
    st.floats(0.6, 1),
    st.floats(-180, 180),
)
places = st.tuples(st.floats(-5, 5), st.floats(-5, 5))
turns = st.floats(-180, 180)

# Flux


@settings(deadline=None, max_examples=30)
@given(
    beams,
    st.sampled_from(["Jy/beam", "mJy/beam", "Jy/pixel", "MJy/sr", "K"]),
    places,
    turns,
    st.none() | st.floats(10.2, 20),
    st.none() | st.floats(0.9, 4),
    st.sampled_from(["", "Jy/beam", "Jy/pixel", "MJy/sr", "K"]),
)
def test_a_source_keeps_its_flux_whatever_is_done_to_it(beam, unit, place, turn, target, scale, wanted):
    cutout = source(beam, unit=unit, place=place, orientation_deg=turn)
    assert flux(cutout) == pytest.approx(1.0, rel=1e-5)
    found = preparation(beam_arcsec=target, pixel_scale_arcsec=scale, unit=wanted)(cutout)
    assert found.unit == (wanted or unit)
    assert found.meta["pixel_scale"] == (scale or SCALE_ARCSEC)
    assert found.meta["bmaj"] == (target or beam.bmaj_arcsec)
    assert flux(found) == pytest.approx(1.0, rel=2e-4)


@settings(deadline=None, max_examples=10)
@given(beams, turns, st.floats(10.2, 20))
def test_a_source_has_the_beam_asked_for_by_a_fit(beam, turn, target):
    found = preparation(beam_arcsec=target)(source(beam, orientation_deg=turn))
    np.testing.assert_allclose(fitted_fwhm(found), target, rtol=2e-3)
    assert found.image.max() == pytest.approx(1.0, rel=2e-3)  # Jy/beam: the peak of a point source is its flux


def test_optical_bands_get_one_psf_and_keep_their_sums():
    star = source(Beam(bmaj_arcsec=1.2, bmin_arcsec=1.2), scale=0.3, num=80).image
    cutout = Cutout(np.concatenate([star, 2 * star]), "nanomaggy", meta={"pixel_scale": 0.3})
    wanted = preparation(SurveyCard.model_validate(OPTICAL), beam_arcsec=2.0, pixel_scale_arcsec=0.5, unit="nJy")
    found = wanted(cutout)
    assert found.image.shape == (2, 48, 48)
    sums = np.nansum(found.image, axis=(1, 2), dtype=float)
    np.testing.assert_allclose(sums, 3631 * star.sum(dtype=float) * np.array([1, 2]), rtol=1e-4)
    assert "bmaj" not in found.meta
    after = wanted.card_after()
    assert after.psf_fwhm_arcsec.value == 2.0
    assert {band.unit for band in after.bands} == {"nJy"}
    assert after.beam is None


# The sense of angles


def drawn_on_the_sky(path, beam, **cards):
    """Write a FITS file of a point source whose beam was drawn on the sky, by astropy."""
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 40.0} | cards)
    header.update({"CRPIX1": 51.0, "CRPIX2": 51.0, "BUNIT": "Jy/beam", "BPA": beam.bpa_deg})
    header.update({"BMAJ": beam.bmaj_arcsec / 3600, "BMIN": beam.bmin_arcsec / 3600})
    y, x = np.indices((101, 101))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sky = WCS(header).pixel_to_world(x, y)
    middle = SkyCoord(150.0, 40.0, unit="deg")
    away, angle = middle.separation(sky).arcsec, middle.position_angle(sky) - beam.bpa_deg * u.deg
    along, across = away * np.cos(angle), away * np.sin(angle)
    image = np.exp(-4 * np.log(2) * ((along / beam.bmaj_arcsec) ** 2 + (across / beam.bmin_arcsec) ** 2))
    fits.PrimaryHDU(image.value.astype(np.float32), header).writeto(path)
    return path


UPRIGHT = {"CDELT1": -5e-4, "CDELT2": 5e-4}
TURNED = {"CD1_1": -4e-4, "CD1_2": 3e-4, "CD2_1": 3e-4, "CD2_2": 4e-4}
MIRRORED = {"CD1_1": 4e-4, "CD1_2": 3e-4, "CD2_1": -3e-4, "CD2_2": 4e-4}
DISTORTED = {"A_ORDER": 2, "A_2_0": 1e-12, "B_ORDER": 2, "B_2_0": 1e-12}
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}


@pytest.mark.parametrize(
    "cards",
    [
        UPRIGHT,
        {"CDELT1": 5e-4, "CDELT2": 5e-4},
        {"CDELT1": 5e-4, "CDELT2": -5e-4},
        UPRIGHT | {"CROTA2": 30.0},
        TURNED,
        MIRRORED,
        TURNED | DISTORTED | SIP,
        MIRRORED | DISTORTED | SIP,
    ],
)
@pytest.mark.parametrize("bpa", [30.0, -60.0])
def test_the_position_angle_of_the_header_is_that_on_the_sky(tmp_path, cards, bpa):
    beam = Beam(bmaj_arcsec=12.0, bmin_arcsec=6.0, bpa_deg=bpa)
    cutout = read_cutout(drawn_on_the_sky(tmp_path / "a.fits", beam, **cards))
    np.testing.assert_allclose(fitted_fwhm(cutout), [12.0, 6.0], rtol=2e-3)
    np.testing.assert_allclose(fitted_fwhm(preparation(beam_arcsec=14.0)(cutout)), 14.0, rtol=2e-3)


@pytest.mark.parametrize("options", [{"pixel_scale_arcsec": 3.0}, {"field_of_view_arcsec": 90.0}, {"beam_arcsec": 14}])
def test_the_header_goes_along(tmp_path, options):
    cutout = read_cutout(drawn_on_the_sky(tmp_path / "a.fits", Beam(bmaj_arcsec=9, bmin_arcsec=9), **TURNED))
    found = preparation(**options, unit="Jy/pixel")(cutout)
    y, x = (int(size) // 2 for size in found.image.shape[1:])
    assert np.unravel_index(np.nanargmax(found.image[0]), found.image.shape[1:]) == (y, x)
    place = found.wcs.pixel_to_world(x, y)
    assert place.separation(SkyCoord(150.0, 40.0, unit="deg")).arcsec < 1e-6
    scale = np.sqrt(np.abs(np.linalg.det(found.wcs.pixel_scale_matrix))) * 3600
    assert scale == pytest.approx(found.meta["pixel_scale"])
    assert found.header["BMAJ"] * 3600 == pytest.approx(found.meta["bmaj"])
    assert (found.header["BUNIT"], found.header["NAXIS1"]) == ("Jy/pixel", found.image.shape[2])
    assert cutout.header["BUNIT"] == "Jy/beam"


# What stays


def test_nothing_is_done_where_nothing_is_asked_for():
    cutout, nothing = source(Beam(bmaj_arcsec=9, bmin_arcsec=9)), Preparation(NO_CHANGES, radio(), "fits")
    assert nothing(cutout) is cutout
    assert nothing.card_after() is nothing.card
    assert preparation(keep_bits=7)(cutout) is cutout


def test_what_an_image_already_has_leaves_its_pixels_alone():
    cutout = source(Beam(bmaj_arcsec=9, bmin_arcsec=9))
    asked = {"beam_arcsec": 9, "pixel_scale_arcsec": SCALE_ARCSEC, "field_of_view_arcsec": 180, "unit": "JY/BEAM"}
    assert preparation(**asked)(cutout).image is cutout.image


def test_missing_and_masked_pixels_stay_so():
    image = np.ones((1, 100, 100), np.float32)
    image[0, :20] = np.nan
    mask = np.zeros((100, 100), bool)
    mask[60:80] = True
    image[0, 60:80] = 1e6
    found = preparation(beam_arcsec=15, pixel_scale_arcsec=3.6)(Cutout(image, "MJy/sr", mask))
    assert found.image.shape == (1, 50, 50)
    assert np.isnan(found.image[0, :10]).all()
    np.testing.assert_allclose(found.image[0, 11:30, 1:], 1.0, rtol=1e-4)
    assert found.mask[31:39].all()
    assert not found.mask[11:30, 1:].any()


def test_the_field_is_cropped_or_padded_about_the_centre_pixel():
    cutout = source(Beam(bmaj_arcsec=9, bmin_arcsec=9))
    small, large = (preparation(field_of_view_arcsec=field)(cutout) for field in (90.0, 270.0))
    np.testing.assert_array_equal(small.image, cutout.image[:, 25:75, 25:75])
    np.testing.assert_array_equal(large.image[:, 25:125, 25:125], cutout.image)
    assert np.isnan(large.image).sum() == 150**2 - 100**2
    pictures = preparation(product="pictures", field_of_view_arcsec=90.0)
    assert pictures(Cutout(np.ones((1, 100, 100), np.uint8), "")).image.dtype == np.uint8


def test_the_noise_is_that_of_the_result():
    rng = np.random.default_rng(0)
    white = Cutout(rng.normal(0, 1, (1, 100, 100)).astype(np.float32), "Jy/beam", meta={"rms": 1.0})
    for options in ({"beam_arcsec": 10}, {"pixel_scale_arcsec": 3.0}):
        found = preparation(**options)(white)
        assert found.meta["rms"] == clipped_std(found.image)
        assert found.meta["rms"] != 1.0
    assert preparation(unit="mJy/beam")(white).meta["rms"] == pytest.approx(1000.0)
    assert preparation(field_of_view_arcsec=90)(white).meta["rms"] == 1.0  # of the full field
    assert "rms" not in preparation(beam_arcsec=10)(Cutout(white.image, "Jy/beam")).meta


def test_the_noise_of_each_band_is_that_of_the_result():
    image = (
        np.random.default_rng(0).normal(0, 1, (2, 80, 80)).astype(np.float32) * np.array([1, 5], "f4")[:, None, None]
    )
    two = Cutout(image, "nanomaggy", meta={"rms_TEST-g": 1.0, "rms_TEST-r": 5.0})
    found = preparation(SurveyCard.model_validate(OPTICAL), pixel_scale_arcsec=0.6)(two)
    for band, of_band in zip("gr", found.image, strict=True):
        assert found.meta[f"rms_TEST-{band}"] == clipped_std(of_band)
    assert found.meta["rms_TEST-r"] == pytest.approx(5 * found.meta["rms_TEST-g"], rel=0.1)
    in_nano = preparation(SurveyCard.model_validate(OPTICAL), unit="uJy")(two)
    factor = float(in_nano.image[0, 0, 0] / image[0, 0, 0])
    assert in_nano.meta == {"rms_TEST-g": pytest.approx(factor), "rms_TEST-r": pytest.approx(5 * factor)}


def test_other_bands_are_left_to_those_who_refuse_them():
    cube = Cutout(np.zeros((3, 100, 100), np.float32), "Jy/beam")
    assert preparation(beam_arcsec=10)(cube) is cube


def test_it_travels_to_other_processes():
    asked = preparation(beam_arcsec=10, pixel_scale_arcsec=3, unit="Jy/pixel")
    asked(source(Beam(bmaj_arcsec=9, bmin_arcsec=9)))
    there = pickle.loads(pickle.dumps(asked))
    assert there == asked
    assert there.card_after() == asked.card_after()


# The card


def test_the_card_after_is_that_of_what_is_stored():
    asked = preparation(beam_arcsec=10, pixel_scale_arcsec=3, field_of_view_arcsec=90, unit="MJy/sr")
    after = SurveyCard.model_validate(asked.card_after().model_dump())
    product = after.products["fits"]
    assert (product.shape, product.unit, product.pixel_scale_arcsec) == ((1, 30, 30), "MJy/sr", 3.0)
    assert after.beam.value == Beam(bmaj_arcsec=10, bmin_arcsec=10)
    assert after.resolution_arcsec == 10
    assert after.field_of_view_arcsec.value == 90
    assert after.bands[0].unit == "MJy/sr"
    assert after.products["pictures"] == asked.card.products["pictures"]
    assert asked(source(Beam(bmaj_arcsec=9, bmin_arcsec=9))).image.shape == product.shape


@pytest.mark.parametrize(
    ("options", "changes", "shape"),
    [
        ({"pixel_scale_arcsec": 3.0}, {}, (1, 60, 60)),
        ({"pixel_scale_arcsec": 3.0}, {"pixel_scale_arcsec": UNKNOWN}, (1, 60, 60)),
        ({"field_of_view_arcsec": 100.0}, {}, (1, 56, 56)),
        ({"field_of_view_arcsec": 100.0, "pixel_scale_arcsec": 3.0}, {"pixel_scale_arcsec": UNKNOWN}, (1, 33, 33)),
        ({"beam_arcsec": 9.0}, {"beam": UNKNOWN}, (1, 100, 100)),
        ({"unit": "K"}, {}, (1, 100, 100)),
    ],
)
def test_the_size_follows_from_field_and_pixel_scale(options, changes, shape):
    asked = preparation(radio(**changes), **options)
    assert asked.card_after().products["fits"].shape == shape
    assert asked(source(Beam(bmaj_arcsec=6, bmin_arcsec=6))).image.shape == shape


ARRAYS = {"folder": None, "arrays": {"images": "x"}}


@pytest.mark.parametrize(
    ("product", "options", "changes", "said"),
    [
        ("pictures", {"pixel_scale_arcsec": 3}, {}, "holds 8-bit values"),
        ("stretched", {"beam_arcsec": 9}, {}, "after the stretch 'asinh'"),
        ("fits", {"unit": "m/s"}, {}, "'Jy/beam' cannot be converted to 'm/s'"),
        ("fits", {"field_of_view_arcsec": 90}, {"pixel_scale_arcsec": UNKNOWN}, "no fixed number of pixels"),
        (
            "fits",
            {"pixel_scale_arcsec": 3},
            {"pixel_scale_arcsec": UNKNOWN, "field_of_view_arcsec": UNKNOWN},
            "knows neither",
        ),
        ("fits", {"field_of_view_arcsec": 0.5}, {}, "holds no pixel"),
        ("fits", {"pixel_scale_arcsec": 3}, ARRAYS | {"pixel_scale_arcsec": UNKNOWN}, "settled by the FITS headers"),
        ("fits", {"beam_arcsec": 9}, ARRAYS | {"beam": UNKNOWN}, "does not know their beam"),
    ],
)
def test_what_can_be_done_to_no_cutout_is_refused_at_once(product, options, changes, said):
    with pytest.raises(UsageError, match=said):
        preparation(radio(**changes), product, **options)


def test_a_magnitude_is_not_resampled():
    products = {"fits": RADIO["products"]["fits"] | {"unit": "mag/arcsec2"}}
    with pytest.raises(UsageError, match="neither a flux nor a brightness"):
        preparation(radio(products=products), pixel_scale_arcsec=3)
    with pytest.raises(UnknownNameError, match="no product of 'test-radio' named 'fitz'"):
        preparation(product="fitz", pixel_scale_arcsec=3)


@pytest.mark.parametrize(
    ("options", "changes", "meta", "reason", "said"),
    [
        ({"beam_arcsec": 9}, {"beam": UNKNOWN}, {}, "unknown beam", "has no bmaj and bmin, the card says unknown"),
        ({"beam_arcsec": 9}, {}, {"bmaj": 12.0, "bmin": 4.0}, "beam too large", "12 x 4 arcsec does not fit into one"),
        ({"beam_arcsec": 181}, {}, {}, "beam too large", "smaller than the beam of 181"),
        ({"beam_arcsec": 9}, {"pixel_scale_arcsec": UNKNOWN}, {}, "unknown pixel scale", "has no pixel_scale"),
        ({"pixel_scale_arcsec": 3}, {"pixel_scale_arcsec": UNKNOWN}, {}, "unknown pixel scale", "has no pixel_scale"),
        ({"field_of_view_arcsec": 90}, {}, {"pixel_scale": 2.0}, "other pixel scale", "2 arcsec a pixel, where"),
        ({"unit": "Jy/pixel"}, {"beam": UNKNOWN}, {}, "unit not convertible", "needs the beam"),
    ],
)
def test_a_cutout_that_lacks_what_is_needed_is_a_reason(options, changes, meta, reason, said):
    found = preparation(radio(**changes), **options)(Cutout(np.ones((1, 100, 100), np.float32), "Jy/beam", meta=meta))
    assert isinstance(found, Rejected)
    assert found.reason == reason
    assert said in found.detail


# Real images


def first_images(folder):
    bright = ("200_129.713+025.454", "100_141.413+036.452", "200_135.909+017.729", "100_131.189+021.492")
    for name in bright:
        (path,) = (folder / "mirabest" / "fits").glob(f"{name}*.fits")
        cutout = read_cutout(path, unit="Jy/beam")
        yield Cutout(cutout.image, cutout.unit, meta=cutout.meta | {"bmaj": 5.4, "bmin": 5.4, "bpa": 0.0})


def flux_around_the_centre(cutout, half_arcsec):
    scale = cutout.meta["pixel_scale"]
    offset = np.abs(np.arange(cutout.image.shape[1]) - cutout.image.shape[1] // 2) * scale
    inside = np.clip((half_arcsec - offset) / scale + 0.5, 0, 1)
    return flux(Cutout(cutout.image * inside[:, None] * inside, cutout.unit, meta=cutout.meta))


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"beam_arcsec": 15}, 0.015),  # the wings of the wider beam, and sidelobes, cross the edge of the square
        ({"pixel_scale_arcsec": 3}, 0.002),
        ({"beam_arcsec": 15, "pixel_scale_arcsec": 3, "unit": "MJy/sr"}, 0.015),
    ],
)
def test_first_sources_keep_their_flux_in_another_beam_and_on_other_pixels(data_dir, options, tolerance):
    card = radio(beam={"value": {"bmaj_arcsec": 5.4, "bmin_arcsec": 5.4}})
    for cutout in first_images(data_dir):
        found = preparation(card, **options, field_of_view_arcsec=540)(cutout)
        before, after = (flux_around_the_centre(each, 120) for each in (cutout, found))
        assert after == pytest.approx(before, rel=tolerance)
        assert found.meta["rms"] > 0


def test_a_decals_cube_in_nanojansky_is_3631_times_that_in_nanomaggies(data_dir):
    cutout = read_cutout(data_dir / "decals-fits" / "example_a.fits", unit="nanomaggy")
    bands = [{"name": f"DECam-{band}", "unit": "nanomaggy", "wavelength_nm": 600.0} for band in "grz"]
    products = {"cube": OPTICAL["products"]["fits"] | {"shape": [3, 424, 424]}}
    card = SurveyCard.model_validate(OPTICAL | {"bands": bands, "products": products})
    found = preparation(card, "cube", unit="nJy")(cutout)
    np.testing.assert_allclose(found.image, cutout.image * 3631, rtol=1e-6)
    assert (found.unit, found.header["BUNIT"]) == ("nJy", "nJy")
    coarse = preparation(card, "cube", pixel_scale_arcsec=4 * cutout.meta["pixel_scale"], field_of_view_arcsec=42.4)
    sums = np.nansum(coarse(cutout).image, axis=(1, 2), dtype=float)
    np.testing.assert_allclose(sums, cutout.image.sum(axis=(1, 2), dtype=float), rtol=0.02)
