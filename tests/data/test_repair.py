"""A repair gives back the bytes that were lost, from the same archive only."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from astrofm.data.ingest import ingest
from astrofm.data.options import IngestOptions
from astrofm.data.repair import repair
from astrofm.data.store import verify
from astrofm.errors import StoreError

pytestmark = pytest.mark.usefixtures("small_pieces")

PIECES = [
    "zarr.json",
    "image/zarr.json",
    "catalog.parquet",
    "rejected.parquet",
    *[f"image/c/{i}/0/0/0" for i in range(5)],
]


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture
def store(survey, archive, tmp_path) -> Path:
    ingest(survey, archive, tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize("broken", [[piece] for piece in PIECES[::2]] + [PIECES[4:7:2], PIECES[2:6], PIECES])
def test_every_piece_comes_back_and_no_other_is_touched(store, survey, archive, broken):
    before = hashes(store)
    for number, file in enumerate(broken):
        damaged = bytearray((store / file).read_bytes())
        damaged[len(damaged) // 2] ^= 1
        (store / file).unlink() if number % 2 else (store / file).write_bytes(damaged)
    times = {file: (store / file).stat().st_mtime_ns for file in set(PIECES) - set(broken)}
    assert sorted(repair(store, survey, archive)["repaired"]) == sorted(broken)
    assert hashes(store) == before
    assert times == {file: (store / file).stat().st_mtime_ns for file in times}
    assert verify(store) == []
    assert not store.with_name("store.partial").exists()


def test_a_sound_store_is_left_alone(store, survey, tmp_path):
    assert repair(store, survey, tmp_path / "not even there")["repaired"] == []


def test_another_archive_is_refused(store, survey, make_archive, tmp_path):
    (store / PIECES[4]).write_bytes(b"")
    other = make_archive(tmp_path / "other", seed=1)
    with pytest.raises(StoreError, match=r"differs in the source .*give the source it was made from"):
        repair(store, survey, other)
    assert (store / PIECES[4]).read_bytes() == b""


def test_a_damaged_manifest_cannot_be_repaired(store, survey, archive):
    manifest = store / "manifest.json"
    manifest.write_text(manifest.read_text().replace("src010", "src011"))
    with pytest.raises(StoreError, match="is damaged, and with it every hash"):
        repair(store, survey, archive)


def test_other_bytes_than_recorded_are_never_put_in(store, survey, archive, monkeypatch):
    shutil.copy(store / PIECES[5], store / PIECES[4])
    monkeypatch.setattr("astrofm.data.making.pack.read_rows", _reads_zeros)
    with pytest.raises(StoreError, match=r"differs .*the reader of the survey has changed"):
        repair(store, survey, archive)
    assert [damage.file for damage in verify(store)] == [PIECES[4]]


def _reads_zeros(file, kind, places, shape, dtype):
    return np.zeros((len(places), *shape), dtype)


def test_a_store_with_options_is_mended_with_the_same_options(survey, archive, tmp_path):
    ingest(survey, archive, tmp_path / "store", options=IngestOptions(keep_bits=6, field_of_view_arcsec=36.0))
    before = hashes(tmp_path / "store")
    for piece in (PIECES[4], PIECES[2]):
        (tmp_path / "store" / piece).unlink()
    repair(tmp_path / "store", survey, archive)
    assert hashes(tmp_path / "store") == before


def test_duplicates_that_were_left_out_stay_out(survey, archive, tmp_path, repeat):
    repeat(archive, "src002", "src020")
    assert ingest(survey, archive, tmp_path / "store")["rejected"]["duplicate image"] == 1
    before = hashes(tmp_path / "store")
    for piece in ("rejected.parquet", "image/c/0/0/0/0", "image/c/2/0/0/0"):
        (tmp_path / "store" / piece).unlink()
        repair(tmp_path / "store", survey, archive)
        assert hashes(tmp_path / "store") == before
