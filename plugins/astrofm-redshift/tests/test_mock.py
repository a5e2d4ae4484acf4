"""The mock archive has the keys of the real one, dust in its pixels, and colours that tell the redshift."""

import h5py
import numpy as np
import pytest
from astrofm_redshift.dust import R_SDSS
from astrofm_redshift.mock_sdss_mgs import _galaxy, _noise_nanomaggy, _observed

from astrofm.survey import find_source

KEYS = {"images", "e_bv", "specz_redshift", "specz_redshift_err", "ra", "dec", "ObjID", "specObjID"}
"""Of the published file, as a notebook beside the paper's code prints them."""


@pytest.fixture(scope="module")
def rows(sdss_mgs, archive):
    return sdss_mgs.catalog(find_source(sdss_mgs.card, archive))


@pytest.fixture(scope="module")
def images(sdss_mgs, archive, rows):
    batches = sdss_mgs.cutouts(find_source(sdss_mgs.card, archive), rows)
    return np.concatenate([batch.images for batch in batches])


def test_the_file_has_the_keys_and_the_form_of_the_published_one(archive):
    with h5py.File(archive / "sdss_w_specz_mock.h5") as file:
        assert set(file) == KEYS
        assert file.attrs["MOCK"]
        assert file["images"].shape == (150, 5, 107, 107)
        assert file["images"].dtype == np.float32


def test_the_noise_is_that_of_the_limiting_magnitudes(images):
    """A magnitude of 23.1 in r is 0.575 nanomaggy, five times the noise of a star that covers 29.6 pixels."""
    assert _noise_nanomaggy()[2] == pytest.approx(0.575 / 5 / 29.6**0.5, rel=0.01)
    corners = images[:, :, :12, :12]
    clipped = 1.4826 * np.median(np.abs(corners - np.median(corners, axis=(2, 3), keepdims=True)), axis=(0, 2, 3))
    np.testing.assert_allclose(clipped, _noise_nanomaggy(), rtol=0.1)


def test_dust_dims_the_light_and_leaves_the_noise():
    galaxy, _ = _galaxy(3, 0)
    clear, dusty, dustier = (_observed(galaxy, ebv, 3, 0).astype(np.float64) for ebv in (0.0, 0.5, 1.0))
    transmission = 10 ** (-0.4 * np.array(R_SDSS) * 0.5)
    expected = (1 - transmission**2) / (1 - transmission)  # of two differences that have no noise in them
    found = (clear - dustier).sum(axis=(1, 2)) / (clear - dusty).sum(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_reddenings_are_those_of_high_galactic_latitude(rows):
    ebv = np.asarray(rows["ebv"])
    assert ebv.min() > 0.0
    assert ebv.max() < 0.5
    assert np.median(ebv) == pytest.approx(0.0346, rel=0.2)


def test_a_line_through_the_colours_tells_the_redshift_better_than_the_mean(rows, images):
    """Leave-one-out: each galaxy is left out of the fit that it is predicted by."""
    corrected = images[:, :, 33:74, 33:74].sum(axis=(2, 3)) * 10 ** (0.4 * np.outer(rows["ebv"], R_SDSS))
    magnitudes = -2.5 * np.log10(np.maximum(corrected, 1e-2))
    redshifts = np.asarray(rows["z_spec"])
    colours = np.column_stack([np.ones(len(redshifts)), -np.diff(magnitudes, axis=1)])
    error = _left_out(colours, redshifts)
    mean = _left_out(colours[:, :1], redshifts)
    assert error < 0.95 * mean
    assert _left_out(np.column_stack([colours, magnitudes[:, 2]]), redshifts) < 0.8 * mean
    shuffled = np.random.default_rng(0).permutation(len(redshifts))
    assert _left_out(colours[shuffled], redshifts) > 0.98 * mean


def _left_out(columns, values):
    """Return the rms error of a linear fit, each value left out of its own."""
    hat = columns @ np.linalg.pinv(columns)
    return float(np.sqrt(np.mean(((values - hat @ values) / (1 - np.diag(hat))) ** 2)))
