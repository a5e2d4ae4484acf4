"""A fainter source: what is left of its flux, and noise that stays what it was."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import kstest

from astrofm.errors import RecipeError
from astrofm.views.dim import Dim, DimConfig

DRAWS = 10_000


def dim(**settings):
    return Dim(DimConfig(**({"p": 1.0} | settings)))


def applied(view, images, sky, seed=0):
    return view.apply(images, torch.from_numpy(view.draw(np.random.default_rng(seed), len(images))), sky)


@pytest.mark.parametrize("correlated", [False, True])
def test_the_flux_falls_by_the_factor_and_the_noise_stays(correlated, make_sky):
    size, rms = 120, 2e-5
    images = rms * torch.randn(16, 1, size, size, generator=torch.Generator().manual_seed(0))
    images[..., 60, 60] += 1.0
    out, sky = applied(dim(factor=(0.6, 0.6), correlated=correlated), images, make_sky(16, unit="Jy/beam", rms=rms))
    np.testing.assert_allclose(out[:, 0, 60, 60], 0.6, atol=5 * rms)
    np.testing.assert_allclose(out[..., :50, :].std(), rms, rtol=0.02)
    # 0.6 of the old noise is left, so 0.8 of the rms is new
    np.testing.assert_allclose((out - 0.6 * images)[..., :50, :].std(), 0.8 * rms, rtol=0.02)
    assert (sky.rms == np.float32(rms)).all()


def test_factors_are_uniform_in_magnitudes():
    drawn = dim(factor=(0.1, 1.0)).draw(np.random.default_rng(1), DRAWS)[:, 2]
    assert kstest(1 + np.log10(drawn.astype(np.float64)), "uniform").pvalue > 0.01


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_it_acts_with_its_probability_and_leaves_its_input(p, make_sky):
    images = torch.ones(DRAWS, 1, 1, 1)
    out, _ = applied(dim(factor=(0.1, 0.5), p=p), images, make_sky(DRAWS))
    has_changed = (out != 1).flatten()
    assert abs(has_changed.float().mean().item() - p) <= 4 * (p * (1 - p) / DRAWS) ** 0.5
    assert (images == 1).all()


def test_a_row_is_by_itself_bit_for_bit(make_sky):
    view, images = dim(p=0.7), torch.rand(9, 2, 13, 17, generator=torch.Generator().manual_seed(0))
    parameters, bands = torch.from_numpy(view.draw(np.random.default_rng(3), 9)), ("TEST-g", "TEST-r")
    together, _ = view.apply(images, parameters, make_sky(9, bands))
    apart = torch.cat([view.apply(images[i : i + 1], parameters[i : i + 1], make_sky(1, bands))[0] for i in range(9)])
    assert torch.equal(together, apart)


def test_only_the_flag_correlated_shapes_the_noise_by_the_beam(make_sky):
    sky, images = make_sky(20, fwhm=(6.0, 6.0)), torch.zeros(20, 1, 40, 40)
    for correlated, expected in ((False, 0.0), (True, 0.962)):  # exp(-1 / (4 sigma^2)) for a FWHM of 6 px
        out, _ = applied(dim(factor=(0.1, 0.1), correlated=correlated), images, sky)
        next_to_it = np.corrcoef(out[..., 1:].flatten(), out[..., :-1].flatten())[0, 1]
        assert next_to_it == pytest.approx(expected, abs=0.03)


def test_an_unknown_rms_and_a_picture_are_refused(make_sky):
    with pytest.raises(RecipeError, match="'dim' needs the rms, unknown of 1 of 1 cutouts"):
        applied(dim(), torch.zeros(1, 1, 8, 8), make_sky(1, rms=float("nan")))
    with pytest.raises(RecipeError, match="'dim' acts on pixels that are proportional to flux"):
        applied(dim(), torch.zeros(1, 1, 8, 8), make_sky(1, unit="8-bit"))


@pytest.mark.parametrize("factor", [(0.0, 1.0), (0.8, 0.5), (0.5, 1.5)])
def test_factors_that_do_not_dim_are_refused(factor):
    with pytest.raises(ValidationError):
        DimConfig(factor=factor)
