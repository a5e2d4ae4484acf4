import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.card import Beam
from astrofm.data.changes.beams import beam_covariance, convolve, kernel_covariance

FWHM_OF_SIGMA = np.sqrt(8 * np.log(2))

angles = st.floats(-180, 180)
sizes = st.floats(4, 8)


def beam(bmaj, bmin=None, bpa=0.0):
    return Beam(bmaj_arcsec=bmaj, bmin_arcsec=bmaj if bmin is None else bmin, bpa_deg=bpa)


def gaussian(covariance, shape=(96, 101), centre=None):
    y, x = np.indices(shape, dtype=float)
    cy, cx = centre or (shape[0] // 2, shape[1] // 2)
    offset = np.stack([y - cy, x - cx])
    return np.exp(-0.5 * np.einsum("iyx,ij,jyx->yx", offset, np.linalg.inv(covariance), offset))[None]


def moments(image):
    y, x = np.indices(image.shape[-2:], dtype=float)
    weight = np.asarray(image[0], float) / np.asarray(image[0], float).sum()
    offset = np.stack([y - (weight * y).sum(), x - (weight * x).sum()])
    return np.einsum("iyx,yx,jyx->ij", offset, weight, offset)


def widths(covariance):
    return np.sqrt(np.linalg.eigvalsh(covariance))[::-1] * FWHM_OF_SIGMA


# The algebra of beams


def test_the_kernel_from_5_4_to_15_arcsec_is_the_root_of_the_difference_of_squares():
    kernel = kernel_covariance(beam_covariance(beam(5.4)), beam_covariance(beam(15.0)))
    np.testing.assert_allclose(widths(kernel), np.sqrt(15.0**2 - 5.4**2), rtol=1e-12)


def test_an_elliptical_beam_needs_a_kernel_that_is_narrow_where_it_is_wide():
    kernel = kernel_covariance(beam_covariance(beam(8.0, 5.0, bpa=0.0)), beam_covariance(beam(10.0)))
    np.testing.assert_allclose(np.sqrt(np.diag(kernel)) * FWHM_OF_SIGMA, [6.0, np.sqrt(75.0)], rtol=1e-12)


def test_the_position_angle_counts_from_north_through_east():
    north_east = beam_covariance(beam(8.0, 5.0, bpa=45.0))
    assert north_east[0, 1] < 0  # y grows where x falls: East is to the left
    east = np.diag([5.0**2, 8.0**2]) / 8 / np.log(2)
    np.testing.assert_allclose(beam_covariance(beam(8.0, 5.0, bpa=90.0)), east, atol=1e-12)
    np.testing.assert_allclose(beam_covariance(beam(8.0, 5.0, bpa=75.0), north_deg=30.0), north_east)


@given(sizes, st.floats(0.5, 1), angles)
def test_a_beam_has_its_axes_at_any_angle(bmaj, ratio, bpa):
    np.testing.assert_allclose(widths(beam_covariance(beam(bmaj, bmaj * ratio, bpa))), [bmaj, bmaj * ratio], rtol=1e-9)


@given(sizes, st.floats(0.5, 1), angles, st.floats(1.01, 3))
def test_a_beam_and_its_kernel_add_up_to_the_target(bmaj, ratio, bpa, growth):
    own, target = beam_covariance(beam(bmaj, bmaj * ratio, bpa)), beam_covariance(beam(bmaj * growth))
    np.testing.assert_allclose(own + kernel_covariance(own, target), target, atol=1e-9 * target.max())


def test_a_beam_that_sticks_out_of_the_target_has_no_kernel():
    assert kernel_covariance(beam_covariance(beam(10.5, 2.0)), beam_covariance(beam(10.0))) is None
    assert kernel_covariance(beam_covariance(beam(10.1)), beam_covariance(beam(10.0))) is None


def test_beams_that_agree_to_a_thousandth_need_no_kernel():
    for bmaj in (9.992, 10.0, 10.008):
        assert not kernel_covariance(beam_covariance(beam(bmaj)), beam_covariance(beam(10.0))).any()


# The convolution


@settings(deadline=None, max_examples=25)
@given(sizes, st.floats(0.5, 1), angles, st.floats(1.02, 2))
def test_a_source_of_one_beam_becomes_one_of_the_other(bmaj, ratio, bpa, growth):
    own, target = beam_covariance(beam(bmaj, bmaj * ratio, bpa)), beam_covariance(beam(bmaj * growth))
    image = gaussian(own)
    found = convolve(image, kernel_covariance(own, target))
    assert found.sum(dtype=float) == pytest.approx(image.sum(), rel=1e-5)
    np.testing.assert_allclose(widths(moments(found)), bmaj * growth, rtol=2e-3)
    assert found.max() == pytest.approx(np.sqrt(np.linalg.det(own) / np.linalg.det(target)), rel=1e-3)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.5, 1), angles, st.floats(5.2, 8), st.floats(1.02, 2))
def test_two_convolutions_are_the_one_to_the_last_beam(ratio, bpa, middle, growth):
    noise = np.random.default_rng(0).normal(0, 1, (1, 64, 64)) * gaussian(np.eye(2) * 25, (64, 64))
    first, second, third = (beam_covariance(b) for b in (beam(5, 5 * ratio, bpa), beam(middle), beam(middle * growth)))
    stepwise = convolve(convolve(noise, kernel_covariance(first, second)), kernel_covariance(second, third))
    inner = np.s_[:, 20:44, 20:44]
    np.testing.assert_allclose(stepwise[inner], convolve(noise, kernel_covariance(first, third))[inner], atol=3e-4)


def test_the_convolution_is_the_sum_over_the_kernel():
    image = np.random.default_rng(1).normal(0, 1, (1, 40, 44))
    image[0, 10:14, 20:30] = np.nan
    covariance = np.array([[4.0, 1.5], [1.5, 3.0]])
    found = convolve(image, covariance)
    y, x = np.indices((40, 44))
    for row, column in [(20, 22), (0, 0), (9, 25), (15, 31), (39, 43)]:
        offset = np.stack([y - row, x - column]).astype(float)
        kernel = np.exp(-0.5 * np.einsum("iyx,ij,jyx->yx", offset, np.linalg.inv(covariance), offset))
        kernel[np.isnan(image[0])] = 0
        wanted = (kernel * np.nan_to_num(image[0])).sum() / kernel.sum()
        assert found[0, row, column] == pytest.approx(wanted, abs=1e-5)


def test_missing_pixels_stay_missing_and_are_not_smeared():
    image = np.full((2, 50, 50), 3.0, np.float32)
    image[0, 20:25, 10:40] = np.nan
    image[1, :, :4] = np.nan
    found = convolve(image, np.eye(2) * 9)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(image))
    np.testing.assert_allclose(found[np.isfinite(found)], 3.0, rtol=1e-5)


def test_ignored_pixels_do_not_enter_their_neighbours():
    image = np.ones((1, 50, 50), np.float32)
    ignored = np.zeros((50, 50), bool)
    ignored[25, 25:27] = True
    image[0, ignored] = 1e6
    np.testing.assert_allclose(convolve(image, np.eye(2) * 4, ignored), 1.0, rtol=1e-5)
    assert convolve(image, np.eye(2) * 4)[0, 25, 23] > 1e3
    assert np.isnan(convolve(image, np.eye(2), np.ones((50, 50), bool))).all()


def test_a_kernel_narrower_than_a_pixel_widens_a_beam_by_what_it_should():
    own, target = beam_covariance(beam(3.0)), beam_covariance(beam(3.04))
    found = widths(moments(convolve(gaussian(own), kernel_covariance(own, target))))
    np.testing.assert_allclose(found, 3.04, atol=2e-3)
