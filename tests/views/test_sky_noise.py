"""A shallower observation: its rms, the shape of its noise, how often, and what it refuses."""

import dataclasses

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import kstest, lognorm

from astrofm.errors import RecipeError
from astrofm.views.sky_noise import SkyNoise, SkyNoiseConfig

DRAWS = 10_000


def noise(**settings):
    return SkyNoise(SkyNoiseConfig(**({"p": 1.0} | settings)))


def white(num, size, rms=1.0, channels=1, seed=0):
    return rms * torch.randn(num, channels, size, size, generator=torch.Generator().manual_seed(seed))


def applied(view, images, sky, seed=0):
    return view.apply(images, torch.from_numpy(view.draw(np.random.default_rng(seed), len(images))), sky)


def test_what_is_there_counts_in_quadrature(make_sky):
    images = white(8, 100, rms=3e-5)
    out, sky = applied(noise(factor=(5 / 3, 5 / 3)), images, make_sky(8, rms=3e-5))
    added = (out - images).std(dim=(1, 2, 3))
    np.testing.assert_allclose(added, 4e-5, rtol=0.03)  # 3, 4, 5
    np.testing.assert_allclose(out.std(dim=(1, 2, 3)), 5e-5, rtol=0.03)
    np.testing.assert_allclose(sky.rms, 5e-5, rtol=1e-5)


def test_the_noise_added_is_standard_normal_and_differs_between_rows_and_channels(make_sky):
    out, _ = applied(noise(factor=(2.0, 2.0)), torch.zeros(2, 2, 80, 80), make_sky(2, ("TEST-g", "TEST-r"), rms=1.0))
    fields = (out / 3**0.5).reshape(4, -1).double().numpy()
    for field in fields:
        assert kstest(field, "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(fields) - np.eye(4)).max() < 0.05


@pytest.mark.parametrize(("fwhm", "angle"), [((4.0, 4.0), 0.0), ((9.0, 4.0), 30.0)])
def test_correlated_noise_has_the_rms_asked_for_and_the_shape_of_the_beam(make_sky, fwhm, angle):
    sky = make_sky(24, unit="Jy/beam", rms=1.0, fwhm=fwhm, angle=angle, scale=1.5)
    out, _ = applied(noise(factor=(2.0, 2.0), correlated=True), torch.zeros(24, 1, 120, 120), sky)
    field = (out / 3**0.5).double().numpy()[:, 0]
    assert field.std() == pytest.approx(1.0, rel=0.02)
    # White noise convolved with a beam of covariance S has the correlation exp(-r S^-1 r / 4) at a distance r.
    major, minor = np.square(np.array(fwhm) / 1.5) / (8 * np.log(2))
    turn = np.radians(angle)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # (y, x), towards -x
    inverse = np.linalg.inv(axes.T @ np.diag([major, minor]) @ axes)
    for y, x in [(2, 0), (0, 2), (2, 2), (2, -2)]:
        here = field[:, : 120 - y, max(0, -x) : 120 - max(0, x)]
        there = field[:, y:, max(0, x) : 120 + min(0, x)]
        expected = np.exp(-np.array([y, x]) @ inverse @ np.array([y, x]) / 4)
        assert np.mean(here * there) == pytest.approx(expected, abs=0.03)


def test_a_noisy_row_gets_nothing_and_keeps_its_pixels(make_sky):
    laws = {
        "TEST-g": {"law": "uniform", "low": 2.0, "high": 2.0},
        "TEST-r": {"law": "uniform", "low": 0.5, "high": 0.5},
    }
    images = white(3, 20, channels=2)
    out, sky = applied(noise(rms=laws), images, make_sky(3, ("TEST-r", "TEST-g"), rms=1.0))
    assert torch.equal(out[:, 0], images[:, 0])
    assert not torch.isclose(out[:, 1], images[:, 1]).any(dim=(1, 2)).all()
    assert sky.rms.tolist() == [[1.0, 2.0]] * 3


def test_laws_of_the_bands_are_drawn_one_by_one():
    law = {"law": "lognormal", "shape": 0.2264926, "loc": -0.0006735, "scale": 0.0037602}
    view = noise(rms={"DECam-g": law, "DECam-r": {"law": "uniform", "low": 0.001, "high": 0.018}})
    drawn = view.draw(np.random.default_rng(1), DRAWS)[:, 2:]
    assert kstest(drawn[:, 0], lognorm(0.2264926, -0.0006735, 0.0037602).cdf).pvalue > 0.01
    assert kstest((drawn[:, 1] - 0.001) / 0.017, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03


def test_factors_fill_their_range():
    drawn = noise(factor=(1.0, 3.0)).draw(np.random.default_rng(2), DRAWS)[:, 2]
    assert kstest((drawn - 1) / 2, "uniform").pvalue > 0.01


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_it_acts_with_its_probability(p, correlated, make_sky):
    view, images = noise(factor=(1.5, 2.0), p=p, correlated=correlated), torch.zeros(DRAWS, 1, 2, 2)
    out, sky = applied(view, images, make_sky(DRAWS))
    has_changed = (out != 0).any(dim=(1, 2, 3))
    assert abs(has_changed.float().mean().item() - p) <= 4 * (p * (1 - p) / DRAWS) ** 0.5
    assert torch.equal(has_changed, sky.rms[:, 0] > 1)
    assert not images.any()


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (13, 21)])
def test_a_row_is_by_itself_bit_for_bit(correlated, size, make_sky):
    view = noise(factor=(1.0, 2.0), p=0.7, correlated=correlated)
    images = torch.rand(11, 2, *size, generator=torch.Generator().manual_seed(0))
    parameters = torch.from_numpy(view.draw(np.random.default_rng(3), 11))
    bands = ("TEST-g", "TEST-r")
    together, _ = view.apply(images, parameters, make_sky(11, bands))
    apart = torch.cat([view.apply(images[i : i + 1], parameters[i : i + 1], make_sky(1, bands))[0] for i in range(11)])
    assert torch.equal(together, apart)


def test_only_the_flag_correlated_asks_for_a_beam(make_sky):
    sky = dataclasses.replace(make_sky(2), fwhm_arcsec=torch.full((2, 1, 2), torch.nan))
    out, _ = applied(noise(factor=(2.0, 2.0)), torch.zeros(2, 1, 8, 8), sky)
    assert out.any()
    with pytest.raises(RecipeError, match="'sky-noise' needs the beam or PSF, unknown of 2 of 2 cutouts"):
        applied(noise(factor=(2.0, 2.0), correlated=True), torch.zeros(2, 1, 8, 8), sky)


def test_an_unknown_rms_and_a_band_without_a_law_are_refused(make_sky):
    with pytest.raises(RecipeError, match="'sky-noise' needs the rms, unknown of 1 of 1 cutouts: give the catalogue"):
        applied(noise(factor=(1.0, 2.0)), torch.zeros(1, 1, 8, 8), make_sky(1, rms=float("nan")))
    laws = {"TEST-g": {"law": "uniform", "low": 1.0, "high": 2.0}}
    with pytest.raises(RecipeError, match="an rms for TEST-g and the images have TEST-r: give a law for each band"):
        applied(noise(rms=laws), torch.zeros(1, 1, 8, 8), make_sky(1))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"factor": (0.5, 2.0)},
        {"factor": (2.0, 1.0)},
        {"factor": (1.0, 2.0), "rms": {"TEST-r": {"law": "uniform", "low": 0, "high": 1}}},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        SkyNoiseConfig(**settings)
