"""A worse PSF or larger beam: widths in quadrature, flux, noise, angles, and what does not fit."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kstest, lognorm

from astrofm.card import Beam
from astrofm.data.changes.beams import beam_covariance, convolve, kernel_covariance
from astrofm.errors import RecipeError
from astrofm.views.gaussians import covariances, kernels
from astrofm.views.psf import PSF, PSFConfig

DRAWS = 10_000
FWHM_OF_SIGMA = np.sqrt(8 * np.log(2))


def psf(**config):
    return PSF(PSFConfig(**({"p": 1.0} | config)))


def drawn(width, axis_ratio=1.0, angle_deg=0.0):
    """Parameters of one cutout, as the view draws them."""
    return torch.tensor([[axis_ratio, angle_deg, width]])


def source(size, fwhm_pix, angle_deg=0.0, peak=1.0):
    """A Gaussian in the middle; its major axis lies from +y towards -x."""
    place = np.arange(size) - size // 2
    y, x = place[:, None], place[None]
    turn = np.radians(angle_deg)
    along, across = y * np.cos(turn) - x * np.sin(turn), y * np.sin(turn) + x * np.cos(turn)
    sigma = np.array(fwhm_pix) / FWHM_OF_SIGMA
    image = peak * np.exp(-0.5 * ((along / sigma[0]) ** 2 + (across / sigma[1]) ** 2))
    return torch.from_numpy(image.astype(np.float32))[None, None]


def test_a_point_source_takes_the_width_asked_for_and_keeps_its_flux(make_sky):
    sky = make_sky(1, fwhm=(1.5, 1.5), scale=0.5)  # 3 pixels
    out, after = psf(fwhm_arcsec=(2.5, 2.5)).apply(source(63, (3, 3)), drawn(2.5, 1.0, 0.0), sky)
    expected = source(63, (5, 5), peak=9 / 25)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)
    assert out.sum().item() == pytest.approx(source(63, (3, 3)).sum().item(), rel=1e-5)
    assert after.fwhm_arcsec.flatten().tolist() == [2.5, 2.5]


@pytest.mark.parametrize(("own", "target"), [((0.0, 4.0, 4.0), (35.0, 7.0, 5.0)), ((20.0, 5.0, 3.0), (0.0, 6.0, 6.0))])
def test_a_point_source_per_beam_keeps_its_peak_and_takes_the_shape_of_the_beam(own, target, make_sky):
    sky = make_sky(1, unit="Jy/beam", fwhm=own[1:], angle=own[0])
    parameters = drawn(target[1], target[2] / target[1], target[0])
    out, after = psf(fwhm_arcsec=(1, 9)).apply(source(63, own[1:], own[0]), parameters, sky)
    torch.testing.assert_close(out, source(63, target[1:], target[0]), rtol=0, atol=2e-4)
    assert after.position_angle_deg.item() == target[0]
    assert after.fwhm_arcsec.flatten().tolist() == pytest.approx(target[1:])


def test_it_is_the_convolution_of_the_ingest(make_sky):
    image = torch.randn(1, 2, 48, 40, generator=torch.Generator().manual_seed(0))
    own, target = Beam(bmaj_arcsec=4, bmin_arcsec=3, bpa_deg=20), Beam(bmaj_arcsec=8, bmin_arcsec=6, bpa_deg=50)
    kernel = kernel_covariance(beam_covariance(own), beam_covariance(target))
    reference = convolve(image[0].numpy(), kernel)
    sky = make_sky(1, ("TEST-g", "TEST-r"), fwhm=(4.0, 3.0), angle=20.0)
    out, _ = psf(fwhm_arcsec=(1, 9)).apply(image, drawn(8.0, 0.75, 50.0), sky)
    inside = (..., slice(14, -14), slice(14, -14))  # beyond the edge they repeat nothing, and we the border
    np.testing.assert_allclose(out[0].numpy()[inside], reference[inside], atol=2e-4)


beams = st.tuples(st.floats(2, 9), st.floats(0.2, 1), st.floats(0, 180))


@given(own=beams, target=beams)
@settings(max_examples=60, deadline=None)
def test_kernels_are_those_of_the_ingest(own, target):
    beam, wanted = (Beam(bmaj_arcsec=m, bmin_arcsec=m * ratio, bpa_deg=angle) for m, ratio, angle in (own, target))
    expected = kernel_covariance(beam_covariance(beam), beam_covariance(wanted))
    ours = [
        covariances(torch.tensor([m, m * ratio], dtype=torch.float64), torch.tensor(angle, dtype=torch.float64))
        for m, ratio, angle in (own, target)
    ]
    yy, xx, yx = kernels(*ours).tolist()
    found = np.array([[yy, yx], [yx, xx]])
    np.testing.assert_allclose(found, np.zeros((2, 2)) if expected is None else expected, atol=1e-5)


def test_a_beam_that_does_not_fit_stays_and_so_do_its_pixels(make_sky):
    sky = make_sky(1, unit="Jy/beam", fwhm=(8.0, 2.0), rms=0.5)
    images = torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    out, after = psf(fwhm_arcsec=(1, 9)).apply(images, drawn(7.0, 1.0, 0.0), sky)
    assert torch.equal(out, images)
    for name in ("fwhm_arcsec", "rms", "position_angle_deg"):
        assert torch.equal(getattr(after, name), getattr(sky, name))


def test_each_channel_goes_by_its_own_psf(make_sky):
    sky = make_sky(1, ("TEST-g", "TEST-r"))
    sky = dataclasses.replace(sky, fwhm_arcsec=torch.tensor([[[5.0, 5.0], [3.0, 3.0]]]))
    images = torch.cat([source(41, (5, 5)), source(41, (3, 3))], dim=1)
    out, after = psf(fwhm_arcsec=(4, 4)).apply(images, drawn(4.0, 1.0, 0.0), sky)
    assert torch.equal(out[:, 0], images[:, 0])
    torch.testing.assert_close(out[:, 1], source(41, (4, 4), peak=9 / 16)[:, 0], rtol=0, atol=1e-4)
    assert after.fwhm_arcsec[0, :, 0].tolist() == [5.0, 4.0]
    assert after.rms[0, 0] == 1
    assert after.rms[0, 1] < 1


def test_white_noise_falls_by_the_kernel_and_the_rms_says_so(make_sky):
    noise = torch.randn(30, 1, 96, 96, generator=torch.Generator().manual_seed(1))
    for target in (3.2, 5.0, 9.0):
        out, sky = psf(fwhm_arcsec=(1, 9)).apply(noise, drawn(target, 1.0, 0.0).repeat(30, 1), make_sky(30))
        inside = out[..., 20:-20, 20:-20]
        assert inside.std().item() == pytest.approx(sky.rms[0, 0].item(), rel=0.03)
    # A wide kernel of standard deviation s leaves 1 / (2 sqrt(pi) s); this one has s^2 = (81 - 9) / (8 ln 2).
    assert sky.rms[0, 0].item() == pytest.approx(1 / (2 * np.sqrt(np.pi) * np.sqrt(72) / FWHM_OF_SIGMA), rel=1e-3)


def test_noise_of_the_shape_of_the_beam_grows_per_larger_beam(make_sky):
    white = torch.randn(40, 1, 96, 96, generator=torch.Generator().manual_seed(2))
    beam = beam_covariance(Beam(bmaj_arcsec=4, bmin_arcsec=4))
    noise = torch.from_numpy(np.stack([convolve(image.numpy(), beam) for image in white]))
    noise /= noise[..., 20:-20, 20:-20].std()
    sky = make_sky(40, unit="Jy/beam", fwhm=(4.0, 4.0))
    out, after = psf(factor=(1.5, 1.5)).apply(noise, drawn(1.5, 1.0, 0.0).repeat(40, 1), sky)
    assert after.rms[0, 0].item() == pytest.approx(1.5)
    assert out[..., 20:-20, 20:-20].std().item() == pytest.approx(1.5, rel=0.05)


def test_edges_keep_their_brightness(make_sky):
    out, _ = psf(fwhm_arcsec=(1, 99)).apply(torch.ones(1, 1, 20, 30), drawn(15.0, 0.5, 20.0), make_sky(1))
    torch.testing.assert_close(out, torch.ones(1, 1, 20, 30), rtol=0, atol=1e-3)


def test_widths_ratios_and_angles_fill_their_ranges():
    parameters = psf(fwhm_arcsec=(2.0, 4.0), axis_ratio=(0.5, 1.0)).draw(np.random.default_rng(1), DRAWS)
    for values, low, span in zip(parameters.T, (0.5, 0.0, 2.0), (0.5, 180.0, 2.0), strict=True):
        assert kstest((values - low) / span, "uniform").pvalue > 0.01
    assert psf(factor=(1.0, 2.0)).draw(np.random.default_rng(1), DRAWS)[:, 0].min() == 1


def test_laws_of_the_bands_are_drawn_one_by_one_and_go_to_their_bands(make_sky):
    law = {"law": "lognormal", "shape": 0.2109966, "loc": 0.6668, "scale": 0.8115}
    view = psf(laws={"TEST-g": law, "TEST-r": {"law": "uniform", "low": 4.0, "high": 5.0}})
    widths = view.draw(np.random.default_rng(1), DRAWS)[:, 2:]
    assert kstest(widths[:, 0], lognorm(0.2109966, 0.6668, 0.8115).cdf).pvalue > 0.01
    assert kstest(widths[:, 1] - 4.0, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(widths.T)[0, 1]) < 0.03
    parameters = torch.tensor([[1.0, 0.0, 3.0, 4.5]])
    _, sky = view.apply(torch.zeros(1, 2, 8, 8), parameters, make_sky(1, ("TEST-r", "TEST-g"), fwhm=(1.0, 1.0)))
    assert sky.fwhm_arcsec[0, :, 0].tolist() == [4.5, 3.0]


@pytest.mark.parametrize(
    "law", [{"law": "uniform", "low": -1.0, "high": 2.0}, {"shape": 1.0, "loc": -0.1, "scale": 1.0, "law": "lognormal"}]
)
def test_law_of_widths_that_are_negative_is_refused(law):
    with pytest.raises(ValidationError, match="the law of 'TEST-g' gives widths down to -"):
        psf(laws={"TEST-g": law})


def test_band_without_a_law_is_refused(make_sky):
    view = psf(laws={"TEST-g": {"law": "uniform", "low": 4.0, "high": 5.0}})
    with pytest.raises(RecipeError, match="'psf' has laws for TEST-g and the images have TEST-r: give a law for each"):
        view.check(make_sky(1, ("TEST-g", "TEST-r")))


def test_the_target_is_drawn_for_each_cutout(make_sky):
    view = psf(factor=(1.2, 3.0))
    parameters = torch.from_numpy(view.draw(np.random.default_rng(2), 50))
    _, sky = view.apply(torch.zeros(50, 1, 16, 16), parameters, make_sky(50, fwhm=(2.5, 2.5)))
    np.testing.assert_allclose(sky.fwhm_arcsec[:, 0, 0], 2.5 * parameters[:, 2], rtol=1e-6)
    assert len(sky.fwhm_arcsec[:, 0, 0].unique()) == 50


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_it_acts_with_its_probability_and_leaves_its_input(p, make_sky):
    images = torch.rand(DRAWS, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    before, view = images.clone(), psf(factor=(1.5, 2.0), p=p)
    out, _ = view.apply(images, torch.from_numpy(view.draw(np.random.default_rng(3), DRAWS)), make_sky(DRAWS))
    has_changed = (out != images).any(dim=(1, 2, 3))
    assert abs(has_changed.float().mean().item() - p) <= 4 * (p * (1 - p) / DRAWS) ** 0.5
    assert torch.equal(images, before)


@pytest.mark.parametrize("size", [(16, 16), (13, 37)])
def test_a_row_is_by_itself_bit_for_bit(size, make_sky):
    view = psf(factor=(1.0, 9.0), axis_ratio=(0.3, 1.0), p=0.8)  # kernels of several reaches
    images = torch.rand(12, 2, *size, generator=torch.Generator().manual_seed(0))
    parameters, bands = torch.from_numpy(view.draw(np.random.default_rng(4), 12)), ("TEST-g", "TEST-r")
    together, sky = view.apply(images, parameters, make_sky(12, bands))
    apart = [view.apply(images[i : i + 1], parameters[i : i + 1], make_sky(1, bands)) for i in range(12)]
    assert torch.equal(together, torch.cat([image for image, _ in apart]))
    assert torch.equal(sky.rms, torch.cat([own.rms for _, own in apart]))


def test_an_unknown_beam_or_scale_and_a_picture_are_refused(make_sky):
    view, images, parameters = psf(factor=(1.0, 2.0)), torch.zeros(1, 1, 8, 8), drawn(2.0, 1.0, 0.0)
    with pytest.raises(RecipeError, match="'psf' needs the beam or PSF, unknown of 1 of 1 cutouts: let the card"):
        view.apply(images, parameters, make_sky(1, fwhm=(float("nan"), float("nan"))))
    with pytest.raises(RecipeError, match="'psf' needs the pixel scale, unknown"):
        view.apply(images, parameters, make_sky(1, scale=float("nan")))
    with pytest.raises(RecipeError, match="'psf' acts on pixels that are proportional to flux"):
        view.apply(images, parameters, make_sky(1, unit="8-bit"))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"factor": (1.0, 2.0), "fwhm_arcsec": (1.0, 2.0)},
        {"factor": (0.5, 2.0)},
        {"fwhm_arcsec": (0.0, 2.0)},
        {"fwhm_arcsec": (3.0, 2.0)},
        {"factor": (1.0, 2.0), "axis_ratio": (0.5, 1.5)},
    ],
)
def test_settings_that_make_no_sense_are_refused(config):
    with pytest.raises(ValidationError):
        PSFConfig(**config)
