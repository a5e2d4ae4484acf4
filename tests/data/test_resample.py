import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.data.changes.resample import moved_header, resample

FWHM_OF_SIGMA = np.sqrt(8 * np.log(2))

ratios = st.one_of(st.floats(0.3, 0.98), st.floats(1.02, 4))


def gaussian(num, fwhm, y=0.0, x=0.0):
    """A source near the centre pixel; width and offsets in pixels."""
    rows, columns = np.indices((num, num)) - num // 2
    return np.exp(-4 * np.log(2) * ((rows - y) ** 2 + (columns - x) ** 2) / fwhm**2)[None].astype(np.float32)


def width(image):
    rows, columns = np.indices(image.shape[-2:], dtype=float)
    weight = np.nan_to_num(image[0].astype(float))
    weight /= weight.sum()
    centre = (weight * rows).sum(), (weight * columns).sum()
    return np.sqrt((weight * ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2)).sum() / 2) * FWHM_OF_SIGMA, centre


@settings(deadline=None, max_examples=40)
@given(
    st.integers(59, 90),
    st.floats(3, 6),
    st.one_of(st.floats(0.3, 0.98), st.floats(1.02, 2)),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
def test_flux_and_place_of_a_source_are_kept(num, fwhm, ratio, y, x):
    image = gaussian(num, fwhm, y, x)
    found, mask = resample(image, None, ratio)
    assert mask is None
    assert found.shape == (1, round(num / ratio), round(num / ratio))
    assert np.nansum(found, dtype=float) * ratio**2 == pytest.approx(image.sum(dtype=float), rel=1e-4)
    centre = np.array(width(found)[1]) - found.shape[1] // 2
    np.testing.assert_allclose(centre, np.array([y, x]) / ratio, atol=0.02)


def test_larger_pixels_are_the_means_of_those_they_cover():
    image = np.random.default_rng(0).normal(0, 1, (2, 45, 45)).astype(np.float32)
    found, _ = resample(image, None, 3.0)
    np.testing.assert_allclose(found, image.reshape(2, 15, 3, 15, 3).mean(axis=(2, 4)), atol=1e-5)


def test_a_source_grows_by_the_larger_pixel_and_keeps_its_width_in_smaller_ones():
    image = gaussian(90, 3.0)
    for ratio in (1.25, 5 / 3, 2.0):
        growth = 8 * np.log(2) / 12 * (ratio**2 - 1)
        assert width(resample(image, None, ratio)[0])[0] * ratio == pytest.approx(np.sqrt(9 + growth), rel=2e-3)
    assert width(resample(image, None, 0.5)[0])[0] * 0.5 == pytest.approx(3.0, rel=2e-3)


def test_what_is_finer_than_the_new_pixels_does_not_come_back_as_a_pattern():
    stripes = np.cos(2 * np.pi * 0.45 * np.arange(120))[None, None, :] * np.ones((1, 120, 1))
    found, _ = resample(stripes.astype(np.float32), None, 4.0)
    assert np.abs(found[:, 1:-1, 1:-1]).max() < 0.1
    assert np.abs(stripes[..., ::4]).max() == 1.0


def test_two_steps_to_larger_pixels_are_one():
    image = np.random.default_rng(1).normal(0, 1, (1, 90, 90)).astype(np.float32)
    twice, once = resample(resample(image, None, 2.0)[0], None, 3.0)[0], resample(image, None, 6.0)[0]
    np.testing.assert_allclose(twice[:, 1:-2, 1:-2], once[:, 1:-2, 1:-2], atol=1e-4)


@given(ratios, st.floats(-5, 5))
@settings(deadline=None, max_examples=25)
def test_an_even_brightness_stays_as_it_is_up_to_the_edge_and_to_missing_pixels(ratio, level):
    image = np.full((1, 40, 33), level, np.float32)
    image[0, 10:14, :9] = np.nan
    found, _ = resample(image, None, ratio)
    assert np.isnan(found).any()
    np.testing.assert_allclose(found[np.isfinite(found)], level, atol=1e-5)


def test_a_pixel_is_missing_unless_half_of_it_was_observed():
    image = np.ones((2, 9, 9), np.float32)
    image[0, :3, :3].flat[:5] = np.nan
    image[0, 3:6, 3:6].flat[:4] = np.nan
    image[1, :, 8] = np.nan
    found, _ = resample(image, None, 3.0)
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0, 0]]
    np.testing.assert_allclose(found[np.isfinite(found)], 1.0, rtol=1e-5)


def test_a_mask_moves_along_by_majority():
    mask = np.zeros((9, 9), bool)
    mask[:3, :3].flat[:5] = True
    mask[3:6, 3:6].flat[:4] = True
    image = np.where(mask, 1e6, 1.0).astype(np.float32)[None]
    found, moved = resample(image, mask, 3.0)
    assert np.argwhere(moved).tolist() == [[0, 0]]
    np.testing.assert_allclose(found, 1.0, rtol=1e-5)


@pytest.mark.parametrize("ratio", [1.0, 1 + 1e-5])
def test_the_same_pixel_scale_leaves_the_image_alone(ratio):
    image, mask = gaussian(40, 3.0), np.zeros((40, 40), bool)
    found = resample(image, mask, ratio)
    assert found[0] is image
    assert found[1] is mask


def test_images_of_a_few_pixels_and_without_any_data_are_resampled_too():
    for num in (1, 2, 3):
        for ratio in (0.4, 1.7, 10.0):
            found, _ = resample(np.full((1, num, num), 2.0, np.float32), None, ratio)
            np.testing.assert_allclose(found[np.isfinite(found)], 2.0, rtol=1e-5)
    empty = np.full((1, 10, 10), np.nan, np.float32)
    assert np.isnan(resample(empty, None, 0.5)[0]).all()
    assert np.isnan(resample(empty, np.ones((10, 10), bool), 2.0)[0]).all()


# The WCS


def header(**cards):
    plain = {"NAXIS": 2, "NAXIS1": 61, "NAXIS2": 50, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    plain |= {"CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 20.0, "CRPIX2": 31.0}
    return fits.Header(plain | cards)


TURNED = {"CD1_1": -4e-4, "CD1_2": 3e-4, "CD2_1": 3e-4, "CD2_2": 4e-4}
SIP = {"A_ORDER": 2, "A_2_0": 1e-4, "A_1_1": -2e-4, "B_ORDER": 2, "B_0_2": 3e-4}


@pytest.mark.parametrize(
    "cards",
    [
        {"CDELT1": -5e-4, "CDELT2": 5e-4},
        {"CDELT1": -5e-4, "CDELT2": 5e-4, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
        {"CDELT1": -5e-4, "CDELT2": 5e-4, "CROTA2": 30.0},
        TURNED,
        TURNED | SIP | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"},
    ],
)
@pytest.mark.parametrize("ratio", [0.6, 1.0, 2.5])
def test_every_place_in_the_image_keeps_its_sky_position(cards, ratio):
    before = header(**cards)
    before["HISTORY"] = "made for tests"
    after = moved_header(before, ratio, (50, 61), (31, 44))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old, new = WCS(before), WCS(after)
    offset = np.array([[0, 0], [3, -5], [-7.5, 2], [10, 11]], float)  # from the centre pixel, in old pixels, (x, y)
    here = old.all_pix2world(offset + np.array([30, 25]), 0)
    there = new.all_pix2world(offset / ratio + np.array([22, 15]), 0)
    np.testing.assert_allclose(there, here, atol=1e-10)
    assert (after["NAXIS1"], after["NAXIS2"]) == (44, 31)
    assert before["CRPIX1"] == 20.0
