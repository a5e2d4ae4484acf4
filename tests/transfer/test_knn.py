"""The kNN probe."""

import numpy as np
import pytest

from astrofm.errors import DataError
from astrofm.retrieval import similar as similar_module
from astrofm.transfer.knn import knn_error_leave_one_out, knn_predict


def slow_knn(bank, labels, queries, k, num_classes, temperature):
    predicted = []
    for query in queries:
        cosines = [row @ query / np.linalg.norm(row) / np.linalg.norm(query) for row in bank]
        votes = np.zeros(num_classes)
        for row in sorted(range(len(bank)), key=lambda row: -cosines[row])[:k]:
            votes[labels[row]] += np.exp(cosines[row] / temperature)
        predicted.append(votes.argmax())
    return predicted


@pytest.mark.parametrize("chunk", [5, 10_000])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_votes_are_those_of_a_plain_loop(k, temperature, chunk, monkeypatch):
    monkeypatch.setattr(similar_module, "_BANK", chunk)
    rng = np.random.default_rng(k)
    bank, queries = rng.standard_normal((60, 9)), rng.standard_normal((40, 9))
    labels = rng.integers(4, size=60)
    predicted = knn_predict(bank, labels, queries, k=k, num_classes=4, temperature=temperature)
    np.testing.assert_array_equal(predicted, slow_knn(bank, labels, queries, k, 4, temperature))


def test_nearest_counts_more_than_two_farther_ones_at_a_low_temperature():
    bank = [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]]
    query = [[1.0, 0.01]]
    assert knn_predict(bank, [1, 0, 0], query, k=3, num_classes=2, temperature=0.07) == [1]
    assert knn_predict(bank, [1, 0, 0], query, k=3, num_classes=2, temperature=10.0) == [0]


def test_length_of_a_vector_counts_for_nothing():
    rng = np.random.default_rng(0)
    bank, queries, labels = rng.standard_normal((30, 5)), rng.standard_normal((20, 5)), rng.integers(3, size=30)
    plain = knn_predict(bank, labels, queries, k=5, num_classes=3)
    scaled = knn_predict(bank * rng.uniform(0.1, 10, (30, 1)), labels, queries * 7, k=5, num_classes=3)
    np.testing.assert_array_equal(plain, scaled)


def test_tiny_temperature_is_the_nearest_neighbour_and_does_not_overflow():
    rng = np.random.default_rng(0)
    bank, labels = rng.standard_normal((30, 5)), rng.integers(3, size=30)
    np.testing.assert_array_equal(knn_predict(bank, labels, bank, k=30, num_classes=3, temperature=1e-5), labels)


@pytest.mark.parametrize(
    ("labels", "settings", "said"),
    [
        ([0, 1, 1], {"k": 4}, "asked for 4 neighbours among 3"),
        ([0, 1], {"k": 1}, "as many labels"),
        ([0, 1, 2], {"k": 1}, "outside 0 to 1"),
        ([0, -1, 1], {"k": 1}, "outside 0 to 1"),
        ([0, 1, 1], {"k": 1, "temperature": 0.0}, "positive"),
    ],
)
def test_what_cannot_vote_is_refused(labels, settings, said):
    with pytest.raises(DataError, match=said):
        knn_predict(np.eye(3), labels, np.eye(3), num_classes=2, **settings)


def test_leave_one_out_is_the_prediction_from_all_others():
    rng = np.random.default_rng(3)
    embeddings, labels = rng.standard_normal((25, 4)), rng.integers(3, size=25)
    wrong = []
    for row in range(25):
        others = np.arange(25) != row
        predicted = knn_predict(embeddings[others], labels[others], embeddings[[row]], k=6, num_classes=3)
        wrong.append(predicted[0] != labels[row])
    assert knn_error_leave_one_out(embeddings, labels, num_neighbours=6) == pytest.approx(np.mean(wrong))


def test_leave_one_out_of_few_objects_asks_all_others():
    embeddings = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]
    assert knn_error_leave_one_out(embeddings, [0, 0, 1, 1]) == 0
    assert knn_error_leave_one_out(embeddings, [0, 1, 0, 1]) == 1
