"""Of what comes twice the first stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from astrofm.data.catalog import Catalog
from astrofm.data.crossmatch import overlap
from astrofm.data.making import duplicates
from astrofm.data.making.duplicates import same_pixels, same_place


def at(*ra_arcsec):
    from astropy.table import Table

    ids = [f"s{row}" for row in range(len(ra_arcsec))]
    ra = np.array(ra_arcsec) / 3600 + 10
    return Catalog.from_astropy(Table({"id_str": ids, "ra": ra, "dec": np.zeros(len(ids))}))


@given(st.lists(st.integers(0, 5), max_size=12), st.booleans())
def test_pixels_decide_and_digests_only_lead_to_them(values, collide):
    images = np.array(values, np.float32)
    digests = np.zeros(len(values), np.uint64) if collide else images.astype(np.uint64)
    places, firsts = same_pixels(digests, lambda place: images[place])
    expected = {place: values.index(value) for place, value in enumerate(values) if values.index(value) < place}
    assert dict(zip(places.tolist(), firsts.tolist(), strict=True)) == expected


def test_a_row_near_a_rejected_one_alone_is_kept():
    rows, firsts, distances = same_place(at(0, 0.8, 1.6, 2.4, 10), 1.0)
    assert rows.tolist() == [1, 3]
    assert firsts.tolist() == [0, 2]
    np.testing.assert_allclose(distances, 0.8, rtol=1e-6)


def test_thousands_of_rows_at_one_place_take_no_pairs_of_each_other(monkeypatch):
    looked_at = []
    monkeypatch.setattr(duplicates, "overlap", lambda a, b, radius: looked_at.append(len(a)) or overlap(a, b, radius))
    rows, firsts, distances = same_place(at(*[0.0] * 5000, 0.5, 0.5, 30.0, 30.0), 1.0)
    assert looked_at == [3]
    assert rows.tolist() == [*range(1, 5002), 5003]
    assert firsts.tolist() == [0] * 5001 + [5002]
    np.testing.assert_allclose(distances, [0.0] * 4999 + [0.5, 0.5, 0.0], rtol=1e-6)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=25), st.floats(0.1, 5))
def test_what_is_kept_lies_apart_and_what_is_not_lies_near_what_is_kept(places, radius):
    rows, firsts, _ = same_place(at(*places), radius)
    kept = np.delete(np.array(places), rows)
    apart = np.abs(kept[:, None] - kept)[~np.eye(len(kept), dtype=bool)]
    assert (apart > radius * (1 - 1e-6)).all()
    assert set(firsts).isdisjoint(rows.tolist())
    assert (np.abs(np.array(places)[rows] - np.array(places)[firsts]) <= radius * (1 + 1e-6)).all()
    assert (firsts < rows).all()
