"""Metrics of redshifts from images, by hand and by astropy."""

import math

import numpy as np
import pytest
import torch
from astropy.stats import mad_std

from astrofm.heads.photoz import photoz_bias, photoz_metrics, photoz_outliers, photoz_residual, photoz_sigma_mad


def test_the_residual_is_relative_to_one_plus_the_redshift():
    residual = photoz_residual(torch.tensor([0.3, 0.1]), torch.tensor([0.0, 0.25]))
    assert residual.tolist() == pytest.approx([0.3, -0.12])


def test_the_metrics_of_residuals_known_by_hand():
    residual = torch.tensor([-0.10, 0.00, 0.02, 0.04])
    assert photoz_bias(residual).item() == pytest.approx(-0.01)
    # The median is 0.01, the deviations from it are 0.01, 0.01, 0.03, 0.11, and their median is 0.02.
    assert photoz_sigma_mad(residual).item() == pytest.approx(1.4826 * 0.02, rel=1e-4)
    assert photoz_outliers(residual).item() == pytest.approx(0.25)
    assert photoz_outliers(residual, limit=0.01).item() == pytest.approx(0.75)


@pytest.mark.parametrize("num", [1, 10, 101])
def test_the_scatter_is_that_of_astropy(num):
    residual = np.random.default_rng(num).normal(0.01, 0.03, num)
    assert photoz_sigma_mad(torch.from_numpy(residual)).item() == pytest.approx(mad_std(residual), rel=1e-12)


def test_rows_without_a_redshift_count_for_nothing():
    z_phot, z_spec = torch.tensor([0.1, 0.9, 0.2]), torch.tensor([0.0, math.nan, 0.25])
    assert photoz_metrics(z_phot, z_spec) == photoz_metrics(z_phot[[0, 2]], z_spec[[0, 2]])
    none = photoz_metrics(z_phot, torch.full((3,), math.nan))
    assert {name: value.item() for name, value in none.items()} == dict.fromkeys(none, 0.0)


def test_a_prediction_that_is_no_number_is_not_left_out():
    metrics = photoz_metrics(torch.tensor([0.1, math.nan]), torch.tensor([0.1, 0.2]))
    assert all(value.isnan() for value in metrics.values())
