from dataclasses import replace

import numpy as np
import pytest

from astrofm.mock.optical import Galaxy, render_galaxy, sample_galaxy, to_rgb
from astrofm.mock.seeding import object_rng

VIEW = {
    "size_pix": 129,
    "pixel_scale_arcsec": 0.4,
    "psf_fwhm_arcsec": 1.2,
    "bands": "gri",
    "noise": 0.0,
    "field_objects_per_arcmin2": 0.0,
}
SPIRAL = Galaxy(
    "spiral", 0.05, 16.0, 6.0, 0.8, 30.0, bulge_fraction=0.2, sersic_index=2.0, num_arms=2, arm_strength=0.8
)
ROUND = Galaxy("elliptical", 0.05, 16.0, 4.0, 1.0, 0.0)


def observe(galaxy, seed=0, **changes):
    return render_galaxy(galaxy, np.random.default_rng(seed), **{**VIEW, **changes})


@pytest.mark.parametrize("morphology", ["elliptical", "spiral", "merger"])
def test_total_r_flux_is_that_of_the_magnitude(morphology):
    galaxy = replace(sample_galaxy(np.random.default_rng(2), morphology), magnitude=16.0, half_light_radius_arcsec=4.0)
    total = observe(galaxy, size_pix=401, bands="r").sum()
    assert total == pytest.approx(10 ** (0.4 * 6.5), rel=0.06)  # a steep profile has far wings


def test_half_of_the_light_lies_within_the_half_light_radius():
    image = observe(replace(ROUND, half_light_radius_arcsec=8.0), size_pix=601, bands="r")[0]
    y, x = np.indices(image.shape) - 300
    inside = image[np.hypot(y, x) < 20.0].sum() / 10 ** (0.4 * 6.5)
    assert inside == pytest.approx(0.5, abs=0.04)


def test_position_angle_runs_from_north_through_east():
    image = observe(replace(ROUND, axis_ratio=0.4, position_angle_deg=30.0))[1].astype(np.float64)
    y, x = np.indices(image.shape) - 64
    image[np.hypot(y, x) > 60] = 0.0  # a square field has moments of its own
    angle = 0.5 * np.arctan2(2 * (image * -x * y).sum(), (image * (y * y - x * x)).sum())
    assert np.degrees(angle) == pytest.approx(30.0, abs=1.0)


def test_ellipticals_are_redder_than_the_arms_of_spirals():
    def colour(galaxy):
        g, r = observe(galaxy, bands="gr").sum(axis=(1, 2))
        return -2.5 * np.log10(g / r)

    assert colour(ROUND) > colour(replace(SPIRAL, bulge_fraction=0.05)) + 0.2


def test_the_centre_of_a_spiral_is_redder_than_its_outskirts():
    g, _, i = observe(SPIRAL)
    y, x = np.indices(g.shape) - 64
    radius = np.hypot(y, x)
    inner, outer = radius < 4, (radius > 15) & (radius < 30)
    assert g[outer].sum() / i[outer].sum() > 1.2 * g[inner].sum() / i[inner].sum()


def test_redshift_reddens():
    near, far = (observe(replace(ROUND, redshift=z), bands="gr").sum(axis=(1, 2)) for z in (0.02, 0.3))
    assert near[0] / near[1] > 1.5 * far[0] / far[1]


def arm_angle(image, radius):
    """Phase of the two-armed pattern at a radius, anticlockwise from +x as seen with +y up."""
    y, x = np.indices(image.shape) - 64
    near = np.abs(np.hypot(y, x) - radius) < 1.0
    return 0.5 * np.angle((image[near] * np.exp(2j * np.arctan2(y, x)[near])).sum())


@pytest.mark.parametrize(("clockwise", "sign"), [(True, 1.0), (False, -1.0)])
def test_trailing_arms_open_against_the_turn(clockwise, sign):
    galaxy = replace(SPIRAL, axis_ratio=1.0, winds_clockwise=clockwise, bulge_fraction=0.05, pitch_deg=25.0)
    image = observe(galaxy)[0]
    advance = np.angle(np.exp(2j * (arm_angle(image, 17.0) - arm_angle(image, 13.0)))) / 2
    assert sign * advance == pytest.approx(np.log(17 / 13) / np.tan(np.radians(25.0)), abs=0.25)


def test_a_bar_is_elongated_and_a_ring_is_a_second_maximum():
    disk = replace(SPIRAL, axis_ratio=1.0, num_arms=0, arm_strength=0.0, bulge_fraction=0.1)
    y, x = np.indices((129, 129)) - 64
    radius, angle = np.hypot(y, x), np.arctan2(y, x)

    def elongation(galaxy):
        image = observe(galaxy)[1]
        inside = radius < 14
        return np.abs((image * np.exp(2j * angle))[inside].sum()) / image[inside].sum()

    assert elongation(disk) < 0.02
    assert elongation(replace(disk, bar_strength=0.9)) > 0.1
    profile = [observe(replace(disk, ring_strength=1.0))[0][np.abs(radius - r) < 1].mean() for r in range(8, 32)]
    assert np.any(np.diff(profile) > 0)
    plain = [observe(disk)[0][np.abs(radius - r) < 1].mean() for r in range(8, 32)]
    assert np.all(np.diff(plain) < 0)


def test_a_dust_lane_dims_the_midplane_and_blue_light_most():
    clear = replace(sample_galaxy(np.random.default_rng(3), "edge-on"), disturbance=0.0, dust=0.0)
    ratio = observe(replace(clear, dust=2.0)) / observe(clear)
    assert ratio[0, 64, 64] < ratio[1, 64, 64] < ratio[2, 64, 64] < 0.95


def test_a_merger_has_two_nuclei():
    galaxy = replace(
        sample_galaxy(np.random.default_rng(1), "merger"),
        companion_separation=2.0,
        companion_ratio=0.9,
        half_light_radius_arcsec=5.0,
        bulge_fraction=0.7,
    )
    image = observe(galaxy)[1]
    y, x = np.unravel_index(image.argmax(), image.shape)
    rows, columns = np.indices(image.shape)
    elsewhere = np.where(np.hypot(rows - y, columns - x) > 12, image, 0.0)
    other_y, other_x = np.unravel_index(elsewhere.argmax(), image.shape)
    assert elsewhere.max() > 0.5 * image.max()
    assert np.hypot(other_y - y, other_x - x) == pytest.approx(25.0, abs=2.0)


def test_noise_is_set_for_each_band():
    faint = replace(ROUND, magnitude=40.0)
    image = observe(faint, noise=(0.01, 0.02, 0.04), size_pix=256)
    np.testing.assert_allclose(image.std(axis=(1, 2)), (0.01, 0.02, 0.04), rtol=0.02)


@pytest.mark.parametrize("morphology", ["elliptical", "spiral", "edge-on", "merger"])
def test_an_object_depends_on_seed_and_index_alone(morphology):
    def survey(num):
        drawn = []
        for index in range(num):
            rng = object_rng(5, index)
            drawn.append(render_galaxy(sample_galaxy(rng, morphology), rng, **{**VIEW, "noise": 0.02, "size_pix": 32}))
        return drawn

    np.testing.assert_array_equal(survey(2)[1], survey(4)[1])
    assert np.isfinite(survey(4)).all()
    assert not np.array_equal(survey(2)[0], survey(2)[1])


def test_bands_come_in_the_order_asked_for():
    forward, backward = observe(SPIRAL, bands="ugriz"), observe(SPIRAL, bands="zirgu")
    np.testing.assert_allclose(forward, backward[::-1], rtol=1e-4, atol=1e-6)


def test_colour_in_the_picture_does_not_depend_on_brightness():
    flat = np.ones((3, 4, 4)) * np.array([0.5, 1.0, 1.5])[:, None, None]
    dim, bright = (to_rgb(scale * flat, scales=(1, 1, 1))[0, 0].astype(float) for scale in (0.1, 10.0))
    np.testing.assert_allclose(dim / dim.max(), bright / bright.max(), atol=0.01)
    assert bright[0] > bright[1] > bright[2]  # the last band is red
    assert bright.max() == 255


def test_an_empty_sky_is_black():
    assert to_rgb(np.zeros((3, 8, 8))).max() == 0


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="no galaxy morphology named 'blob'"):
        sample_galaxy(np.random.default_rng(0), "blob")
    with pytest.raises(ValueError, match="no band named y"):
        observe(ROUND, bands="gry")
    with pytest.raises(ValueError, match="2 noise levels for 3 bands"):
        observe(ROUND, noise=(0.1, 0.2))
    with pytest.raises(ValueError, match="shape"):
        to_rgb(np.zeros((2, 8, 8)))
