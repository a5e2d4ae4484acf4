"""Whatever the projection, the source is the centre pixel of its cutout."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrofm.card import SurveyCard
from astrofm.data.forms.mosaic import mosaic_catalog, mosaic_cutouts
from astrofm.survey import find_source

NUM_Y, NUM_X = 61, 74


def card(size=(9, 9), **changes):
    return SurveyCard.model_validate(
        {
            "name": "tiles",
            "title": "Tiles",
            "domain": "radio",
            "reference": "made for tests",
            "bands": [{"name": "TEST-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
            "pixel_scale_arcsec": {"unknown": "the header of each tile"},
            "field_of_view_arcsec": {"unknown": "the header of each tile"},
            "beam": {"unknown": "the header of each tile"},
            "products": {"map": {"pattern": "*.fits", "shape": [1, *size], "unit": "Jy/beam", "dtype": "float32"}},
            "splits": {"scheme": "by-id"},
            "citation": "@misc{tiles}",
            "hard": "nothing",
            "recipe": "none",
            "quick_recipe": "none",
            "mosaic": {"table": "sources.csv"},
        }
        | changes
    )


@st.composite
def headers(draw):
    """Any linear WCS of a map: projection, rotation, scale, handedness, place on the sky."""
    angle = np.radians(draw(st.floats(0, 360)))
    scale_deg = draw(st.floats(0.3, 60)) / 3600
    east = draw(st.sampled_from([-1.0, 1.0]))
    projection = draw(st.sampled_from(["TAN", "SIN", "ZEA", "CAR"]))
    ra_deg = draw(st.sampled_from([0.0, 359.9999, 0.0001, 10.0, 271.3]))
    # CAR is skewed away from the equator; poles are for the others.
    dec_deg = 0.0 if projection == "CAR" else draw(st.sampled_from([0.0, -30.0, 89.999, -89.9999, 90.0, 63.2]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale_deg * turn @ np.diag([east, 1.0])
    header = fits.Header({"CTYPE1": f"RA---{projection}", "CTYPE2": f"DEC--{projection}"})
    header.update({"CRVAL1": ra_deg, "CRVAL2": dec_deg, "RADESYS": "ICRS", "BUNIT": "Jy/beam"})
    header.update({"CRPIX1": draw(st.floats(-20, 90)), "CRPIX2": draw(st.floats(-20, 90))})
    header.update({f"CD{i + 1}_{j + 1}": matrix[i, j] for i in (0, 1) for j in (0, 1)})
    return header


def cut(folder, pixels, header, x, y, survey_card):
    """Cut at pixel positions of a map that is written for it."""
    fits.PrimaryHDU(pixels, header).writeto(folder / "map.fits", overwrite=True)
    ra, dec = WCS(header).wcs_pix2world(x, y, 0)
    Table({"id_str": [f"s{i}" for i in range(len(ra))], "ra": ra % 360, "dec": dec}).write(
        folder / "sources.csv", overwrite=True
    )
    source = find_source(survey_card, folder)
    table = mosaic_catalog(survey_card, source)
    (batch,) = mosaic_cutouts(survey_card, source, table)
    return batch


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=headers(),
    place=st.tuples(st.integers(0, NUM_X - 1), st.integers(0, NUM_Y - 1)),
    within=st.tuples(st.floats(-0.49, 0.49), st.floats(-0.49, 0.49)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_a_bright_pixel_at_a_position_is_the_centre_of_its_cutout(header, place, within, size, tmp_path):
    pixels = np.zeros((NUM_Y, NUM_X), np.float32)
    pixels[place[1], place[0]] = 7.0
    x, y = ([float(np.clip(p + d, -0.45, n - 0.55))] for p, d, n in zip(place, within, (NUM_X, NUM_Y), strict=True))
    batch = cut(tmp_path, pixels, header, x, y, card(size))
    (image,) = batch.images[:, 0]
    assert image.shape == size
    assert image[size[0] // 2, size[1] // 2] == 7.0
    assert np.nansum(image) == 7.0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    flips=st.tuples(st.booleans(), st.booleans()),
)
def test_cutouts_are_those_of_astropy_pixel_for_pixel(seed, size, flips, tmp_path):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=(NUM_Y, NUM_X)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    x, y = rng.integers(0, NUM_X, 12), rng.integers(0, NUM_Y, 12)
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0})
    header.update({"CRPIX1": 30.0, "CRPIX2": 30.0, "CDELT1": -1e-3, "CDELT2": 1e-3})
    steps = [-1 if flipped else 1 for flipped in flips]
    stored = pixels[:: steps[1], :: steps[0]]
    for axis, (flipped, num) in enumerate(zip(flips, (NUM_X, NUM_Y), strict=True), start=1):
        if flipped:
            header[f"CDELT{axis}"] *= -1
            header[f"CRPIX{axis}"] = num + 1 - header[f"CRPIX{axis}"]
    at_x = NUM_X - 1 - x if flips[0] else x
    at_y = NUM_Y - 1 - y if flips[1] else y
    batch = cut(tmp_path, stored, header, at_x, at_y, card(size))
    for image, px, py in zip(batch.images[:, 0], x, y, strict=True):
        wanted = Cutout2D(pixels, (int(px), int(py)), size, mode="partial", fill_value=np.nan)
        np.testing.assert_array_equal(image, wanted.data)
    inside = [
        Cutout2D(np.ones((NUM_Y, NUM_X)), (int(a), int(b)), size, mode="partial", fill_value=0).data
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(batch.meta["edge_fraction"], [1 - part.mean() for part in inside], atol=1e-12)


@pytest.mark.parametrize("frame", ["GLON", "FK5", "FK4"])
def test_a_map_in_another_frame_is_cut_at_the_same_sky(frame, tmp_path):
    from astropy.coordinates import SkyCoord

    header = fits.Header(
        {"CRPIX1": 37.0, "CRPIX2": 31.0, "CDELT1": -1e-3, "CDELT2": 1e-3, "CRVAL1": 30.0, "CRVAL2": 5.0}
    )
    lon, lat = ("GLON", "GLAT") if frame == "GLON" else ("RA--", "DEC-")
    header.update({"CTYPE1": f"{lon}-TAN", "CTYPE2": f"{lat}-TAN"})
    if frame != "GLON":
        header.update({"RADESYS": frame, "EQUINOX": 2000.0 if frame == "FK5" else 1950.0})
    pixels = np.arange(NUM_Y * NUM_X, dtype=np.float32).reshape(NUM_Y, NUM_X)
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "map.fits")
    sky = WCS(header).pixel_to_world([12, 50], [40, 22]).icrs
    assert isinstance(sky, SkyCoord)
    Table({"id_str": ["a", "b"], "ra": sky.ra.deg, "dec": sky.dec.deg}).write(tmp_path / "sources.csv")
    source = find_source(card(), tmp_path)
    (batch,) = mosaic_cutouts(card(), source, mosaic_catalog(card(), source))
    assert batch.images[:, 0, 4, 4].tolist() == [pixels[40, 12], pixels[22, 50]]


def test_a_distorted_tile_is_followed_through_its_distortion(tmp_path):
    header = fits.Header({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 150.0, "CRVAL2": 2.0})
    header.update({"CRPIX1": 30.0, "CRPIX2": 30.0, "CD1_1": -1e-3, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-3})
    header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2e-3, "B_0_2": -2e-3})
    pixels = np.arange(NUM_Y * NUM_X, dtype=np.float32).reshape(NUM_Y, NUM_X)
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "map.fits")
    wcs = WCS(header)
    straight, bent = wcs.wcs_pix2world(65, 55, 0), wcs.all_pix2world(65, 55, 0)
    assert abs(straight[0] - bent[0]) > 2e-3  # two pixels
    Table({"id_str": ["a"], "ra": [float(bent[0])], "dec": [float(bent[1])]}).write(tmp_path / "sources.csv")
    source = find_source(card((3, 3)), tmp_path)
    (batch,) = mosaic_cutouts(card((3, 3)), source, mosaic_catalog(card((3, 3)), source))
    assert batch.images[0, 0, 1, 1] == pixels[55, 65]
