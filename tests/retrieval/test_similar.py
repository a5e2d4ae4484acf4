"""Exact similarity search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.errors import DataError
from astrofm.retrieval import similar as module
from astrofm.retrieval.similar import similar


def slow_similar(embeddings, queries, k):
    rows = []
    for query in queries:
        cosines = [np.float32(e @ query / np.linalg.norm(e) / np.linalg.norm(query)) for e in embeddings]
        rows.append(sorted(range(len(embeddings)), key=lambda row: (-cosines[row], row))[:k])
    return rows


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.data())
@settings(max_examples=40, deadline=None)
def test_neighbours_are_those_of_a_plain_loop(seed, num, data):
    k = data.draw(st.integers(1, num))
    rng = np.random.default_rng(seed)
    embeddings, queries = rng.standard_normal((num, 4)).astype(np.float32), rng.standard_normal((3, 4))
    found = similar(embeddings, queries, k)
    np.testing.assert_array_equal(found.rows, slow_similar(embeddings.astype(float), queries, k))
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_scores_are_cosines_known_by_hand():
    found = similar([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0], [-1.0, 0.0]], [[5.0, 0.0]], 4)
    np.testing.assert_array_equal(found.rows, [[0, 1, 2, 3]])
    np.testing.assert_allclose(found.scores, [[1.0, np.sqrt(0.5), 0.0, -1.0]], atol=1e-7)


def test_a_row_is_not_its_own_neighbour_but_its_twin_is():
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((50, 6))
    embeddings[7] = embeddings[3]
    found = similar(embeddings, np.arange(50), 49)
    for row in range(50):
        np.testing.assert_array_equal(np.sort(found.rows[row]), np.delete(np.arange(50), row))
    assert found.rows[3, 0] == 7
    assert found.rows[7, 0] == 3
    as_vectors = similar(embeddings, embeddings[[3]], 2)
    np.testing.assert_array_equal(as_vectors.rows, [[3, 7]])


def test_ties_go_to_the_lower_row_whatever_the_chunks(monkeypatch):
    rng = np.random.default_rng(1)
    embeddings = rng.standard_normal((5, 33)).astype(np.float32)[rng.integers(5, size=300)]
    queries = rng.standard_normal((20, 33))
    whole = similar(embeddings, queries, 100)
    np.testing.assert_array_equal(whole.rows, slow_similar(embeddings.astype(float), queries, 100))
    for bank, query_chunk in ((1, 3), (7, 1), (64, 20)):
        monkeypatch.setattr(module, "_BANK", bank)
        monkeypatch.setattr(module, "_QUERIES", query_chunk)
        chunked = similar(embeddings, queries, 100)
        np.testing.assert_array_equal(chunked.rows, whole.rows)
        np.testing.assert_array_equal(chunked.scores, whole.scores)


def slow_apart(order, sky, own, k, separation_arcsec):
    from astropy import units as u

    seen, kept = ([] if own is None else [own]), []
    for row in order:
        if all(not (sky[row].separation(sky[other]) < separation_arcsec * u.arcsec) for other in seen):
            kept.append(row)
            seen.append(row)
    return (kept + [-1] * k)[:k]


def test_a_source_seen_twice_is_listed_once(monkeypatch):
    from astropy.coordinates import SkyCoord

    rng = np.random.default_rng(2)
    embeddings = rng.standard_normal((40, 5))
    centres = np.column_stack([rng.choice([0.0, 359.9999, 12.0, 200.0], 40), rng.choice([-89.99995, 0.0, 30.0], 40)])
    positions = centres + rng.uniform(0, 2 / 3600, (40, 2))
    sky = SkyCoord(positions, unit="deg")
    rows = np.arange(0, 40, 3)
    everything = similar(embeddings, rows, 39)
    found = similar(embeddings, rows, 6, positions=positions, min_separation_arcsec=3.0)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(found.rows[i], slow_apart(everything.rows[i], sky, row, 6, 3.0))
    vectors = embeddings[rows] + 0.1
    found = similar(embeddings, vectors, 12, positions=positions, min_separation_arcsec=3.0)
    everything = similar(embeddings, vectors, 40)
    for i in range(len(rows)):
        np.testing.assert_array_equal(found.rows[i], slow_apart(everything.rows[i], sky, None, 12, 3.0))


def test_where_all_are_one_source_the_list_ends_early_and_says_so():
    found = similar(np.eye(4), [0], 3, positions=np.full((4, 2), 10.0), min_separation_arcsec=1.0)
    np.testing.assert_array_equal(found.rows, [[-1, -1, -1]])
    assert np.isnan(found.scores).all()


def test_a_source_without_a_position_is_nobodys_duplicate():
    found = similar(np.eye(4) + 0.1, [0], 3, positions=np.full((4, 2), np.nan), min_separation_arcsec=1.0)
    np.testing.assert_array_equal(found.rows, [[1, 2, 3]])


@pytest.mark.parametrize(
    ("embeddings", "query", "k", "settings", "said"),
    [
        (np.eye(3), [0], 3, {}, "asked for 3 neighbours among 2: ask for 1 to 2"),
        (np.eye(3), np.eye(3), 0, {}, "asked for 0"),
        (np.eye(3), [3], 1, {}, "no row 3"),
        (np.eye(3), [-1], 1, {}, "no row -1"),
        (np.eye(3), np.eye(4), 1, {}, "have 4 features and the embeddings 3"),
        (np.eye(3), [0.0, 1.0, 0.0], 1, {}, "query vectors need the shape"),
        (np.diag([1, 0, 1]), [0], 1, {}, "1 of 3 embeddings are zero or not finite, the first in row 1"),
        (np.diag([1, np.nan, 1]), [0], 1, {}, "not finite"),
        (np.eye(3), [0], 1, {"positions": np.zeros((3, 2))}, "need both"),
        (np.eye(3), [0], 1, {"min_separation_arcsec": 1.0}, "need both"),
        (np.eye(3), [0], 1, {"positions": np.zeros((2, 2)), "min_separation_arcsec": 1.0}, r"shape \(3, 2\)"),
    ],
)
def test_what_cannot_be_searched_is_refused(embeddings, query, k, settings, said):
    with pytest.raises(DataError, match=said):
        similar(embeddings, query, k, **settings)
