from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import shift

from astrofm.mock.radio import RadioSource, render_radio, sample_radio_source
from astrofm.mock.seeding import object_rng

VIEW = {
    "size_pix": 101,
    "pixel_scale_arcsec": 1.8,
    "bmaj_arcsec": 7.2,
    "bmin_arcsec": 5.4,
    "bpa_deg": 30.0,
    "noise_jy_per_beam": 0.0,
    "field_sources_per_deg2": 0.0,
}
BEAM_AREA_PIX = np.pi * 4.0 * 3.0 / (4.0 * np.log(2.0))
POINT = RadioSource("compact", 1e-3, 0.0, 0.25, core_fraction=1.0)


def observe(source, seed=0, **changes):
    return render_radio(source, np.random.default_rng(seed), **{**VIEW, **changes})


def second_moments(image):
    y, x = np.indices(image.shape) - 50.0
    weight = image / image.sum()
    return (weight * x * x).sum(), (weight * x * y).sum(), (weight * y * y).sum()


def test_a_point_source_peaks_at_its_flux_on_the_centre_pixel():
    image = observe(POINT)
    assert np.unravel_index(image.argmax(), image.shape) == (50, 50)
    assert image.max() == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("morphology", ["fr1", "fr2", "bent", "compact"])
def test_the_beam_conserves_flux(morphology):
    source = replace(sample_radio_source(np.random.default_rng(4), morphology), angular_size_arcsec=50.0, flux_jy=0.3)
    assert observe(source).sum() / BEAM_AREA_PIX == pytest.approx(0.3, rel=1e-3)


def test_the_beam_has_the_stated_axes_and_angle():
    xx, xy, yy = second_moments(observe(POINT).astype(np.float64))
    major, minor, angle = 4.0**2 / (8 * np.log(2)), 3.0**2 / (8 * np.log(2)), np.radians(30.0)
    assert xx == pytest.approx(major * np.sin(angle) ** 2 + minor * np.cos(angle) ** 2, rel=1e-3)
    assert yy == pytest.approx(major * np.cos(angle) ** 2 + minor * np.sin(angle) ** 2, rel=1e-3)
    assert xy == pytest.approx(-(major - minor) * np.sin(angle) * np.cos(angle), rel=1e-3)  # East is -x


def test_noise_has_the_stated_rms_and_is_correlated_on_the_beam():
    silent = replace(POINT, flux_jy=0.0)
    noise = observe(silent, size_pix=400, noise_jy_per_beam=2e-4, bmin_arcsec=7.2).astype(np.float64)
    assert noise.std() == pytest.approx(2e-4, rel=0.03)
    assert abs(noise.mean()) < 2e-5
    # White noise seen through a Gaussian of width s has the correlation exp(-d^2 / 4 s^2).
    sigma_pix = 4.0 / np.sqrt(8 * np.log(2))
    for lag in (1, 2, 3):
        correlation = (noise[:, lag:] * noise[:, :-lag]).mean() / noise.var()
        assert correlation == pytest.approx(np.exp(-(lag**2) / (4 * sigma_pix**2)), abs=0.03)


def test_position_angle_runs_from_north_through_east():
    source = RadioSource("fr2", 100.0, 45.0, 1.0, hotspot_fraction=0.9, flux_ratio=0.05, peak_position=0.8)
    y, x = np.unravel_index((image := observe(source)).argmax(), image.shape)
    assert y > 60  # North is up
    assert x < 40  # East is left
    assert (y - 50) == pytest.approx(50 - x, abs=1)


def test_largest_angular_size_is_the_distance_of_the_hot_spots():
    source = RadioSource("fr2", 100.0, 0.0, 1.0, hotspot_fraction=0.9, arm_ratio=0.8, peak_position=0.8)
    column = observe(source)[:, 50]
    peaks = [i for i in range(1, 100) if column[i] > max(column[i - 1], column[i + 1]) and column[i] > 0.1]
    assert (peaks[-1] - peaks[0]) * 1.8 == pytest.approx(100.0, abs=3.6)


def peak_distance_over_size(morphology, index):
    rng = object_rng(0, index)
    source = replace(sample_radio_source(rng, morphology), angular_size_arcsec=100.0)
    image = render_radio(source, rng, **VIEW)
    y, x = np.unravel_index(image.argmax(), image.shape)
    return np.hypot(y - 50, x - 50) * 1.8 / 100.0


def test_fr2_are_edge_brightened_and_fr1_are_not():
    fr1 = [peak_distance_over_size("fr1", index) for index in range(60)]
    fr2 = [peak_distance_over_size("fr2", index) for index in range(60)]
    assert np.mean(np.array(fr1) < 0.25) > 0.9
    assert np.mean(np.array(fr2) > 0.3) > 0.9


def test_bent_sources_lie_to_one_side_of_their_core():
    source = RadioSource("bent", 80.0, 0.0, 1.0, bend_deg=70.0)
    x = np.arange(101) - 50.0
    offsets = [(observe(replace(source, bend_deg=bend)).sum(axis=0) * x).sum() for bend in (-70.0, 0.0, 70.0)]
    assert offsets[0] > 10.0  # West
    assert abs(offsets[1]) < 1.0
    assert offsets[2] < -10.0  # East


def test_an_object_depends_on_seed_and_index_alone():
    def survey(num, seed):
        images = []
        for index in range(num):
            rng = object_rng(seed, index)
            images.append(render_radio(sample_radio_source(rng), rng, **{**VIEW, "noise_jy_per_beam": 1e-4}))
        return images

    np.testing.assert_array_equal(survey(3, 7)[2], survey(5, 7)[2])
    assert not np.array_equal(survey(3, 7)[2], survey(3, 8)[2])
    assert not np.array_equal(survey(3, 7)[1], survey(3, 7)[2])


def test_nothing_wraps_around_from_outside_the_field():
    source = replace(POINT, angular_size_arcsec=400.0, core_fraction=0.0, hotspot_fraction=1.0, peak_position=0.9)
    image = observe(source)
    assert np.abs(image).max() < 1e-3


def test_field_sources_have_the_stated_density():
    silent = replace(POINT, flux_jy=0.0)
    per_deg2 = 400.0
    found = []
    for seed in range(20):
        image = observe(silent, seed, size_pix=200, field_sources_per_deg2=per_deg2)
        neighbours = [shift_by(image, dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
        found.append(np.sum((image > 8e-4) & np.all([image > other for other in neighbours], axis=0)))
    assert np.mean(found) == pytest.approx(per_deg2 * 0.1**2, rel=0.35)


def shift_by(image, dy, dx):
    return shift(image, (dy, dx), order=0, mode="constant", cval=-1.0)


def test_sampled_sources_stay_within_the_stated_ranges():
    sources = [sample_radio_source(object_rng(1, index)) for index in range(400)]
    extended = [s.angular_size_arcsec for s in sources if s.morphology != "compact"]
    assert min(extended) >= 20.0
    assert max(extended) <= 250.0
    assert 40.0 < np.median(extended) < 70.0
    assert all(5e-3 <= source.flux_jy <= 1.0 for source in sources)
    assert {source.morphology for source in sources} == {"fr1", "fr2", "bent", "compact"}


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="no radio morphology named 'fr3'; known: fr1, fr2, bent, compact"):
        sample_radio_source(np.random.default_rng(0), "fr3")
    with pytest.raises(ValueError, match="bmaj >= bmin"):
        observe(POINT, bmin_arcsec=9.0)
