"""What two stores or tables share is counted by split, whatever they are kept in."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import Table

from astrofm.data.overlap import measure_overlap
from astrofm.data.tables import read_table, write_table
from astrofm.errors import DataError, StoreError, UsageError

ARCSEC = 1 / 3600


@pytest.fixture
def table(tmp_path, radio_store):
    """Near s000 (1 and 3 arcsec) and s001 (2 arcsec) of the store, at nothing, and nowhere."""
    rows = {
        "Source_ID": ["007", "8", "9", "10", "11"],
        "RAJ2000": [10.0, 10.0, 11.0, 200.0, np.nan],
        "DEJ2000": [-30 + ARCSEC, -30 - 3 * ARCSEC, -30 + 2 * ARCSEC, 0.0, np.nan],
        "split": ["train", "test", "test", "test", "train"],
    }
    write_table(Table(rows), tmp_path / "other.csv")
    return tmp_path / "other.csv"


def test_sources_are_counted_by_the_splits_of_both(radio_store, table):
    found = measure_overlap(radio_store, table, 5.0).to_json()
    assert found["a"] | {"name": ""} == {
        "name": "",
        "num_sources": 36,
        "num_with_position": 36,
        "num_near_the_other": 2,
    }
    assert (found["b"]["num_sources"], found["b"]["num_with_position"], found["b"]["num_near_the_other"]) == (5, 4, 3)
    assert found["splits"] == [  # s000 is in the test split, s001 is not
        {"split_a": "test", "split_b": "test", "num_a": 1, "num_b": 1},
        {"split_a": "test", "split_b": "train", "num_a": 1, "num_b": 1},
        {"split_a": "train", "split_b": "test", "num_a": 1, "num_b": 1},
    ]
    assert [(pair["id_a"], pair["id_b"]) for pair in found["nearest"]] == [
        ("s000", "007"),
        ("s001", "9"),
        ("s000", "8"),
    ]
    separations = [pair["separation_arcsec"] for pair in found["nearest"]]
    np.testing.assert_allclose(separations, [1.0, 2.0, 3.0], rtol=1e-6)
    assert found["num_pairs"] == 3


def test_the_other_way_round_gives_the_same_pairs(radio_store, table):
    pairs, back = measure_overlap(radio_store, table, 2.5).pairs, measure_overlap(table, radio_store, 2.5).pairs
    assert sorted(zip(pairs.rows_a, pairs.rows_b, strict=True)) == sorted(zip(back.rows_b, back.rows_a, strict=True))
    assert len(pairs) == 2


def test_nothing_in_common_is_nothing(radio_store, table):
    found = measure_overlap(radio_store, table, 0.5).to_json()
    assert (found["num_pairs"], found["splits"], found["nearest"]) == (0, [], [])


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot", ".ecsv"])
def test_tables_of_every_kind_serve_with_or_without_ids(radio_store, tmp_path, suffix):
    write_table(Table({"ra": [11.0, 12.0], "dec": [-30.0, -30.0]}), tmp_path / f"plain{suffix}")
    found = measure_overlap(tmp_path / f"plain{suffix}", radio_store, 1.0).to_json()
    assert [(pair["id_a"], pair["id_b"]) for pair in found["nearest"]] == [("row 0", "s001"), ("row 1", "s002")]
    assert {one["split_a"] for one in found["splits"]} == {""}


def test_pairs_are_written_nearest_first(radio_store, table, tmp_path):
    write_table(measure_overlap(radio_store, table, 5.0).table(), tmp_path / "pairs.parquet")
    pairs = read_table(tmp_path / "pairs.parquet")
    assert list(pairs["id_b"]) == ["007", "9", "8"]
    assert list(pairs["split_a"]) == ["test", "train", "test"]
    assert list(pairs["row_a"]) == [0, 1, 0]
    assert list(pairs["ra_b"]) == [10.0, 11.0, 10.0]


def test_pairs_are_those_of_astropy(tmp_path):
    rng = np.random.default_rng(1)
    places = []
    for name in ("a", "b"):
        ra, dec = rng.uniform(359.9, 360.1, 300) % 360.0, rng.uniform(89.9, 90.0, 300)
        write_table(Table({"ra": ra, "dec": dec}), tmp_path / f"{name}.fits")
        places.append(SkyCoord(ra, dec, unit="deg"))
    import astropy.units as u

    first, second, separation, _ = search_around_sky(*places, 30 * u.arcsec)
    found = measure_overlap(tmp_path / "a.fits", tmp_path / "b.fits", 30.0).pairs
    assert len(first) > 50
    ours = sorted(zip(found.rows_a, found.rows_b, found.separation_arcsec, strict=True))
    theirs = sorted(zip(first, second, separation.to_value("arcsec"), strict=True))
    np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=1e-6)


def test_what_is_neither_store_nor_table_is_refused(radio_store, tmp_path):
    with pytest.raises(StoreError, match="there is no store at"):
        measure_overlap(radio_store, tmp_path / "none.zarr", 1.0)
    with pytest.raises(DataError, match="no table at"):
        measure_overlap(radio_store, tmp_path / "none.csv", 1.0)
    with pytest.raises(UsageError, match="radius of nan arcsec cannot be searched"):
        measure_overlap(radio_store, radio_store, float("nan"))
