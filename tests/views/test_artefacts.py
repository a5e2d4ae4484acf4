"""Sidelobes follow the dirty beam of a filled aperture; stripes are one line of the power spectrum."""

import dataclasses

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import j1
from scipy.stats import kstest

from astrofm.card import Band, Beam
from astrofm.data.batch import Batch, Share
from astrofm.errors import RecipeError
from astrofm.views.artefacts import Sidelobes, SidelobesConfig, Stripes, StripesConfig, sidelobe_pattern
from astrofm.views.base import Sky
from astrofm.views.pipeline import ViewPipeline
from astrofm.views.stretch import InputPlan

DRAWS = 10_000


def sky_of(num, channels=1, *, fwhm=6.0, scale=1.5, rms=0.1):
    return Sky(
        bands=tuple(f"band-{c}" for c in range(channels)),
        unit="Jy / beam",
        pixel_scale_arcsec=torch.full((num,), scale, dtype=torch.float64),
        rms=torch.full((num, channels), rms, dtype=torch.float64),
        fwhm_arcsec=torch.full((num, channels, 2), fwhm, dtype=torch.float64),
        position_angle_deg=torch.zeros(num, channels, dtype=torch.float64),
        ebv=torch.zeros(num, dtype=torch.float64),
    )


def point(y, x, flux=2.0, size=33):
    image = torch.zeros(1, 1, size, size)
    image[0, 0, y, x] = flux
    return image


@pytest.mark.parametrize("p", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("make", [lambda p: Sidelobes(SidelobesConfig(p=p)), lambda p: Stripes(StripesConfig(p=p))])
def test_artefacts_come_with_their_probability(make, p):
    view = make(p)
    parameters = torch.from_numpy(view.draw(np.random.default_rng(4), DRAWS))
    images = point(4, 4, size=9).expand(DRAWS, 1, 9, 9)
    changed, _ = view.apply(images, parameters, sky_of(DRAWS, fwhm=2.0))
    has_changed = (changed != images).any(dim=(1, 2, 3)).double().mean().item()
    assert abs(has_changed - p) <= 4 * (p * (1 - p) / DRAWS) ** 0.5


def test_amplitudes_and_wavelengths_are_uniform_in_their_logarithm_and_angles_on_the_circle():
    share, angle = Sidelobes(SidelobesConfig(amplitude=(0.01, 0.1), p=1.0)).draw(np.random.default_rng(5), DRAWS).T
    assert kstest(np.log10(share) + 2, "uniform").pvalue > 0.01
    assert kstest(angle / (2 * np.pi), "uniform").pvalue > 0.01
    config = StripesConfig(amplitude=(0.1, 1.0), wavelength_beams=(2.0, 20.0), p=1.0)
    amplitude, wavelength, direction, phase = Stripes(config).draw(np.random.default_rng(6), DRAWS).T
    assert kstest(np.log10(amplitude) + 1, "uniform").pvalue > 0.01
    assert kstest(np.log10(wavelength / 2), "uniform").pvalue > 0.01
    assert kstest(direction / np.pi, "uniform").pvalue > 0.01
    assert kstest(phase / (2 * np.pi), "uniform").pvalue > 0.01


def test_rings_are_those_of_a_filled_aperture_with_the_beam_given():
    radius = torch.arange(40.0)
    found = sidelobe_pattern(torch.zeros(1, 1, 1), radius[None, None], torch.tensor([[4.0]]), torch.zeros(1), 0)[
        0, 0, 0
    ]
    z = radius.numpy().astype(float)[1:] * 2 * 2.215089 / 4.0  # half maximum at half the full width
    beam = 2 * j1(z) / z
    expected = np.where(z < 3.8317, 0.0, beam / 0.1322795)
    np.testing.assert_allclose(found[1:].numpy(), expected, atol=2e-5)
    assert found[0] == 0
    assert found[:4].tolist() == [0, 0, 0, 0]  # the main lobe ends at 3.46 pixels
    assert found[5] == pytest.approx(-0.93, abs=0.01)  # the first ring is deepest at 4.64 pixels


def test_a_ring_is_as_deep_as_the_share_of_the_peak_and_lies_around_the_brightest_pixel():
    view, image = Sidelobes(SidelobesConfig(spikes=0)), point(10, 21, flux=2.0) + point(25, 3, flux=1.0)
    fwhm_pix = 5 * 2 * 2.215089 / 5.135621  # the first ring is deepest 5 pixels away
    found, _ = view.apply(image, torch.tensor([[0.05, 0.0]]), sky_of(1, fwhm=1.5 * fwhm_pix))
    added = (found - image)[0, 0]
    assert added[10, 21] == 0
    for y, x in ((10, 26), (10, 16), (15, 21), (5, 21), (13, 25), (7, 17)):
        assert added[y, x].item() == pytest.approx(-0.05 * 2.0, rel=1e-4)
    assert added.min().item() == pytest.approx(-0.1, rel=1e-4)


def test_spikes_repeat_around_the_source_and_keep_the_mean_of_a_ring():
    phi = torch.linspace(0, 2 * np.pi, 721)[:-1]
    y, x = 5.0 * torch.sin(phi)[None, None], 5.0 * torch.cos(phi)[None, None]
    beam, angle = torch.tensor([[4.0]]), torch.tensor([0.3])
    spikes = sidelobe_pattern(y, x, beam, angle, 6)[0, 0, 0]
    rings = sidelobe_pattern(y, x, beam, angle, 0)[0, 0, 0]
    assert spikes.mean().item() == pytest.approx(rings.mean().item(), rel=1e-4)
    power = torch.fft.rfft(spikes).abs() / len(phi)
    assert power.argsort(descending=True)[:2].tolist() == [0, 6]
    assert spikes[round(0.3 / (2 * np.pi) * 720)].item() == pytest.approx(2 * rings[0].item(), rel=1e-3)


def test_channels_have_the_pattern_of_their_own_beam_and_their_own_peak():
    image = torch.cat([point(16, 16, 1.0), point(16, 16, 3.0)], dim=1)
    sky = sky_of(1, 2)
    sky = dataclasses.replace(sky, fwhm_arcsec=torch.tensor([[[6.0, 6.0], [12.0, 3.0]]]))  # the same geometric mean
    found, _ = Sidelobes(SidelobesConfig(spikes=0)).apply(image, torch.tensor([[0.1, 0.0]]), sky)
    added = found - image
    torch.testing.assert_close(added[0, 1], 3.0 * added[0, 0])
    wider = dataclasses.replace(sky, fwhm_arcsec=torch.tensor([[[6.0, 6.0], [12.0, 12.0]]]))
    found, _ = Sidelobes(SidelobesConfig(spikes=0)).apply(image, torch.tensor([[0.1, 0.0]]), wider)
    # Twice the beam is the same pattern at twice the radius.
    torch.testing.assert_close((found - image)[0, 1, 16, 16:33:2], 3.0 * added[0, 0, 16, 16:25])


def test_stripes_are_one_line_of_the_power_spectrum_where_it_should_be():
    # Beam 6 arcsec, 4 pixels; 2 beams are 8 pixels: 8 waves along x on 64 pixels. Amplitude 3 x rms 0.1.
    parameters = torch.tensor([[3.0, 2.0, 0.0, 0.7]])
    found, _ = Stripes(StripesConfig()).apply(torch.zeros(1, 1, 64, 64), parameters, sky_of(1))
    spectrum = torch.fft.rfft2(found[0, 0].double()).abs()
    assert divmod(spectrum.argmax().item(), 33) == (0, 8)
    assert spectrum[0, 8].item() == pytest.approx(0.3 / 2 * 64**2, rel=1e-4)
    spectrum[0, 8] = 0
    assert spectrum.max() < 1e-3
    # At 45 degrees and 8 / sqrt(2) pixels it is 8 waves along both axes.
    parameters = torch.tensor([[3.0, 2.0 / 2**0.5, np.pi / 4, 0.7]])
    found, _ = Stripes(StripesConfig()).apply(torch.zeros(1, 1, 64, 64), parameters, sky_of(1))
    spectrum = torch.fft.rfft2(found[0, 0].double()).abs()
    assert divmod(spectrum.argmax().item(), 33) == (8, 8)


def test_the_rms_after_stripes_is_that_of_noise_and_wave_together():
    noise = 0.1 * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    found, sky = Stripes(StripesConfig()).apply(noise, torch.tensor([[2.0, 3.0, 0.4, 1.0]]), sky_of(1))
    assert sky.rms.item() == pytest.approx(0.1 * 3**0.5)  # sqrt(1 + 2^2 / 2)
    assert found.std().item() == pytest.approx(sky.rms.item(), rel=0.01)


@pytest.mark.parametrize("view", [Sidelobes(SidelobesConfig(p=0.5)), Stripes(StripesConfig(p=0.5))])
def test_a_row_depends_on_its_parameters_alone_and_the_input_stays(view):
    images = torch.rand(6, 2, 12, 15, generator=torch.Generator().manual_seed(2))
    before, sky = images.clone(), sky_of(6, 2)
    rms = sky.rms.clone()
    parameters = torch.from_numpy(view.draw(np.random.default_rng(1), 6))
    together, _ = view.apply(images, parameters, sky)
    apart = [view.apply(images[i : i + 1], parameters[i : i + 1], sky_of(1, 2))[0] for i in range(6)]
    assert torch.equal(together, torch.cat(apart))
    assert together.shape == images.shape
    assert together.dtype == images.dtype
    assert torch.equal(images, before)
    assert torch.equal(sky.rms, rms)
    untouched = parameters[:, 0] == 0
    assert 0 < untouched.sum() < 6
    assert torch.equal(together[untouched], images[untouched])


@pytest.mark.parametrize(
    ("view", "unknown", "what"),
    [
        (Sidelobes(SidelobesConfig(p=1.0)), {"fwhm": np.nan}, "'sidelobes' needs the beam, unknown of 2 of 2 cutouts"),
        (Sidelobes(SidelobesConfig(p=1.0)), {"scale": np.nan}, "'sidelobes' needs the pixel scale"),
        (Stripes(StripesConfig(p=1.0)), {"rms": np.nan}, "'stripes' needs the rms"),
    ],
)
def test_what_is_unknown_is_named(view, unknown, what):
    parameters = torch.from_numpy(view.draw(np.random.default_rng(1), 2))
    with pytest.raises(RecipeError, match=what):
        view.apply(torch.zeros(2, 1, 8, 8), parameters, sky_of(2, **unknown))


@pytest.mark.parametrize("view", [Sidelobes(SidelobesConfig(p=1.0)), Stripes(StripesConfig(p=1.0))])
def test_pictures_whose_pixels_are_no_flux_are_refused(view):
    parameters = torch.from_numpy(view.draw(np.random.default_rng(1), 2))
    with pytest.raises(RecipeError, match="proportional to flux"):
        view.apply(torch.zeros(2, 1, 8, 8), parameters, dataclasses.replace(sky_of(2), unit=""))


def test_the_pipeline_adds_them_before_the_stretch_and_gives_every_view_its_own():
    band = Band(name="array-L", unit="Jy / beam", frequency_hz=1.4e9)
    plan = InputPlan(
        "a", (), pixel_scale_arcsec=1.5, bands=(band,), unit="Jy / beam", beam=Beam(bmaj_arcsec=6.0, bmin_arcsec=6.0)
    )
    views = (Sidelobes(SidelobesConfig(p=1.0)), Stripes(StripesConfig(p=1.0)))
    pipeline = ViewPipeline({"a": plan}, views, num_views=2, size_pix=32, field_of_view_arcsec=None, seed=0)
    images = point(16, 16, size=32).expand(3, 1, 32, 32).numpy()
    rows = np.arange(3)
    batch = Batch((Share("a", images, None, rows, {"rms": np.full(3, 0.01)}),), rows, 0, 3)
    found = torch.cat(pipeline(batch, 0, "cpu").images) - torch.from_numpy(images[:1])
    assert found[0, 0, 16, 16].abs() <= 0.031  # no more than the stripes: the main lobe is left out
    assert (found.flatten(1).std(dim=1) > 0.002).all()  # a wave of 0.3 rms has a spread of 0.0021
    correlation = torch.corrcoef(found.flatten(1)).fill_diagonal_(0.0)
    assert correlation.abs().max() < 0.9


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (SidelobesConfig, {"amplitude": (0.0, 0.1)}),
        (SidelobesConfig, {"spikes": -1}),
        (StripesConfig, {"wavelength_beams": (3.0, 2.0)}),
        (StripesConfig, {"p": 2.0}),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, settings):
    with pytest.raises(ValidationError):
        config(**settings)


def test_a_spike_has_one_opposite():
    with pytest.raises(ValueError, match="multiple of 2"):
        SidelobesConfig(spikes=5)
