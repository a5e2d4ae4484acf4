"""Errors and their intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from astrofm.errors import DataError
from astrofm.transfer.metrics import check_distinct, paired_difference, summarise

indicators = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0.0, 1.0]))


def crossed_errors(rng, num_seeds, num_objects, *, base=-1.5, of_seed=0.3, of_object=1.0):
    """Errors whose log odds vary with seed and object, and their expected mean."""
    seeds = of_seed * rng.standard_normal((num_seeds, 1))
    objects = of_object * rng.standard_normal((1, num_objects))
    return rng.random((num_seeds, num_objects)) < 1 / (1 + np.exp(-(base + seeds + objects)))


def test_values_known_by_hand():
    summary = summarise([[1, 0, 0, 0], [1, 1, 0, 0]])
    assert summary.error_mean == 0.375
    # Means 1/4 and 1/2: standard deviation sqrt(2)/8, over sqrt(2).
    assert summary.error_sem == pytest.approx(0.125)
    assert summary.n_test == 4


def test_interval_is_the_quantiles_of_a_slow_two_level_bootstrap():
    errors = crossed_errors(np.random.default_rng(1), 6, 40).astype(float)
    rng = np.random.default_rng(2)
    means = [errors[rng.integers(6, size=6)][:, rng.integers(40, size=40)].mean() for _ in range(20_000)]
    np.testing.assert_allclose(summarise(errors).error_ci95, np.quantile(means, [0.025, 0.975]), atol=0.006)


def test_interval_of_one_seed_is_over_objects_and_has_no_standard_error():
    errors = np.zeros((1, 100))
    errors[0, :20] = 1
    summary = summarise(errors)
    assert summary.error_sem is None
    # The bootstrap of a fraction is binomial(100, 0.2)/100: 2.5% and 97.5% at 0.12 and 0.28.
    np.testing.assert_allclose(summary.error_ci95, (0.12, 0.28), atol=0.01)


def test_repeating_a_seed_adds_nothing_to_what_the_objects_tell():
    one = crossed_errors(np.random.default_rng(3), 1, 60)
    alone, repeated = summarise(one).error_ci95, summarise(np.repeat(one, 5, axis=0)).error_ci95
    np.testing.assert_allclose(alone, repeated, atol=0.02)


@pytest.mark.parametrize("num", [20, 104])
def test_no_error_at_all_leaves_the_exact_binomial_interval(num):
    low, high = summarise(np.zeros((3, num))).error_ci95
    assert low == 0
    # Clopper-Pearson: the error rate at which no error in num objects has a chance of 2.5%.
    assert (1 - high) ** num == pytest.approx(0.025)
    assert summarise(np.ones((3, num))).error_ci95 == pytest.approx((1 - high, 1.0))


@given(indicators)
@settings(max_examples=60, deadline=None)
def test_interval_contains_the_point_within_0_and_1(errors):
    summary = summarise(errors, num_resamples=300)
    low, high = summary.error_ci95
    assert 0 <= low <= summary.error_mean <= high <= 1


def test_interval_covers_the_truth_about_95_times_in_100():
    truth = crossed_errors(np.random.default_rng(0), 2000, 2000).mean()
    covered = 0
    for trial in range(300):
        errors = crossed_errors(np.random.default_rng([7, trial]), 10, 80)
        low, high = summarise(errors, num_resamples=1000, seed=trial).error_ci95
        covered += low <= truth <= high
    assert 0.91 <= covered / 300 <= 0.99


def test_interval_of_a_difference_covers_the_truth_about_95_times_in_100():
    def two_rows(rng, num_seeds, num_objects):
        objects = 1.5 * rng.standard_normal((1, num_objects))
        return [
            rng.random((num_seeds, num_objects))
            < 1 / (1 + np.exp(-(base + objects + 0.3 * rng.standard_normal((num_seeds, 1)))))
            for base in (-2.0, -1.0)
        ]

    a, b = two_rows(np.random.default_rng(0), 2000, 2000)
    truth, covered, narrower = a.mean() - b.mean(), 0, 0
    for trial in range(300):
        a, b = two_rows(np.random.default_rng([8, trial]), 10, 80)
        low, high = paired_difference(a, b, num_resamples=1000, seed=trial).ci95
        covered += low <= truth <= high
        widths = [np.ptp(summarise(row, num_resamples=300).error_ci95) for row in (a, b)]
        narrower += high - low < np.hypot(*widths)
    assert 0.91 <= covered / 300 <= 0.995
    # Hard objects are hard for both rows: pairing takes their share away.
    assert narrower > 250


@given(indicators, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_difference_is_antisymmetric_and_in_its_interval(a, seed):
    b = np.random.default_rng(seed).integers(2, size=a.shape).astype(float)
    there = paired_difference(a, b, num_resamples=300)
    back = paired_difference(b, a, num_resamples=300)
    assert there.value == -back.value
    np.testing.assert_allclose(there.ci95, (-back.ci95[1], -back.ci95[0]), atol=1e-12)
    assert -1 <= there.ci95[0] <= there.value <= there.ci95[1] <= 1


def test_difference_known_by_hand():
    value, (low, high) = paired_difference([[1, 1, 1, 1]], [[1, 0, 0, 0]])
    assert value == 0.75
    assert 0.2 <= low < high <= 1


def test_rows_that_never_differ_leave_the_interval_that_the_objects_do():
    value, (low, high) = paired_difference(np.zeros((2, 50)), np.zeros((2, 50)))
    assert value == 0
    assert high == -low == pytest.approx(1 - 0.025 ** (1 / 50))


def test_same_seed_gives_the_same_interval_in_any_block_size(monkeypatch):
    errors = crossed_errors(np.random.default_rng(4), 5, 50)
    assert summarise(errors) == summarise(errors)
    assert summarise(errors) != summarise(errors, seed=1)
    monkeypatch.setattr("astrofm.transfer.metrics._BLOCK", 1)
    np.testing.assert_allclose(
        summarise(errors, num_resamples=2000).error_ci95, summarise(errors).error_ci95, atol=0.02
    )


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([[0, np.nan]], "found nan"),
        ([[0, 0.5]], r"found 0\.5"),
        ([0, 1], r"shape \(seeds, test objects\)"),
        (np.zeros((0, 3)), "shape"),
    ],
)
def test_errors_that_are_no_errors_are_refused(errors, said):
    with pytest.raises(DataError, match=said):
        summarise(errors)


def test_rows_on_other_objects_are_refused():
    with pytest.raises(DataError, match="same seeds and test objects"):
        paired_difference(np.zeros((2, 3)), np.zeros((2, 4)))


def test_a_row_compared_with_itself_is_refused():
    errors = np.array([[0.0, 1.0]])
    with pytest.raises(DataError, match="compared with itself"):
        paired_difference(errors, errors)


def test_rows_made_from_the_same_numbers_are_refused_by_name():
    features = np.random.default_rng(0).random((5, 3))
    check_distinct({"pretrained": features, "random": features + 1e-7})
    with pytest.raises(DataError, match="'pretrained' and 'supervised'"):
        check_distinct({"pretrained": features, "random": features + 1, "supervised": features.copy()})
