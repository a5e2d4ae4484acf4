"""The linear probe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize

from astrofm.errors import DataError
from astrofm.transfer import linear
from astrofm.transfer.linear import cross_entropy, fit_linear_probe


def blobs(num, width, num_classes=3, spread=1.0, seed=0):
    """Features around one centre a class, and the classes."""
    centres = np.random.default_rng(99).standard_normal((num_classes, width))
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    return centres[labels] + spread * rng.standard_normal((num, width)), labels


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_untrained_loss_is_ln_k(num_classes):
    x, y = blobs(40, 5, num_classes)
    loss, _ = cross_entropy(np.zeros((6, num_classes)), x, y, strength=1.0)
    assert loss == pytest.approx(np.log(num_classes))


def test_loss_is_the_equation_written_as_a_loop():
    x, y = blobs(7, 4)
    parameters = np.random.default_rng(1).standard_normal((5, 3))
    loss, _ = cross_entropy(parameters, x, y, strength=0.3)
    expected = 0.15 * np.square(parameters[:4]).sum()
    for features, label in zip(x, y, strict=True):
        scores = np.exp([features @ parameters[:4, c] + parameters[4, c] for c in range(3)])
        expected -= np.log(scores[label] / scores.sum()) / 7
    assert loss == pytest.approx(expected)


@given(st.integers(0, 1000), st.floats(0, 10))
@settings(max_examples=20, deadline=None)
def test_gradient_is_that_of_finite_differences(seed, strength):
    x, y = blobs(9, 3, seed=seed)
    start = np.random.default_rng(seed).standard_normal((4, 3))
    _, gradient = cross_entropy(start, x, y, strength)
    numeric = approx_fprime(start.ravel(), lambda p: cross_entropy(p.reshape(4, 3), x, y, strength)[0], 1e-7)
    np.testing.assert_allclose(gradient.ravel(), numeric, atol=1e-4)


def test_gradient_does_not_vanish_where_the_probe_is_sure_and_wrong():
    parameters = np.array([[50.0, -50.0], [0.0, 0.0]])
    _, gradient = cross_entropy(parameters, np.ones((1, 1)), np.array([1]), strength=0.0)
    np.testing.assert_allclose(gradient[0], [1.0, -1.0])


@pytest.mark.parametrize("num", [20, 120])
def test_probe_is_the_optimum_that_another_solver_finds(num):
    x, y = blobs(num, 40)
    probe = fit_linear_probe(x, y, num_classes=3, seed=0)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)

    def loss(flat):
        weights, bias = flat[:-3].reshape(40, 3), flat[-3:]
        logits = standard @ weights + bias
        nll = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(num), y]
        return nll.mean() + 0.5 * probe.strength * (weights**2).sum()

    def slope(flat):
        return cross_entropy(flat.reshape(41, 3), standard, y, probe.strength)[1].ravel()

    found = minimize(loss, np.zeros(123), jac=slope, method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(probe.weights, found.x[:-3].reshape(40, 3), atol=1e-4)


def test_two_points_known_by_hand():
    # Standardised to -1 and 1; weights (-w, w), of which lambda w = sigmoid(-2w).
    probe = fit_linear_probe([[0.0], [4.0]] * 30, [0, 1] * 30, num_classes=2, seed=0)
    (minus, plus), strength = probe.weights[0], probe.strength
    assert minus == pytest.approx(-plus, rel=1e-3)
    assert strength * plus == pytest.approx(1 / (1 + np.exp(2 * plus)), rel=1e-3)
    np.testing.assert_allclose(probe.bias, 0, atol=1e-5)


def test_separable_classes_are_learned_and_noise_is_not():
    x, y = blobs(150, 30, spread=0.3)
    held_out, truth = blobs(300, 30, spread=0.3, seed=5)
    assert (fit_linear_probe(x, y, num_classes=3, seed=0).predict(held_out) == truth).mean() > 0.99
    noise = np.random.default_rng(0).standard_normal((60, 200))
    probe = fit_linear_probe(noise, y[:60], num_classes=3, seed=0)
    assert probe.strength >= 10
    assert probe.probabilities(held_out @ np.ones((30, 200)) / 30).max() < 0.6


@given(st.floats(1e-3, 1e3), st.floats(-100, 100))
@settings(max_examples=10, deadline=None)
def test_scale_and_offset_of_a_feature_change_nothing(factor, offset):
    x, y = blobs(45, 8)
    held_out, _ = blobs(30, 8, seed=1)
    scale = np.array([factor] + [1.0] * 7)
    plain = fit_linear_probe(x, y, num_classes=3, seed=0).probabilities(held_out)
    scaled = fit_linear_probe(x * scale + offset, y, num_classes=3, seed=0).probabilities(held_out * scale + offset)
    np.testing.assert_allclose(plain, scaled, atol=1e-4)


def test_one_row_is_predicted_as_among_others():
    x, y = blobs(45, 8)
    held_out, _ = blobs(30, 8, seed=1)
    probe = fit_linear_probe(x, y, num_classes=3, seed=0)
    together = probe.probabilities(held_out)
    np.testing.assert_allclose(together[:1], probe.probabilities(held_out[:1]), rtol=1e-12)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    np.testing.assert_array_equal(probe.predict(held_out), together.argmax(axis=1))
    np.testing.assert_array_equal(probe.mean, x.mean(axis=0))


def test_the_span_of_few_objects_gives_the_same_probe_as_all_features(monkeypatch):
    x, y = blobs(24, 60)
    rotated = fit_linear_probe(x, y, num_classes=3, seed=0)
    monkeypatch.setattr(linear, "_rotate", lambda x: (x, np.eye(x.shape[1])))
    plain = fit_linear_probe(x, y, num_classes=3, seed=0)
    assert rotated.strength == plain.strength
    np.testing.assert_allclose(rotated.weights, plain.weights, atol=1e-5)


def test_same_seed_gives_the_same_probe():
    x, y = blobs(50, 70)
    first, second = (fit_linear_probe(x, y, num_classes=3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert first.strength == second.strength


def test_folds_are_stratified_disjoint_and_train_on_every_class():
    labels = np.array([0] * 20 + [1] * 10 + [2] * 2 + [3])
    folds = list(linear._stratified_folds(labels, np.random.default_rng(0)))
    held_out = np.sum(folds, axis=0)
    np.testing.assert_array_equal(held_out, labels != 3)
    for fold in folds:
        assert set(labels[~fold]) == {0, 1, 2, 3}
        assert (labels[fold] == 0).sum() == 4
        assert (labels[fold] == 1).sum() == 2
    assert {fold.sum() for fold in folds} == {6, 7}


def test_class_with_a_single_label_is_learned():
    x, y = blobs(31, 20, spread=0.1)
    keep = (y != 2) | (np.arange(31) == 2)
    probe = fit_linear_probe(x[keep], y[keep], num_classes=3, seed=0)
    assert np.isfinite(probe.weights).all()
    np.testing.assert_array_equal(probe.predict(x[keep]), y[keep])


def test_class_without_a_label_has_probability_zero():
    x, y = blobs(40, 6, num_classes=2)
    probe = fit_linear_probe(x, 2 * y, num_classes=4, seed=0)
    probabilities = probe.probabilities(x)
    assert probabilities.shape == (40, 4)
    np.testing.assert_array_equal(probabilities[:, [1, 3]], 0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_feature_that_does_not_vary_in_training_carries_nothing():
    x, y = blobs(40, 6)
    constant = np.column_stack([x, np.full(40, 0.1)])
    probe = fit_linear_probe(constant, y, num_classes=3, seed=0)
    changed = np.column_stack([x, np.full(40, 1e6)])
    np.testing.assert_array_equal(probe.probabilities(constant), probe.probabilities(changed))


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        (np.zeros((3, 2)), [0, 1], "as many labels"),
        (np.zeros((2, 2)), [0, 2], "outside 0 to 1"),
        (np.zeros((2, 2)), [-1, 1], "outside 0 to 1"),
        (np.zeros((2, 2)), [1, 1], "at least two classes"),
        (np.full((2, 2), np.nan), [0, 1], "2 of 2 objects"),
        (np.zeros(4), [0, 1], "shape"),
    ],
)
def test_what_cannot_be_fitted_is_refused(features, labels, said):
    with pytest.raises(DataError, match=said):
        fit_linear_probe(features, labels, num_classes=2, seed=0)


def test_features_of_another_width_are_refused():
    x, y = blobs(20, 6)
    probe = fit_linear_probe(x, y, num_classes=3, seed=0)
    with pytest.raises(DataError, match="fitted on 6 features and got 5"):
        probe.predict(x[:, :5])
