import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.data import crossmatch
from astrofm.data.catalog import Catalog
from astrofm.data.crossmatch import near, overlap
from astrofm.errors import UsageError

EDGE_ARCSEC = 1e-6  # pairs this close to the radius may fall on either side: rounding of the slow formula

positions = st.tuples(
    st.one_of(st.floats(0.0, 360.0, exclude_max=True), st.sampled_from([0.0, 1e-7, 359.9999999, 180.0])),
    st.one_of(st.floats(-90.0, 90.0), st.sampled_from([90.0, -90.0, 89.9999999, -89.9999, 0.0])),
)


def clusters(offset_deg=0.02):
    """Return positions that lie in groups, so that pairs within an arcminute do occur."""

    def scatter(drawn):
        seed, centres = drawn
        rng = np.random.default_rng(seed)
        ra, dec = np.repeat(np.array(centres), 6, axis=0).T
        ra = (ra + rng.uniform(-1, 1, len(ra)) * offset_deg / np.maximum(np.cos(np.radians(dec)), 1e-4)) % 360.0
        return ra, np.clip(dec + rng.uniform(-1, 1, len(dec)) * offset_deg, -90.0, 90.0)

    return st.tuples(st.integers(0, 2**32), st.lists(positions, min_size=1, max_size=6)).map(scatter)


def on_cell_borders(radius_arcsec=2.0):
    """Return positions on both sides of corners where HEALPix cells of some order meet, a radius apart at most."""
    from astropy_healpix import boundaries_lonlat

    def scatter(drawn):
        order, cells, seed = drawn
        rng = np.random.default_rng(seed)
        corners = boundaries_lonlat(np.array(cells) % (12 * 4**order), 1, 2**order, order="nested")
        ra, dec = (np.repeat(angle.to_value("deg").ravel(), 3) for angle in corners)
        shift = rng.uniform(-0.7, 0.7, (2, len(ra))) * radius_arcsec / 3600.0
        return (ra + shift[0] / np.maximum(np.cos(np.radians(dec)), 1e-4)) % 360.0, np.clip(dec + shift[1], -90.0, 90.0)

    cells = st.lists(st.integers(0, 12 * 4**12), min_size=1, max_size=4)
    return st.tuples(st.integers(0, 12), cells, st.integers(0, 2**32)).map(scatter)


def great_circle_arcsec(ra, dec, other_ra, other_dec):
    """The Vincenty formula, pair by pair: exact at all distances."""
    out = np.empty((len(ra), len(other_ra)))
    for i, (a, d) in enumerate(zip(np.radians(ra), np.radians(dec), strict=True)):
        for j, (b, e) in enumerate(zip(np.radians(other_ra), np.radians(other_dec), strict=True)):
            across = np.hypot(np.cos(e) * np.sin(b - a), np.cos(d) * np.sin(e) - np.sin(d) * np.cos(e) * np.cos(b - a))
            along = np.sin(d) * np.sin(e) + np.cos(d) * np.cos(e) * np.cos(b - a)
            out[i, j] = np.degrees(np.arctan2(across, along)) * 3600.0
    return out


def catalog(ra, dec):
    return Catalog.from_astropy(Table({"id_str": [str(i) for i in range(len(ra))], "ra": ra, "dec": dec}))


@settings(deadline=None, max_examples=60)
@given(
    clusters() | on_cell_borders(),
    clusters() | on_cell_borders(),
    st.sampled_from([0.0, 1.0, 30.0, 60.0, 3600.0, 648000.0]),
    st.booleans(),
)
def test_matches_are_those_of_the_slow_loop_over_all_pairs(first, second, radius_arcsec, with_itself):
    ra, dec = first
    other_ra, other_dec = first if with_itself else second
    distance = great_circle_arcsec(ra, dec, other_ra, other_dec)
    surely, perhaps = distance <= radius_arcsec - EDGE_ARCSEC, distance <= radius_arcsec + EDGE_ARCSEC
    if with_itself:
        surely |= distance == 0.0

    found = near(ra, dec, other_ra, other_dec, radius_arcsec)
    assert found[surely.any(axis=1)].all()
    assert not found[~perhaps.any(axis=1)].any()

    pairs = overlap(catalog(ra, dec), catalog(other_ra, other_dec), radius_arcsec)
    is_pair = np.zeros_like(surely)
    is_pair[pairs.rows_a, pairs.rows_b] = True
    assert is_pair[surely].all()
    assert not is_pair[~perhaps].any()
    assert len(pairs) == is_pair.sum()
    np.testing.assert_allclose(
        pairs.separation_arcsec, distance[pairs.rows_a, pairs.rows_b], atol=EDGE_ARCSEC, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0.0, 0.0), (360.0 - 60.0 / 3600.0, 0.0)),
        ((0.0, 90.0), (123.0, 90.0 - 60.0 / 3600.0)),
        ((10.0, -90.0 + 30.0 / 3600.0), (190.0, -90.0 + 30.0 / 3600.0)),
        ((45.0, 0.0), (45.0, 60.0 / 3600.0)),
    ],
)
def test_a_pair_at_the_very_radius_is_found_across_pole_and_meridian(one, other):
    args = [np.array([value]) for value in (*one, *other)]
    assert near(*args, 60.0 + 1e-9).all()
    assert not near(*args, 59.999).any()


def test_rows_are_matched_in_pieces_as_in_one(monkeypatch):
    rng = np.random.default_rng(0)
    first, second = (catalog(rng.uniform(0, 1, 200), rng.uniform(-0.5, 0.5, 200)) for _ in range(2))
    whole = overlap(first, second, 200.0)
    monkeypatch.setattr(crossmatch, "_ROWS_AT_ONCE", 7)
    pieces = overlap(first, second, 200.0)
    assert len(whole) > 100
    for name in ("rows_a", "rows_b", "separation_arcsec"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))


def test_a_position_that_is_not_known_has_no_neighbour():
    assert near([np.nan, 1.0], [np.nan, 1.0], [np.nan, 1.0], [np.nan, 1.0], 1.0).tolist() == [False, True]
    assert near([1.0], [1.0], [], [], 1.0).tolist() == [False]
    assert len(overlap(catalog([np.nan], [np.nan]), catalog([1.0], [1.0]), 10.0)) == 0


@pytest.mark.parametrize("radius_arcsec", [-1.0, float("nan")])
def test_a_radius_that_is_none_is_refused(radius_arcsec):
    with pytest.raises(UsageError, match="cannot be searched"):
        near([1.0], [1.0], [1.0], [1.0], radius_arcsec)
