import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.data.cutouts import Cutout
from astrofm.data.files.noise import clipped_std
from astrofm.data.fits import read_cutout

SIZES = (1, 2, 3, 5, 17, 100, 2047, 2048, 4096, 20_000)

FIELDS = {
    "noise": lambda rng, num: rng.normal(0, 1, num),
    "pedestal": lambda rng, num: rng.normal(1e4, 1, num),
    "heavy tails": lambda rng, num: rng.standard_cauchy(num),
    "constant": lambda rng, num: np.full(num, rng.normal()),
    "whole numbers": lambda rng, num: rng.integers(-5, 6, num),
    "two levels": lambda rng, num: np.where(rng.random(num) < 0.5, 0.0, rng.normal(100, 0.01, num)),
    "skewed": lambda rng, num: rng.exponential(1, num) ** 4,
    "half unobserved": lambda rng, num: np.where(rng.random(num) < 0.5, np.nan, rng.normal(0, 1, num)),
    "sorted": lambda rng, num: np.sort(rng.normal(0, 1, num)),
    "sources on noise": lambda rng, num: rng.normal(0, 1e-4, num) + 0.1 * (rng.random(num) < 0.02),
}


def by_astropy(image):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(sigma_clipped_stats(image[np.isfinite(image)], sigma=3, maxiters=5)[2])


@settings(deadline=None, max_examples=250)
@given(
    st.sampled_from(sorted(FIELDS)), st.sampled_from(SIZES), st.integers(0, 10_000), st.sampled_from([-25, -5, 0, 18])
)
def test_the_noise_is_that_of_astropy_to_the_bit(kind, num, seed, exponent):
    with np.errstate(over="ignore", under="ignore"):
        image = (FIELDS[kind](np.random.default_rng(seed), num) * 10.0**exponent).astype(np.float32)
    if not np.isfinite(image).any():
        return
    np.testing.assert_array_equal(clipped_std(image), by_astropy(image))


def test_the_noise_of_known_fields():
    assert clipped_std(np.array([[-1.0, 1.0]], np.float32)) == 1.0
    assert clipped_std(np.full((4, 4), 7.0, np.float32)) == 0.0
    assert np.isnan(clipped_std(np.full((4, 4), np.nan, np.float32)))
    field = np.tile(np.array([-2.0, 2.0], np.float32), 5000)
    field[::100] = 1e3
    assert clipped_std(field.reshape(100, 100)) == by_astropy(field)
    assert clipped_std(field) == pytest.approx(2.0, rel=1e-3)


def test_infinite_pixels_are_left_out_like_unobserved_ones():
    image = np.random.default_rng(0).normal(0, 1, (40, 40)).astype(np.float32)
    image[0, 0], image[1, 1], image[2, 2] = np.inf, -np.inf, np.nan
    assert clipped_std(image) == by_astropy(image)


def test_a_sample_that_misses_the_middle_is_made_good():
    # The pixels that are looked at are high; the median is far below them.
    image = np.random.default_rng(1).normal(0, 1, 40_000).astype(np.float32)
    image[:: image.size // 1024] += 50
    assert clipped_std(image) == by_astropy(image)


def test_the_noise_of_every_real_image_is_that_of_astropy_to_the_bit(data_dir):
    folders = ("mirabest/fits", "radio-fits", "decals-fits", "optical-fits")
    paths = [path for folder in folders for path in sorted((data_dir / folder).glob("*.fits*"))]
    num_planes = 0
    for path in paths:
        read = read_cutout(path, measure_rms=False)
        for plane in read.image if isinstance(read, Cutout) else ():
            np.testing.assert_array_equal(clipped_std(plane), by_astropy(plane), err_msg=path.name)
            num_planes += 1
    assert num_planes > 50
    with fits.open(data_dir / "mirabest" / "fits" / "100_036.061+000.563_0.1400_0093.07.fits") as hdus:
        assert clipped_std(hdus[0].data.astype(np.float32)) == by_astropy(hdus[0].data.astype(np.float32))
