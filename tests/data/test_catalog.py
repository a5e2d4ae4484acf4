import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from astrofm.data.catalog import Catalog, healpix_29, sky_positions
from astrofm.data.tables import read_table
from astrofm.errors import DataError


def table(**columns):
    return Table({"id_str": ["a", "b"], "ra": [10.0, 350.5], "dec": [-1.0, 89.0]} | columns)


def test_columns_come_in_one_order_whatever_the_order_of_the_table():
    given_table = table(zebra=[1, 2], apple=[1.0, 2.0], split=["train", "test"])
    shuffled = given_table[["zebra", "split", "dec", "apple", "id_str", "ra"]]
    catalog = Catalog.from_astropy(given_table)
    assert catalog.columns == ("id_str", "ra", "dec", "_healpix_29", "split", "apple", "zebra")
    assert Catalog.from_astropy(shuffled).table == catalog.table


@pytest.mark.parametrize(
    ("id_name", "ra_name", "dec_name"),
    [
        ("object_id", "RAJ2000", "DEJ2000"),
        ("iauname", "ALPHA_J2000", "DELTA_J2000"),
        ("objID", "_RAJ2000", "_DEJ2000"),
        ("ID", "ALPHAWIN_J2000", "DELTAWIN_J2000"),
        ("Source_ID", "RA_ICRS", "DE_ICRS"),
        ("id_str", "RA_deg", "DEC_deg"),
    ],
)
def test_synonyms_are_understood_on_input(id_name, ra_name, dec_name):
    given_table = table()
    given_table.rename_columns(["id_str", "ra", "dec"], [id_name, ra_name, dec_name])
    assert Catalog.from_astropy(given_table).table == Catalog.from_astropy(table()).table


def test_two_columns_that_could_be_the_position_are_refused():
    given_table = table(RAJ2000=[1.0, 2.0])
    given_table.rename_column("ra", "RA_deg")
    with pytest.raises(DataError, match="'RA_deg' and 'RAJ2000' could both be 'ra'"):
        Catalog.from_astropy(given_table)


def test_computed_positions_win_over_the_published_ones_beside_them():
    given_table = table(RAJ2000=["00 40 00", "23 22 00"], ALPHA_J2000=[11.0, 12.0])
    given_table.rename_columns(["ra", "dec"], ["_RAJ2000", "_DEJ2000"])
    catalog = Catalog.from_astropy(given_table)
    np.testing.assert_array_equal(catalog.column("ra"), [10.0, 350.5])
    assert catalog.column("RAJ2000").tolist() == ["00 40 00", "23 22 00"]
    np.testing.assert_array_equal(sky_positions(given_table), [[10.0, 350.5], [-1.0, 89.0]])


@pytest.mark.parametrize(
    "ucds",
    [
        ("meta.id;meta.main", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
        ("ID_MAIN", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN"),
    ],
)
def test_a_votable_may_say_by_ucd_what_a_column_is(tmp_path, ucds):
    given_table = table(alpha=[1.0, 2.0])
    given_table.rename_columns(["id_str", "ra", "dec"], ["Name", "lon", "lat"])
    for name, ucd in zip(("Name", "lon", "lat"), ucds, strict=True):
        given_table[name].meta["ucd"] = ucd
    given_table["alpha"].meta["ucd"] = "pos.eq.ra"
    given_table.write(tmp_path / "t.vot", format="votable")
    catalog = Catalog.from_astropy(read_table(tmp_path / "t.vot"))
    assert catalog.column("id_str").tolist() == ["a", "b"]
    np.testing.assert_array_equal(catalog.column("ra"), [10.0, 350.5])
    given_table["ra"] = [3.0, 4.0]
    assert Catalog.from_astropy(given_table).column("ra").tolist() == [3.0, 4.0]


@pytest.mark.parametrize("unit", ["hours", "HMS", "hr"])
def test_other_spellings_of_hours_are_understood(unit):
    given_table = table(ra=[1.0, 2.0])
    given_table["ra"].unit = u.Unit(unit, parse_strict="silent")
    np.testing.assert_allclose(Catalog.from_astropy(given_table).column("ra"), [15.0, 30.0])


def test_right_ascension_in_hours_is_understood_through_its_unit_alone():
    in_hours = table()
    in_hours["ra"] = [1.0, 23.5] * u.hourangle
    np.testing.assert_allclose(Catalog.from_astropy(in_hours).column("ra"), [15.0, 352.5], rtol=1e-14)
    np.testing.assert_array_equal(Catalog.from_astropy(table(ra=[1.0, 23.5])).column("ra"), [1.0, 23.5])


def test_quantity_columns_are_converted():
    given_table = QTable({"id_str": ["a"], "ra": [np.pi] * u.rad, "dec": [30.0] * u.arcmin, "bmaj": [0.001] * u.deg})
    catalog = Catalog.from_astropy(given_table)
    np.testing.assert_allclose(catalog.column("ra"), 180.0)
    np.testing.assert_allclose(catalog.column("dec"), 0.5)
    np.testing.assert_allclose(catalog.column("bmaj"), 3.6)


def test_a_cell_without_text_has_no_position():
    given_table = Table({"id_str": ["a", "b"], "ra": ["12:30:00", " "], "dec": ["-00:30:00", ""]})
    given_table["ra"].unit, given_table["dec"].unit = u.hourangle, u.deg
    np.testing.assert_allclose(Catalog.from_astropy(given_table).column("ra"), [187.5, np.nan])


def test_the_value_that_is_no_number_is_told():
    with pytest.raises(DataError, match="column 'ra' holds text such as 'NA'"):
        Catalog.from_astropy(table(ra=["10", "NA"]))


def test_text_that_is_not_utf8_is_refused():
    given_table = table()
    given_table["class"] = np.array([b"FRI", b"F\xe9"])
    with pytest.raises(DataError, match=r"bytes that are not UTF-8, .*xe9.*: write it in UTF-8"):
        Catalog.from_astropy(given_table)


def test_sexagesimal_text_needs_a_unit():
    given_table = Table({"id_str": ["a"], "ra": ["12:30:00"], "dec": ["-00:30:00"]})
    with pytest.raises(DataError, match=r"'12:30:00'.*with the unit of the column"):
        Catalog.from_astropy(given_table)
    given_table["ra"].unit, given_table["dec"].unit = u.hourangle, u.deg
    catalog = Catalog.from_astropy(given_table)
    np.testing.assert_allclose([catalog.column("ra")[0], catalog.column("dec")[0]], [187.5, -0.5])


@pytest.mark.parametrize(
    ("ra", "dec"), [(-0.1, 0.0), (360.5, 0.0), (10.0, 90.1), (10.0, -91.0), (np.nan, 0.0), (np.inf, 0.0)]
)
def test_a_position_off_the_sky_is_refused_with_its_id_and_value(ra, dec):
    with pytest.raises(DataError, match=f"'b', ra {ra:g} and dec {dec:g} deg"):
        Catalog.from_astropy(table(ra=[1.0, ra], dec=[1.0, dec]))


def test_a_survey_without_positions_has_no_cells():
    catalog = Catalog.from_astropy(table(ra=[np.nan] * 2, dec=MaskedColumn([0.0, 0.0], mask=[True, True])))
    assert np.isnan(catalog.column("ra")).all()
    assert np.isnan(catalog.column("dec")).all()
    assert catalog.column("_healpix_29").tolist() == [-1, -1]


@given(st.floats(0.0, 359.999), st.floats(-90.0, 90.0))
def test_the_cell_of_a_position_is_its_order_29_nested_one(ra, dec):
    from astropy_healpix import healpix_to_lonlat

    cell = healpix_29(np.array([ra]), np.array([dec]))
    lon, lat = healpix_to_lonlat(cell, 2**29, order="nested")
    a, b = np.radians([ra, dec]), np.array([lon.rad[0], lat.rad[0]])
    chord = np.sin((b[1] - a[1]) / 2) ** 2 + np.cos(a[1]) * np.cos(b[1]) * np.sin((b[0] - a[0]) / 2) ** 2
    assert 2 * np.sqrt(chord) < 4e-9  # a cell of order 29 spans 2e-9 rad


@pytest.mark.parametrize("ids", [[1, 2], np.array([b"1", b"2"]), [" 1 ", "2"]])
def test_ids_are_text(ids):
    assert Catalog.from_astropy(table(id_str=ids)).column("id_str").tolist() == ["1", "2"]


def test_bad_ids_are_refused_by_name():
    with pytest.raises(DataError, match="more than once: a;"):
        Catalog.from_astropy(table(id_str=["a", "a"]))
    with pytest.raises(DataError, match="row 1 of the catalogue has no id"):
        Catalog.from_astropy(table(id_str=["a", ""]))
    with pytest.raises(DataError, match="floating-point"):
        Catalog.from_astropy(table(id_str=[1.0, 2.0]))


def test_an_id_that_comes_again_far_below_is_refused(monkeypatch):
    monkeypatch.setattr("astrofm.data.text.BLOCK_ROWS", 3)
    ids = ["a", "b", "c", "d", "e", "b", "a", "f"]
    with pytest.raises(DataError, match="more than once: a, b;"):
        Catalog.from_astropy(Table({"id_str": ids, "ra": np.zeros(8), "dec": np.zeros(8)}))


def test_ids_whose_hashes_are_equal_are_not_taken_for_one(monkeypatch):
    monkeypatch.setattr("astrofm.data.catalog.hash", lambda name: 0, raising=False)
    assert Catalog.from_astropy(table()).column("id_str").tolist() == ["a", "b"]
    with pytest.raises(DataError, match="more than once: a;"):
        Catalog.from_astropy(table(id_str=["a", "a"]))


def test_cells_do_not_depend_on_the_rows_that_are_computed_together(monkeypatch):
    ra, dec = np.arange(40) * 9.0, np.where(np.arange(40) % 5 == 4, np.nan, np.arange(40) - 20.0)
    whole = healpix_29(ra, dec)
    monkeypatch.setattr("astrofm.data.text.BLOCK_ROWS", 7)
    assert healpix_29(ra, dec).tolist() == whole.tolist()
    assert (whole == -1).sum() == 8


def test_a_missing_column_is_named_with_those_that_exist():
    with pytest.raises(DataError, match="no column 'label'; it has id_str, ra, dec"):
        Catalog.from_astropy(table(), required=["label"])
    with pytest.raises(DataError, match="no column 'dec'"):
        Catalog.from_astropy(Table({"id_str": ["a"], "ra": [1.0]}))


def test_masked_entries_stay_missing_and_integers_come_back_when_they_are_left_out():
    catalog = Catalog.from_astropy(
        table(label=MaskedColumn([7, 8], mask=[False, True]), name=MaskedColumn(["x", "y"], mask=[False, True]))
    )
    np.testing.assert_array_equal(catalog.column("label"), [7.0, np.nan])
    assert catalog.column("name").tolist() == ["x", ""]
    assert catalog.take([0]).column("label").dtype == np.int64


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_objects_of_python_are_missing_where_they_are_none_or_not_a_number(nothing):
    columns = {
        "ra": np.array([nothing, 2.5], dtype=object),
        "label": np.array([nothing, 7], dtype=object),
        "label_name": np.array(["spiral", nothing], dtype=object),
        "flagged": np.array([True, False], dtype=object),
    }
    catalog = Catalog.from_astropy(Table({"id_str": ["a", "b"], "dec": [np.nan, 1.0]} | columns))
    np.testing.assert_array_equal(catalog.column("ra"), [np.nan, 2.5])
    np.testing.assert_array_equal(catalog.column("label"), [np.nan, 7])
    assert catalog.take([1]).column("label").dtype == np.int64
    assert catalog.column("label_name").tolist() == ["spiral", ""]
    assert catalog.column("flagged").tolist() == ["True", "False"]
    with pytest.raises(DataError, match="row 0 of the catalogue has no id"):
        Catalog.from_astropy(Table({"id_str": np.array([nothing, "b"], dtype=object), "ra": [1.0, 2.0], "dec": [0, 1]}))


def test_writing_then_reading_gives_the_same_catalogue(tmp_path):
    catalog = Catalog.from_astropy(table(z_pdf=[[0.1, 0.9], [0.5, 0.5]], label=MaskedColumn([1, 2], mask=[0, 1])))
    catalog.write(tmp_path / "catalog.parquet")
    again = Catalog.read(tmp_path / "catalog.parquet")
    assert again.table == catalog.table
    np.testing.assert_array_equal(again.column("z_pdf"), [[0.1, 0.9], [0.5, 0.5]])


def test_the_bytes_depend_on_the_rows_and_not_on_how_they_were_put_together(tmp_path):
    catalog = Catalog.from_astropy(table(label=[1, 2]))
    chunked = Catalog(pa.concat_tables([catalog.take([0]).table, catalog.take([1]).table]))
    chunked = Catalog(chunked.table.replace_schema_metadata({"made": "in two parts"}))
    catalog.write(tmp_path / "one.parquet")
    chunked.write(tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert pq.read_table(tmp_path / "one.parquet").num_rows == 2


def test_a_file_that_is_no_catalogue_is_refused(tmp_path):
    with pytest.raises(DataError, match="no catalogue can be read"):
        Catalog.read(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="no catalogue can be read"):
        Catalog.read(tmp_path / "text.parquet")


def test_taken_rows_keep_their_order_and_added_columns_their_place():
    catalog = Catalog.from_astropy(table(label=[1, 2])).with_columns({"rms": [0.1, 0.2]}).take([1, 0, 1])
    assert catalog.column("id_str").tolist() == ["b", "a", "b"]
    assert catalog.column("rms").tolist() == [0.2, 0.1, 0.2]
    assert catalog.columns[-2:] == ("label", "rms")
    with pytest.raises(DataError, match="no column 'nothing'"):
        catalog.column("nothing")


@pytest.mark.parametrize("unit", ["h", "hourangle"])
def test_right_ascension_in_h_is_in_hours(unit):
    table = Table({"id": ["a"], "ra": [12.5], "dec": [1.0]})
    table["ra"].unit = unit
    assert Catalog.from_astropy(table).column("ra")[0] == pytest.approx(187.5)


def test_the_sexagesimal_units_of_vizier_are_understood():
    table = Table({"id": ["a"], "RAJ2000": ["12 30 00"], "DEJ2000": ["-01 30 00"]})
    for name, unit in (("RAJ2000", '"h:m:s"'), ("DEJ2000", '"d:m:s"')):
        table[name].unit = u.Unit(unit, parse_strict="silent")
    catalog = Catalog.from_astropy(table)
    assert (catalog.column("ra")[0], catalog.column("dec")[0]) == pytest.approx((187.5, -1.5))


def test_complex_numbers_are_refused_by_the_name_of_their_column():
    with pytest.raises(DataError, match="column 'q' holds values of type complex128"):
        Catalog.from_astropy(Table({"id": ["a"], "ra": [1.0], "dec": [1.0], "q": [1j]}))
