import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import Table
from astropy.table.meta import get_yaml_from_table

from astrofm.data.catalog import Catalog
from astrofm.data.tables import read_table
from astrofm.errors import DataError, UsageError


def test_a_table_that_cannot_be_read_is_refused(tmp_path):
    for name in ("a.fits", "a.parquet", "a.vot", "a.ecsv"):
        (tmp_path / name).write_text("not a table")
        with pytest.raises(DataError, match=f"{name} cannot be read as a table"):
            read_table(tmp_path / name)
    with pytest.raises(UsageError, match=r"no suffix of a table; known: .csv"):
        read_table(tmp_path / "a.doc")


def test_masked_entries_of_parquet_stay_masked(tmp_path):
    pq.write_table(pa.table({"label": [1, None], "name": ["x", None], "z": [0.1, None]}), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert isinstance(table, Table)
    assert [bool(table[name].mask[1]) for name in table.colnames] == [True, True, True]
    assert table["label"].dtype.kind in "iu"


@pytest.mark.parametrize("column", ["ID", "objID", "Object_ID"])
def test_an_id_column_in_any_case_keeps_its_zeros(tmp_path, column):
    (tmp_path / "t.csv").write_text(f"{column},ra,dec\n0012,1,2\n")
    assert read_table(tmp_path / "t.csv", text={"id", "objid", "object_id"})[column].tolist() == ["0012"]


def test_the_byte_order_mark_of_a_spreadsheet_is_no_part_of_a_name(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfName, RA\na,1\n")
    assert read_table(tmp_path / "t.csv").colnames == ["Name", "RA"]


def test_parquet_columns_of_nulls_categories_and_dates_can_be_read(tmp_path):
    import datetime

    columns = {
        "nothing": pa.array([None, None]),
        "kind": pa.array(["FRI", None]).dictionary_encode(),
        "day": pa.array([datetime.date(2020, 1, 2), None]),
        "time": pa.array([datetime.datetime(2020, 1, 2), None]),
    }
    names = {"id_str": ["a", "b"], "ra": [1.0, 2.0], "dec": [1.0, 2.0]}
    pq.write_table(pa.table(names | columns), tmp_path / "a.parquet")
    catalog = Catalog.from_astropy(read_table(tmp_path / "a.parquet"))
    assert catalog.column("nothing").tolist() == ["", ""]
    assert catalog.column("kind").tolist() == ["FRI", ""]
    assert [catalog.table[name].null_count for name in ("day", "time")] == [1, 1]


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "vot"])
def test_right_ascension_in_hours_is_understood_in_every_format_that_has_units(tmp_path, suffix):
    table = Table({"id": ["a"], "ra": [1.5], "dec": [2.0]})
    table["ra"].unit = u.hourangle if suffix == "ecsv" else u.hour
    table.write(tmp_path / f"t.{suffix}", format={"ecsv": "ascii.ecsv", "fits": "fits", "vot": "votable"}[suffix])
    assert Catalog.from_astropy(read_table(tmp_path / f"t.{suffix}")).column("ra")[0] == pytest.approx(22.5)


def test_parquet_keeps_the_units_that_astropy_or_a_field_notes(tmp_path):
    plain = pa.table({"id": ["a"], "ra": [1.5], "dec": [2.0]})
    table = Table({"id": ["a"], "ra": [1.5] * u.hourangle, "dec": [2.0]})
    by_astropy = {"table_meta_yaml": "\n".join(get_yaml_from_table(table))}
    pq.write_table(plain.replace_schema_metadata(by_astropy), tmp_path / "astropy.parquet")
    field = pa.field("ra", pa.float64(), metadata={"unit": "hour"})
    pq.write_table(plain.cast(plain.schema.set(1, field)), tmp_path / "field.parquet")
    pq.write_table(plain, tmp_path / "plain.parquet")
    for name, ra_deg in (("astropy", 22.5), ("field", 22.5), ("plain", 1.5)):
        catalog = Catalog.from_astropy(read_table(tmp_path / f"{name}.parquet"))
        np.testing.assert_allclose(catalog.column("ra"), [ra_deg])


def test_two_columns_of_one_name_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("id,label,label\na,1,2\n")
    with pytest.warns(UserWarning, match=r"a.csv has several columns named label: the first counts, .* label_1"):
        table = read_table(tmp_path / "a.csv")
    assert (table["label"].tolist(), table["label_1"].tolist()) == ([1], [2])


def test_bytes_of_parquet_are_text(tmp_path):
    columns = {"id": pa.array([b"a", b"b"]), "class": pa.array([b"FRI", None], pa.binary())}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert table["id"].tolist() == ["a", "b"]
    assert table["class"].tolist() == ["FRI", None]
    pq.write_table(pa.table({"class": pa.array([b"F\xe9"])}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="column 'class' holds bytes that are no text in UTF-8"):
        read_table(tmp_path / "b.parquet")


def test_a_folder_or_a_forbidden_file_is_no_table(tmp_path, monkeypatch):
    for suffix in ("csv", "fits", "vot", "ecsv"):
        folder = tmp_path / f"folder.{suffix}"
        folder.mkdir()
        with pytest.raises(DataError, match=f"folder.{suffix}.* (is a folder; give|cannot be read as a table)"):
            read_table(folder)

    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("astrofm.data.tables.pq.read_table", forbidden)
    with pytest.raises(DataError, match=r"the table .*t.parquet cannot be read: permission denied; let its owner"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_csv_without_commas_says_what_separates_its_columns(tmp_path, separator, name):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(separator.join(row) for row in (["id", "ra", "dec"], ["a", "1", "2"])) + "\n")
    with pytest.raises(DataError, match=f"are separated by {name}: save it again with commas"):
        read_table(path)


def test_a_csv_in_another_encoding_says_which_to_use(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("id_str,label\na,Pöhl\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"is no text in UTF-8 .* at byte \d+\): save it as UTF-8"):
        read_table(path)
