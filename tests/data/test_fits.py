import csv
import gzip
import io
import pickle
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.fits_plain import plain_image
from astrofm.data.files.orientation import east_left
from astrofm.data.files.placement import Position, outside
from astrofm.data.fits import read_cutout
from astrofm.data.images import read_picture
from astrofm.data.units import unit_factor
from astrofm.forms import Extensions

SCALE_DEG = 5e-4


def sky_header(**cards):
    header = fits.Header()
    plain = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 5.0, "CRPIX2": 4.0}
    for key, value in (plain | {"CDELT1": -SCALE_DEG, "CDELT2": SCALE_DEG} | cards).items():
        if value is not None:
            header[key] = value
    return header


def pixels(shape=(7, 9), dtype=np.float32):
    return np.random.default_rng(0).normal(0, 1, shape).astype(dtype)


def write(path, data, *, hdu=fits.PrimaryHDU, **cards):
    written = hdu(data, header=sky_header(**cards))
    hdus = [written] if isinstance(written, fits.PrimaryHDU) else [fits.PrimaryHDU(), written]
    fits.HDUList(hdus).writeto(path)
    return path


# What archives hold


@pytest.mark.parametrize("shape", [(7, 9), (1, 7, 9), (1, 1, 7, 9)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.dtype(">f8"), np.int16])
def test_all_ways_to_write_a_plane_are_read_into_one_form(tmp_path, shape, dtype):
    data = (100 * pixels(shape)).astype(dtype)
    more = {f"CTYPE{axis}": kind for axis, kind in ((3, "FREQ"), (4, "STOKES")) if axis <= len(shape)}
    cutout = read_cutout(write(tmp_path / "a.fits", data, **more))
    assert cutout.image.dtype == np.dtype("float32")
    assert cutout.image.dtype.isnative
    np.testing.assert_array_equal(cutout.image, data.reshape(1, 7, 9).astype(np.float32))
    assert cutout.wcs.naxis == 2
    assert cutout.meta["pixel_scale"] == pytest.approx(1.8)


def test_the_planes_of_a_cube_are_bands_without_a_common_noise(tmp_path):
    data = pixels((3, 7, 9))
    cutout = read_cutout(write(tmp_path / "a.fits", data))
    np.testing.assert_array_equal(cutout.image, data)
    assert not any(name.startswith("rms") for name in cutout.meta)
    assert read_cutout(write(tmp_path / "b.fits", pixels((2, 3, 7, 9)))).reason == "not an image"


def test_the_noise_of_each_plane_is_told_under_the_name_of_its_band(tmp_path):
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(3, 64, 64)) * np.array([1.0, 5.0, 2.0])[:, None, None]).astype(np.float32)
    data[:, 20:24, 30:34] = 1e3  # a source is not noise
    data[2] = np.nan
    data[0, 5, 5] = 60_000
    path = write(tmp_path / "a.fits", data, SATURATE=50_000)
    meta = read_cutout(path, bands=("g", "r", "z")).meta
    assert meta["rms_g"] == pytest.approx(1.0, rel=0.05)
    assert meta["rms_r"] == pytest.approx(5.0, rel=0.05)
    assert not {"rms", "rms_z"} & meta.keys()
    assert "rms_g" not in read_cutout(path, bands=("g", "r")).meta, "names of another number of bands"


def test_scaled_integers_come_out_in_their_unit_with_nan_for_blank(tmp_path):
    raw = np.arange(63, dtype=np.int16).reshape(7, 9)
    path = write(tmp_path / "a.fits", raw)
    fits.setval(path, "BLANK", value=5)
    fits.setval(path, "BSCALE", value=0.5)
    fits.setval(path, "BZERO", value=-3.0)
    image = read_cutout(path).image.ravel()
    assert np.flatnonzero(np.isnan(image)).tolist() == [5]
    np.testing.assert_array_equal(np.delete(image, 5), np.delete(0.5 * np.arange(63) - 3.0, 5))


def test_infinite_pixels_were_not_observed(tmp_path):
    data = pixels()
    data[0, 0], data[1, 1] = np.inf, -np.inf
    image = read_cutout(write(tmp_path / "a.fits", data)).image
    assert np.isnan(image).sum() == 2
    assert read_cutout(write(tmp_path / "b.fits", np.full((7, 9), 1e300))).image.dtype == np.float32


def test_an_image_in_an_extension_is_found(tmp_path):
    data = pixels()
    image = read_cutout(write(tmp_path / "a.fits", data, hdu=fits.ImageHDU)).image
    np.testing.assert_array_equal(image[0], data)


def test_compressed_images_are_read(tmp_path):
    data = (1000 * pixels((32, 40))).astype(np.int32)
    rice = write(tmp_path / "a.fits.fz", data, hdu=fits.CompImageHDU)
    np.testing.assert_array_equal(read_cutout(rice).image[0], data)
    packed = tmp_path / "b.fits.gz"
    packed.write_bytes(gzip.compress(write(tmp_path / "b.fits", data).read_bytes()))
    np.testing.assert_array_equal(read_cutout(packed).image[0], data)


def test_the_beam_is_in_arcsec(tmp_path):
    cutout = read_cutout(write(tmp_path / "a.fits", pixels(), BMAJ=0.0015, BMIN=0.001, BPA=-30.0))
    assert [cutout.meta[key] for key in ("bmaj", "bmin", "bpa")] == pytest.approx([5.4, 3.6, -30.0])
    assert "bmaj" not in read_cutout(write(tmp_path / "b.fits", pixels(), BMAJ=0.0, BMIN=0.0)).meta


def test_the_noise_is_the_clipped_standard_deviation_of_what_was_observed(tmp_path):
    data = pixels((50, 60))
    data[:5] = np.nan
    data[20:23, 20:23] = 50.0
    measured = read_cutout(write(tmp_path / "a.fits", data)).meta["rms"]
    assert measured == float(sigma_clipped_stats(data[5:].ravel(), sigma=3, maxiters=5)[2])
    assert measured == pytest.approx(1.0, abs=0.05)
    assert "rms" not in read_cutout(tmp_path / "a.fits", measure_rms=False).meta
    assert "rms" not in read_cutout(write(tmp_path / "b.fits", np.full((7, 9), np.nan))).meta


def test_the_beam_is_read_from_the_history_where_no_keyword_has_it(tmp_path):
    path = write(tmp_path / "a.fits", pixels())
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.add_history("AIPS   CLEAN BMAJ=  2.0000E-03 BMIN=  2.0000E-03 BPA=   1.00")
        hdus[0].header.add_history("AIPS   CLEAN BMAJ=  1.5000E-03 BMIN=  1.2000E-03 BPA= -20.00 / last")
    cutout = read_cutout(path)
    assert [cutout.meta[key] for key in ("bmaj", "bmin", "bpa")] == pytest.approx([5.4, 4.32, -20.0])
    fits.setval(path, "BMAJ", value=0.001)
    assert read_cutout(path).meta["bmaj"] == pytest.approx(3.6)
    packed = tmp_path / "b.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels(), header=cutout.header)]).writeto(packed)
    assert read_cutout(packed).meta["bmin"] == pytest.approx(4.32)


def test_saturated_pixels_are_masked_and_have_no_part_in_the_noise(tmp_path):
    data = pixels((40, 50))
    data[3, 4], data[5, 6] = 900.0, 1000.0
    cutout = read_cutout(write(tmp_path / "a.fits", data, SATURATE=900.0, CDELT1=SCALE_DEG))
    assert np.argwhere(cutout.mask).tolist() == [[3, 45], [5, 43]]
    assert cutout.image[0, 3, 45] == 900.0
    left = np.delete(data[:, ::-1].ravel(), [3 * 50 + 45, 5 * 50 + 43])
    assert cutout.meta["rms"] == float(sigma_clipped_stats(left, sigma=3, maxiters=5)[2])
    faint = read_cutout(write(tmp_path / "d.fits", data, SATURATE=0.5)).meta["rms"]
    assert faint == float(sigma_clipped_stats(data[data < 0.5], sigma=3, maxiters=5)[2])
    assert read_cutout(write(tmp_path / "b.fits", data, SATURATE=2000.0)).mask is None
    assert read_cutout(write(tmp_path / "c.fits", data, SATURATE=0.0)).mask is None


# Plain files, which are read without astropy

VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(-1e30, 1e30),
    st.text("abcXYZ /=.-+_0123456789", max_size=30),
)


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_-]{3,6}", fullmatch=True), VALUES, max_size=40),
    st.sampled_from([np.uint8, np.int16, np.int32, np.float32, np.float64]),
    st.sampled_from([(5, 6), (1, 5, 6), (3, 5, 6), (1, 1, 40, 50)]),
)
def test_a_plain_file_is_read_as_by_astropy(cards, dtype, shape):
    header = fits.Header()
    for key, value in cards.items():
        header[key] = (value, "a comment with /") if len(str(value)) < 20 else value
    header.add_history("BITPIX = nothing, END of it")
    held = io.BytesIO()
    fits.PrimaryHDU(np.arange(np.prod(shape), dtype=dtype).reshape(shape), header).writeto(held)
    found = plain_image(held.getvalue())
    with fits.open(io.BytesIO(held.getvalue())) as hdus:
        np.testing.assert_array_equal(found.pixels, hdus[0].data)
        for key in [key for key in hdus[0].header if key not in ("HISTORY", "COMMENT", "")]:
            expected = hdus[0].header[key]
            assert (type(found.keywords[key]), found.keywords[key]) == (type(expected), expected), key
        assert repr(found.header) == repr(hdus[0].header)
        assert set(found.keywords) == set(hdus[0].header)
        assert ("NOTHERE" in found.keywords, found.keywords.get("NOTHERE", 3)) == (False, 3)


def test_the_first_of_two_cards_counts_and_odd_values_are_left_to_astropy():
    held = io.BytesIO()
    fits.PrimaryHDU(
        pixels(), sky_header(FIRST=1.0, SECOND=2.0, EXPONENT=1.0, EMPTY="x", QUOTED="'J2000' / O'Neill")
    ).writeto(held)
    raw = held.getvalue().replace(b"SECOND  ", b"FIRST   ", 1)
    raw = raw.replace(b"EXPONENT=                  1.0", b"EXPONENT=              1.5D-03", 1)
    raw = raw.replace(b"EMPTY   = 'x       '", b"EMPTY   =           ", 1)
    keywords = plain_image(raw).keywords
    assert (keywords["FIRST"], keywords["EXPONENT"]) == (1.0, 1.5e-3)
    assert (keywords["EMPTY"], keywords["QUOTED"]) == (None, "'J2000' / O'Neill")


def test_what_is_not_plain_is_left_to_astropy(tmp_path):
    whole = write(tmp_path / "a.fits", pixels()).read_bytes()
    fits.setval(write(tmp_path / "b.fits", pixels((7, 9), np.int16)), "BSCALE", value=2.0)
    scaled = (tmp_path / "b.fits").read_bytes()
    with io.BytesIO() as held:
        fits.HDUList([fits.PrimaryHDU(pixels()), fits.ImageHDU(pixels())]).writeto(held)
        several = held.getvalue()
    assert plain_image(whole) is not None
    assert plain_image(whole[:-2600]) is not None  # the filling of the last block is no data
    for raw in (scaled, several, whole[:2880], whole[:1000], b"", b"END" * 100, whole.replace(b"NAXIS2 ", b"NAXIX2 ")):
        assert plain_image(raw) is None


# Extensions


def write_extensions(path, *, version=1, more=(), **cards):
    science, flags = pixels((40, 50)) + 100 * version, np.zeros((40, 50), np.int16)
    science[2, 3], flags[2, 3], flags[4, 5] = 1e6, 5, 2
    errors = np.full((40, 50), 0.25 * version, np.float32)
    errors[0, 0], errors[1, 1] = np.nan, 0.0
    hdus = [
        fits.ImageHDU(science, sky_header(BUNIT="mJy/beam", **cards), name="SCI", ver=version),
        fits.ImageHDU(errors, name="ERR", ver=version),
        fits.ImageHDU(flags, name="DQ", ver=version),
    ]
    fits.HDUList([*more, *hdus] if more else [fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def test_flags_and_errors_beside_the_science_image_are_used(tmp_path):
    path = write_extensions(tmp_path / "a.fits")
    cutout = read_cutout(path, unit="Jy/beam")
    assert np.argwhere(cutout.mask).tolist() == [[2, 3], [4, 5]]
    assert cutout.meta["rms"] == pytest.approx(0.25e-3)
    assert cutout.image[0, 2, 3] == pytest.approx(1e3)
    of_one_bit = read_cutout(path, extensions=Extensions(quality_bits=4))
    assert np.argwhere(of_one_bit.mask).tolist() == [[2, 3]]
    assert read_cutout(path, extensions=Extensions(quality_bits=8)).mask is None
    packed = tmp_path / "b.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_cutout(packed).mask, cutout.mask)


def test_flags_turn_with_the_image(tmp_path):
    cutout = read_cutout(write_extensions(tmp_path / "a.fits", CDELT2=-SCALE_DEG))
    assert (cutout.meta["flip_x"], cutout.meta["flip_y"]) == (0.0, 1.0)
    assert np.argwhere(cutout.mask).tolist() == [[35, 5], [37, 3]]
    assert cutout.image[0, 37, 3] == 1e6


def test_an_extension_is_named_by_name_version_or_number(tmp_path):
    first = fits.open(write_extensions(tmp_path / "a.fits"))
    path = write_extensions(tmp_path / "b.fits", version=2, more=first)
    first.close()
    for named, median, rms in [("", 100, 0.25), ("SCI", 100, 0.25), ("sci,2", 200, 0.5), ("4", 200, 0.5)]:
        cutout = read_cutout(path, extensions=Extensions(image=named))
        assert np.median(cutout.image) == pytest.approx(median, abs=1)
        assert cutout.meta["rms"] == pytest.approx(rms)
    crossed = read_cutout(path, extensions=Extensions(image="SCI,2", error="ERR,1", quality="DQ,1", quality_bits=2))
    assert crossed.meta["rms"] == pytest.approx(0.25)
    assert np.argwhere(crossed.mask).tolist() == [[4, 5]]
    errors = read_cutout(path, extensions=Extensions(image="ERR"))
    assert (errors.mask, float(np.nanmedian(errors.image))) == (None, 0.25)
    rejected = read_cutout(path, extensions=Extensions(image="WHT"))
    assert rejected.reason == "no such extension"
    assert rejected.detail.startswith("b.fits has no image extension 'WHT'; it has 1 SCI,1, 2 ERR,1, 3 DQ,1, 4 SCI,2")


def test_keywords_are_inherited_from_the_primary_header_where_the_extension_says_so(tmp_path):
    primary = fits.PrimaryHDU(header=fits.Header({"BMAJ": 0.0015, "SATURATE": 5e5}))
    cutout = read_cutout(write_extensions(tmp_path / "a.fits", more=[primary], INHERIT=True))
    assert cutout.meta["bmaj"] == pytest.approx(5.4)
    assert "bmaj" not in read_cutout(write_extensions(tmp_path / "b.fits", more=[primary])).meta


def test_an_inherited_wcs_turns_the_image_as_its_own_would(tmp_path):
    data, sky = pixels(), sky_header(CDELT1=5e-4)
    alone = read_cutout(write(tmp_path / "a.fits", data, CDELT1=5e-4))
    science = fits.ImageHDU(data, fits.Header({"INHERIT": True}), name="SCI")
    fits.HDUList([fits.PrimaryHDU(header=sky), science]).writeto(tmp_path / "b.fits")
    inherited = read_cutout(tmp_path / "b.fits")
    np.testing.assert_array_equal(inherited.image, alone.image)
    assert inherited.meta == alone.meta
    assert inherited.meta["flip_x"] == 1.0
    np.testing.assert_allclose(inherited.wcs.wcs_pix2world(3, 4, 0), alone.wcs.wcs_pix2world(3, 4, 0))


def test_flags_of_another_shape_are_a_reason(tmp_path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(pixels(), name="SCI"), fits.ImageHDU(np.ones((3, 3), np.int16), name="DQ")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    assert read_cutout(tmp_path / "a.fits").reason == "other quality shape"


# Where the source should be


@pytest.mark.parametrize(
    ("ra", "dec", "is_inside"),
    [
        (150.0, 2.0, True),
        (150.003, 2.003, True),  # outside by less than the image is wide
        (150.1, 2.0, False),
        (150.0, 2.1, False),
        (10.0, 2.0, False),
        (330.0, -2.0, False),  # the other side of the sky
        (float("nan"), float("nan"), True),
    ],
)
def test_a_source_must_lie_in_its_image(tmp_path, ra, dec, is_inside):
    read = read_cutout(write(tmp_path / "a.fits", pixels()), position=Position(ra, dec))
    assert isinstance(read, Cutout) == is_inside
    if not is_inside:
        assert read.reason == "position outside the image"
        assert read.detail == (
            f"a.fits: the catalogue has it at ra, dec {ra:g} {dec:g} deg, the image at 150 2"
            + (": its right ascension is in hours; give the column that unit" if ra == 10.0 else "")
        )


def test_positions_are_not_compared_where_the_header_does_not_tell(tmp_path):
    far = Position(10.0, -40.0)
    for name, cards in {
        "B1950": {"EQUINOX": 1950.0},
        "FK4": {"RADESYS": "FK4"},
        "galactic": {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
        "all sky": {"CTYPE1": "RA---AIT", "CTYPE2": "DEC--AIT"},
        "turned": {"LONPOLE": 90.0},
        "turned otherwise": {"PV1_3": 90.0},
        "nowhere": {"CRVAL2": "unknown"},
    }.items():
        assert isinstance(read_cutout(write(tmp_path / f"{name}.fits", pixels(), **cards), position=far), Cutout), name


def test_a_header_with_the_default_pole_tells_as_well(tmp_path):
    """As astropy writes it into every header."""
    read = read_cutout(write(tmp_path / "a.fits", pixels(), LONPOLE=180.0), position=Position(10.0, -40.0))
    assert read.reason == "position outside the image"
    inside = read_cutout(write(tmp_path / "b.fits", pixels(), LONPOLE=180.0), position=Position(150.0, 2.0))
    assert isinstance(inside, Cutout)
    pole = {"LONPOLE": 180.0, "CRVAL2": 90.0}  # there 180 degrees turn the image
    assert isinstance(read_cutout(write(tmp_path / "c.fits", pixels(), **pole), position=Position(10.0, -40.0)), Cutout)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["TAN", "SIN", "ARC", "ZEA", "STG"]),
    st.floats(-85, 85),
    st.floats(-180, 180),
    st.sampled_from([-9000.0, -300.0, 5.0, 300.0, 9000.0]),
    st.floats(0, 8.9),
    st.floats(0, 6.9),
)
def test_no_pixel_of_an_image_is_outside_of_it(kind, dec, angle_deg, crpix, x, y):
    # Also where the cutout was taken far from the reference point of its mosaic.
    header = sky_header(CTYPE1=f"RA---{kind}", CTYPE2=f"DEC--{kind}", CRVAL2=dec, CRPIX1=crpix, CRPIX2=-crpix)
    header["CROTA2"] = angle_deg
    held = io.BytesIO()
    fits.PrimaryHDU(pixels(), header).writeto(held)
    ra, dec_there = WCS(fits.Header.fromstring(held.getvalue()[:2880])).wcs_pix2world(x, y, 0)
    if np.isfinite(ra):
        assert outside(plain_image(held.getvalue()).keywords, Position(float(ra), float(dec_there))) == ""


# Units


@pytest.mark.parametrize(
    ("found", "wanted", "factor"),
    [
        ("JY/BEAM", "Jy/beam", 1.0),
        ("Jy beam-1", "Jy / beam", 1.0),
        ("mJy/beam", "Jy/beam", 1e-3),
        ("nanomaggies", "nanomaggy", 1.0),
        ("ELECTRONS/S", "electron / s", 1.0),
        ("ADU", "ADU", 1.0),
        ("MJy/beam", "mJy/beam", 1e9),
        ("MJY/BEAM", "Jy/beam", None),
        ("K", "Jy/beam", None),
        ("8-bit", "Jy/beam", None),
    ],
)
def test_units_are_compared_by_what_they_mean(found, wanted, factor):
    assert unit_factor(found, wanted) == (factor if factor is None else pytest.approx(factor))


def test_brightness_comes_in_the_unit_asked_for(tmp_path):
    data = pixels()
    path = write(tmp_path / "a.fits", data, BUNIT="mJy/beam")
    cutout = read_cutout(path, unit="Jy/beam")
    assert cutout.unit == "Jy/beam"
    np.testing.assert_allclose(cutout.image[0], data * 1e-3, rtol=1e-6)
    assert cutout.meta["rms"] == pytest.approx(read_cutout(path).meta["rms"] * 1e-3)
    rejected = read_cutout(path, unit="nanomaggy")
    assert (rejected.reason, "'mJy/beam'" in rejected.detail) == ("unexpected unit", True)
    assert read_cutout(write(tmp_path / "b.fits", data), unit="nanomaggy").unit == "nanomaggy"


# Orientation

LINEAR = {
    "cdelt": lambda m: {"CDELT1": m[0, 0], "CDELT2": m[1, 1]},
    "cd": lambda m: {"CDELT1": None, "CDELT2": None} | {f"CD{i + 1}_{j + 1}": m[i, j] for i in (0, 1) for j in (0, 1)},
    "pc": lambda m: {"CDELT1": 1.0, "CDELT2": 1.0} | {f"PC{i + 1}_{j + 1}": m[i, j] for i in (0, 1) for j in (0, 1)},
    "pc_scaled": lambda m: (
        {"CDELT1": -2.0, "CDELT2": 3.0}
        | {f"PC{i + 1}_{j + 1}": m[i, j] / (-2.0, 3.0)[i] for i in (0, 1) for j in (0, 1)}
    ),
    "crota": lambda m: {
        "CDELT1": np.sign(np.linalg.det(m)) * np.hypot(m[0, 0], m[1, 0]),
        "CDELT2": np.hypot(m[0, 1], m[1, 1]),
        "CROTA2": np.degrees(np.arctan2(-m[0, 1] * np.sign(np.linalg.det(m)), m[1, 1])),
    },
}


AXES = {
    "as usual": {},
    "DEG": {"CUNIT1": "DEG", "CUNIT2": "degree"},
    "arcsec": {"CUNIT1": "arcsec", "CUNIT2": "arcsec"},
    "North first": {},
}


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from(sorted(LINEAR)),
    st.sampled_from(sorted(AXES)),
    st.sampled_from([-1, 1]),
    st.sampled_from([0.0, 180.0, 90.0, 33.0, -120.0]),
)
def test_mirroring_moves_the_sky_with_the_pixels(form, axes, parity, angle_deg):
    assume(form != "crota" or axes != "North first")
    turn = np.radians(0.0 if form == "cdelt" else angle_deg)
    matrix = SCALE_DEG * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag([parity, 1])
    header = sky_header(NAXIS=2, NAXIS1=9, NAXIS2=7, **LINEAR[form](matrix * (3600 if axes == "arcsec" else 1)))
    header.update(AXES[axes])
    if axes == "arcsec":
        header.update({f"CRVAL{axis}": header[f"CRVAL{axis}"] * 3600 for axis in (1, 2)})
    if axes == "North first":
        swapped = {f"{key}{axis}": header[f"{key}{3 - axis}"] for key in ("CTYPE", "CRVAL") for axis in (1, 2)}
        header.update(swapped)
    image = np.arange(63.0).reshape(1, 7, 9)
    before = WCS(header)
    turned, moved, meta = east_left(image, header)
    after = WCS(moved)

    y, x = np.mgrid[:7, :9]
    old_y, old_x = np.divmod(turned[0].astype(int), 9)
    np.testing.assert_allclose(after.wcs_pix2world(x, y, 0), before.wcs_pix2world(old_x, old_y, 0), atol=1e-10)
    own = after.pixel_scale_matrix[:: -1 if axes == "North first" else 1]
    assert np.linalg.det(own) < 0
    if np.allclose(own[0, 1], 0, atol=1e-9):
        assert own[1, 1] > 0
    assert meta["orientation_deg"] == pytest.approx(np.degrees(np.arctan2(own[0, 1], own[1, 1])), abs=1e-6)
    assert meta["pixel_scale"] == pytest.approx(1.8)
    assert (meta["flip_x"], meta["flip_y"]) == (float(old_x[0, 0] > old_x[0, 1]), float(old_y[0, 0] > old_y[1, 0]))
    np.testing.assert_array_equal(east_left(turned, moved)[0], turned)


def test_an_image_in_the_orientation_of_the_sky_is_left_alone():
    image, header = pixels((1, 7, 9)), sky_header(NAXIS=2, NAXIS1=9, NAXIS2=7)
    same, same_header, meta = east_left(image, header)
    assert same is image
    assert same_header is header
    assert (meta["flip_x"], meta["flip_y"], meta["orientation_deg"]) == (0.0, 0.0, 0.0)


def test_what_is_not_the_sky_is_rejected_and_what_says_nothing_is_taken(tmp_path):
    spectrum = write(tmp_path / "a.fits", pixels(), CTYPE1="WAVE", CTYPE2="LINEAR")
    assert read_cutout(spectrum).reason == "not a sky image"
    bare = tmp_path / "b.fits"
    fits.PrimaryHDU(pixels()).writeto(bare)
    assert set(read_cutout(bare).meta) == {"rms"}


@pytest.mark.parametrize("odd", [{"LONPOLE": 0.0}, {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-9, "B_2_0": 1e-9}])
def test_headers_that_need_astropy_give_the_same_pixel_scale_and_are_not_turned(tmp_path, odd):
    usual = read_cutout(write(tmp_path / "a.fits", pixels(), LONPOLE=180.0))
    cutout = read_cutout(write(tmp_path / "b.fits", pixels(), **odd))
    assert cutout.meta["pixel_scale"] == pytest.approx(1.8)
    assert "flip_x" in usual.meta
    assert "flip_x" not in cutout.meta


def test_a_header_that_gives_no_scale_has_none(tmp_path):
    cutout = read_cutout(write(tmp_path / "a.fits", pixels(), CDELT1=None, CDELT2=None))
    assert set(cutout.meta) == {"rms"}


# What cannot be read


def damaged(folder: Path):
    whole = write(folder / "whole.fits", pixels((200, 200))).read_bytes()
    packed = gzip.compress(whole)
    broken = packed[:500] + bytes(50) + packed[550:]
    with io.BytesIO() as held:
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])]).writeto(
            held
        )
        table = held.getvalue()
    with io.BytesIO() as held:
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels((200, 200)))]).writeto(held)
        rice = held.getvalue()
    return {
        "data cut off": (".fits", whole[:50_000], "truncated file"),
        "no data": (".fits", whole[:2880], "truncated file"),
        "header cut off": (".fits", whole[:1000], "truncated file"),
        "gzip cut off": (".fits.gz", packed[: len(packed) // 2], "truncated file"),
        "gzip broken": (".fits.gz", broken, "damaged file"),
        "rice broken": (".fits.fz", rice[:20_000] + bytes(4000) + rice[24_000:], "damaged file"),
        "keyword lost": (".fits", whole.replace(b"NAXIS1 ", b"NAXIX1 ", 1), "damaged file"),
        "scale is text": (
            ".fits",
            whole.replace(b"  -0.0005", b"   'text'", 1),
            "damaged file",
        ),
        "scale is garbage": (".fits", whole.replace(b"  -0.0005", b"  -0.0.(5", 1), "damaged file"),
        "rice cut off": (".fits.fz", rice[: len(rice) // 2], "truncated file"),
        "empty": (".fits", b"", "not FITS"),
        "a web page": (".fits", b"<html>404</html>", "not FITS"),
        "a table": (".fits", table, "no image"),
        "header only": (".fits", fits.PrimaryHDU().header.tostring().encode(), "no image"),
    }


CASES = (
    *("data cut off", "no data", "header cut off", "gzip cut off", "gzip broken", "rice cut off"),
    *("rice broken", "keyword lost", "scale is text", "scale is garbage"),
    *("empty", "a web page", "a table", "header only"),
)


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_cannot_be_read_is_a_reason_and_not_an_exception(tmp_path, case):
    suffix, content, reason = damaged(tmp_path)[case]
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    rejected = read_cutout(path)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.file) == (reason, path.name)
    assert path.name in rejected.detail
    assert "\n" not in rejected.detail


def test_a_file_that_is_not_there_is_a_reason(tmp_path):
    assert read_cutout(tmp_path / "absent.fits").reason == "missing file"


# Real files


def test_every_real_file_is_a_cutout_or_a_reason(data_dir):
    reasons = {}
    for folder in ("decals-fits", "lotss", "mirabest", "mirabest/fits", "optical-fits", "radio-fits"):
        for path in sorted((data_dir / folder).glob("*.fits*")):
            read = read_cutout(path, measure_rms=False)
            if isinstance(read, Rejected):
                reasons[path.name] = read.reason
                continue
            assert read.image.ndim == 3
            assert read.image.dtype == np.float32
            if read.wcs is not None and read.wcs.has_celestial:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    expected = np.sqrt(np.prod(proj_plane_pixel_scales(WCS(fits.getheader(path)).celestial))) * 3600
                assert read.meta["pixel_scale"] == pytest.approx(expected, rel=1e-9)
    assert reasons == {
        "example_incomplete.fits": "truncated file",
        "gordon_joint_catalog_no_cuts_second.fits": "no image",
        "1904_comp.fits": "no image",
        "Mingo19_LoMorph_Cat.fits": "no image",
    }


def test_a_map_with_unobserved_edges_keeps_them_and_its_beam(data_dir):
    cutout = read_cutout(data_dir / "radio-fits" / "1904-66_SIN.fits", unit="Jy/beam")
    assert np.isnan(cutout.image).any()
    assert cutout.unit == "Jy/beam"
    assert cutout.meta["bmaj"] == pytest.approx(864.0)
    assert np.isfinite(cutout.meta["rms"])


class PlainUnpickler(pickle.Unpickler):
    """Build arrays and containers, and nothing else."""

    def find_class(self, module, name):
        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype", "scalar"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not data")


def published_images(archive, batches):
    with tarfile.open(archive) as opened:
        for member in opened:
            name = Path(member.name).name
            if name in batches:
                yield name, PlainUnpickler(io.BytesIO(opened.extractfile(member).read()), encoding="latin1").load()


def test_the_noise_reproduces_published_images_bit_for_bit(data_dir):
    folder = data_dir / "mirabest"
    with (folder / "mirabest_index.csv").open() as file:
        index = {row["name"]: row for row in csv.DictReader(file)}
    files = [path for path in sorted((folder / "fits").glob("*.fits")) if path.stem in index]
    wanted = {index[path.stem]["batch"] for path in files}
    published = dict(published_images(folder / "MiraBest_F_batches.tar.gz", wanted))
    y, x = np.mgrid[:150, :150]
    inside = (y - 75) ** 2 + (x - 75) ** 2 <= 75**2
    assert len(files) == 26
    for path in files:
        row, cutout = index[path.stem], read_cutout(path, unit="Jy/beam")
        assert isinstance(cutout, Cutout)
        assert cutout.meta["rms"] == float(row["rms300_jy_beam"])
        image = np.where(cutout.image[0] <= 3 * cutout.meta["rms"], np.float32(0), cutout.image[0])[75:225, 75:225]
        image = np.where(inside, image, np.float32(0))
        low, high = image[inside].min(), image[inside].max()
        stretched = np.where(inside, (image - low) / (high - low) * 255, 0).astype(np.uint8)
        np.testing.assert_array_equal(stretched, published[row["batch"]]["data"][int(row["batch_index"])])


# Pictures


def test_the_top_row_of_a_picture_is_north(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    cutout = read_picture(tmp_path / "a.png")
    assert cutout.image.shape == (3, 6, 8)
    assert cutout.image.dtype == np.uint8
    np.testing.assert_array_equal(cutout.image[:, -1], rgb[0].T)
    held = read_picture(io.BytesIO((tmp_path / "a.png").read_bytes()))
    np.testing.assert_array_equal(held.image, cutout.image)


def test_transparent_pixels_are_masked(tmp_path):
    rgba = np.full((4, 5, 4), 200, dtype=np.uint8)
    rgba[0, 0, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    cutout = read_picture(tmp_path / "a.png")
    assert cutout.image.shape == (3, 4, 5)
    assert np.argwhere(cutout.mask).tolist() == [[3, 0]]


def test_a_picture_that_cannot_be_read_is_a_reason(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for suffix in ("png", "jpg"):
        Image.fromarray(noise).save(tmp_path / f"whole.{suffix}")
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes((tmp_path / f"whole.{suffix}").read_bytes()[:900])
        assert read_picture(cut).reason == "truncated file"
    Image.fromarray(noise.astype(np.uint16)).save(tmp_path / "deep.png")
    assert read_picture(tmp_path / "deep.png").reason == "not 8-bit"
    bomb = Image.new("1", (14000, 14000))
    bomb.save(tmp_path / "bomb.png")
    assert read_picture(tmp_path / "bomb.png").reason == "too large"
    (tmp_path / "page.jpg").write_text("<html>")
    assert read_picture(tmp_path / "page.jpg").reason == "not a picture"
    assert read_picture(tmp_path / "absent.jpg").reason == "missing file"
