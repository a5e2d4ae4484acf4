"""Dust: published coefficients, the extinction law, the paper's multiplication, and what it refuses."""

import builtins

import numpy as np
import pytest
import torch
from astropy import units as u
from dust_extinction.parameter_averages import F99
from pydantic import TypeAdapter, ValidationError
from scipy.stats import kstest, lognorm

from astrofm.errors import RecipeError
from astrofm.views.dust import Dust, DustConfig
from astrofm.views.extinction import COEFFICIENTS, coefficient, coefficient_at
from astrofm.views.laws import Law, Lognormal, Uniform

DRAWS = 10_000
UGRIZ = ("SDSS-u", "SDSS-g", "SDSS-r", "SDSS-i", "SDSS-z")
SDSS_NM = {"SDSS-u": 355.1, "SDSS-g": 468.6, "SDSS-r": 616.6, "SDSS-i": 748.0, "SDSS-z": 893.2}
DECAM_NM = {"DECam-g": 477.1, "DECam-r": 639.2, "DECam-z": 914.9}


def dust(**settings):
    return Dust(DustConfig(**settings))


def test_a_band_is_dimmed_by_its_coefficient_times_the_change_of_reddening(make_sky):
    images = torch.ones(2, 5, 3, 3)
    out, sky = dust().apply(images, torch.tensor([[0.2], [0.0]]), make_sky(2, UGRIZ, ebv=0.1, rms=2.0))
    # 10^(-0.4 A 0.1) and its inverse, for A of u and z
    assert out[0, :, 1, 1].tolist() == pytest.approx([0.67677, 0.73770, 0.81021, 0.85523, 0.89018], abs=1e-5)
    assert out[1, :, 1, 1].tolist() == pytest.approx([1.47761, 1.35556, 1.23425, 1.16928, 1.12337], abs=2e-5)
    assert sky.ebv.tolist() == pytest.approx([0.2, 0.0])
    assert sky.rms[0].tolist() == pytest.approx((2.0 * out[0, :, 1, 1]).tolist())


def test_kept_noise_is_what_it_was_whatever_the_dust_and_tells_nothing_of_it(make_sky):
    noise = 2.0 * torch.randn(2, 5, 96, 96, generator=torch.Generator().manual_seed(0))
    view = dust(noise="kept")
    drawn = torch.tensor([[0.5, 3.0, 4.0], [0.0, 5.0, 6.0]])
    seen, sky = view.apply(noise, drawn, make_sky(2, UGRIZ, ebv=0.1, rms=2.0))
    assert seen[0].flatten(1).std(dim=1).tolist() == pytest.approx([2.0] * 5, rel=0.03)
    assert sky.rms[0].tolist() == pytest.approx([2.0] * 5)
    gained = 10 ** (0.4 * 0.1 * COEFFICIENTS["SDSS-u"])
    assert sky.rms[1, 0].item() == pytest.approx(2.0 * gained, rel=1e-5)  # less dust cannot take noise away
    light = torch.full((1, 5, 96, 96), 1e6)
    seen, _ = view.apply(light, drawn[:1], make_sky(1, UGRIZ, ebv=0.1, rms=2.0))
    dimmed, _ = dust().apply(light, drawn[:1], make_sky(1, UGRIZ, ebv=0.1, rms=2.0))
    torch.testing.assert_close(seen.mean(dim=(2, 3)), dimmed.mean(dim=(2, 3)), rtol=1e-5, atol=0.0)
    with pytest.raises(RecipeError, match="needs the rms"):
        view.apply(light, drawn[:1], make_sky(1, UGRIZ, ebv=0.1, rms=float("nan")))


def test_dust_that_comes_and_goes_leaves_the_image(make_sky):
    images = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    reddened, sky = dust().apply(images, torch.full((3, 1), 0.4), make_sky(3, UGRIZ, ebv=0.05))
    back, sky = dust().apply(reddened, torch.full((3, 1), 0.05), sky)
    torch.testing.assert_close(back, images)
    torch.testing.assert_close(sky.rms, torch.ones(3, 5))


@pytest.mark.parametrize(("bands", "tolerance"), [(SDSS_NM, 0.012), (DECAM_NM, 0.017)])
def test_the_law_at_one_wavelength_is_near_the_published_coefficient(bands, tolerance):
    # Theirs are weighted over the band for a source of 7000 K; one wavelength stands for the band here.
    for band, wavelength_nm in bands.items():
        assert coefficient_at(wavelength_nm) == pytest.approx(COEFFICIENTS[band], rel=tolerance)


def test_the_law_is_that_of_dust_extinction_on_the_scale_of_the_maps():
    law = F99(Rv=3.1)
    for wavelength_nm in (120.0, 300.0, 551.0, 1000.0, 2200.0, 3300.0):
        own = float(law(wavelength_nm * u.nm)) * 3.1  # A / E(B-V) of the law itself
        assert own / coefficient_at(wavelength_nm) == pytest.approx(1.16788 / 1.0296, rel=1e-4)


def test_the_colour_of_reddening_is_that_of_dust_extinction(make_sky):
    wavelengths = [400.0, 550.0, 700.0, 1000.0]
    sky = make_sky(1, [f"TEST-{number}" for number in range(4)], wavelengths=wavelengths)
    out, _ = dust().apply(torch.ones(1, 4, 1, 1), torch.tensor([[0.3]]), sky)
    reference = F99(Rv=3.1).extinguish(np.array(wavelengths) * u.nm, Ebv=0.3 * 1.0296 / 1.16788)
    np.testing.assert_allclose(out.flatten().numpy(), reference, rtol=1e-4)


def test_a_coefficient_given_comes_before_the_published_one_and_that_before_the_law():
    assert coefficient("SDSS-g", 470.0, {"SDSS-g": 1.0}) == 1.0
    assert coefficient("SDSS-g", 470.0, {}) == 3.303
    assert coefficient("TEST-g", 468.6, {}) == pytest.approx(3.3415, abs=1e-3)
    assert coefficient("TEST-x", None, {"TEST-x": 0.5}) == 0.5


def test_the_default_law_is_uniform_up_to_a_half():
    drawn = dust().draw(np.random.default_rng(1), DRAWS)[:, 0]
    assert kstest(drawn / 0.5, "uniform").pvalue > 0.01


def test_the_lognormal_law_is_scipys():
    law = TypeAdapter(Law).validate_python({"law": "lognormal", "shape": 0.67306, "loc": 0.001146, "scale": 0.03338})
    drawn = dust(ebv=law).draw(np.random.default_rng(2), DRAWS)[:, 0]
    assert kstest(drawn, lognorm(0.67306, 0.001146, 0.03338).cdf).pvalue > 0.01


def test_reddening_is_never_negative():
    drawn = dust(ebv=Uniform(low=-1.0, high=1.0)).draw(np.random.default_rng(3), DRAWS)[:, 0]
    assert drawn.min() == 0
    assert (drawn == 0).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_it_acts_with_its_probability_and_else_leaves_the_image_as_it_is(p, make_sky):
    view = dust(p=p)
    parameters = torch.from_numpy(view.draw(np.random.default_rng(4), DRAWS))
    images = torch.rand(DRAWS, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    out, sky = view.apply(images, parameters, make_sky(DRAWS, ["SDSS-g"], ebv=0.03))
    has_changed = (out != images).flatten()
    assert abs(has_changed.float().mean().item() - p) <= 4 * (p * (1 - p) / DRAWS) ** 0.5 + 1e-3
    assert torch.equal(images, before)
    assert (sky.ebv[~has_changed] == np.float32(0.03)).all()


def test_missing_pixels_stay_missing_and_a_row_is_by_itself(make_sky):
    images = torch.rand(7, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    images[2, 1, 3, 3] = torch.nan
    view, bands = dust(), ("DECam-g", "DECam-r", "DECam-z")
    parameters = torch.from_numpy(view.draw(np.random.default_rng(5), 7))
    together, _ = view.apply(images, parameters, make_sky(7, bands))
    assert torch.isnan(together).sum() == 1
    apart = torch.cat([view.apply(images[i : i + 1], parameters[i : i + 1], make_sky(1, bands))[0] for i in range(7)])
    assert torch.equal(torch.nan_to_num(together), torch.nan_to_num(apart))


def test_unknown_reddening_is_refused_or_taken_from_the_recipe(make_sky):
    sky = make_sky(2, ["SDSS-g"], ebv=float("nan"))
    parameters = torch.tensor([[0.1], [torch.nan]])
    with pytest.raises(RecipeError, match=r"'dust' needs the E\(B-V\) in the pixels, unknown of 2 of 2 .* 'ebv_in_pix"):
        dust().apply(torch.ones(2, 1, 1, 1), parameters, sky)
    out, after = dust(ebv_in_pixels=0.0).apply(torch.ones(2, 1, 1, 1), parameters, sky)
    assert out.flatten().tolist() == pytest.approx([10 ** (-0.4 * 3.303 * 0.1), 1.0])
    assert after.ebv.tolist() == pytest.approx([0.1, 0.0])


def test_radio_waves_and_pictures_are_refused(make_sky):
    radio = make_sky(1, ["VLA-FIRST-1.4GHz"], unit="Jy/beam", wavelengths=[None])
    with pytest.raises(RecipeError, match="dust does not dim radio waves, so leave the view out"):
        dust().apply(torch.ones(1, 1, 1, 1), torch.tensor([[0.1]]), radio)
    with pytest.raises(RecipeError, match="in '8-bit': ingest a product in a physical unit"):
        dust().apply(torch.ones(1, 1, 1, 1), torch.tensor([[0.1]]), make_sky(1, unit="8-bit"))


def test_a_band_beyond_the_law_and_a_missing_package_are_one_sentence(monkeypatch):
    with pytest.raises(RecipeError, match=r"from 100 to 3333 nm and 'WISE-W3' lies at 12000 nm: give A / E\(B-V\)"):
        coefficient("WISE-W3", 12000.0, {})
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("dust_extinction"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RecipeError, match="dust at 611 nm needs the package dust_extinction: install it, or give"):
        coefficient("TEST-r", 611.0, {})


@pytest.mark.parametrize(
    "settings",
    [
        {"p": 1.5},
        {"ebv_in_pixels": -0.1},
        {"ebv": {"law": "gaussian", "low": 0, "high": 1}},
        {"ebv": {"law": "uniform", "low": 1, "high": 0}},
        {"ebv": {"law": "lognormal", "shape": 0.0, "scale": 1.0}},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        DustConfig(**settings)


def test_the_median_of_the_lognormal_law_is_loc_plus_scale():
    drawn = Lognormal(shape=0.5, loc=1.0, scale=2.0).draw(np.random.default_rng(6), DRAWS)
    assert np.median(drawn) == pytest.approx(3.0, abs=0.05)
