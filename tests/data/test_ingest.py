"""An ingest ends with the same bytes however it gets there, or leaves no store."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table

from astrofm.card import Fact
from astrofm.data.changes.rounding import round_mantissa
from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected
from astrofm.data.ingest import ingest
from astrofm.data.making import partial
from astrofm.data.making.plan import make_plan
from astrofm.data.making.staged import facts_of, keep
from astrofm.data.making.workers import Workers
from astrofm.data.manifest import hash_file
from astrofm.data.options import IngestOptions
from astrofm.data.store import CutoutStore, store_info, verify
from astrofm.errors import DataError, StoreError, UsageError
from astrofm.survey import Survey

pytestmark = pytest.mark.usefixtures("small_pieces")


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_bytes_do_not_depend_on_the_number_of_workers_or_the_place(survey, archive, tmp_path):
    ingest(survey, archive, tmp_path / "one")
    moved = shutil.copytree(archive, tmp_path / "elsewhere" / "copy")
    ingest(survey, moved, tmp_path / "elsewhere" / "two", workers=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "elsewhere" / "two")
    assert len(hashes(tmp_path / "one")) == 5 + 5
    text = (tmp_path / "one" / "manifest.json").read_text()
    assert str(tmp_path) not in text
    assert not list(tmp_path.glob("**/*.partial"))


def test_the_hash_of_a_catalogue_stays_what_it_was(survey, archive):
    rows = np.arange(40)

    class Odd(Survey):
        def catalog(self, source):
            return Table(
                {
                    "id_str": [f" J\u00e9{row:03d}" for row in rows],
                    "ra": np.where(rows % 5 == 4, np.nan, rows * 9.0),
                    "dec": np.where(rows % 5 == 4, np.nan, rows - 20.0),
                    "kind": MaskedColumn(
                        [("FRI", "FRII", "", "hybrid \u03a9")[row % 4] for row in rows], mask=rows % 11 == 3
                    ),
                    "count": MaskedColumn(rows % 3, mask=rows % 13 == 6),
                    "bytes": [f"\u00e9{row % 3}".encode() for row in rows],
                    "split": [("train", "Valid", "TEST ")[row % 3] for row in rows],
                }
            )

    # Of the release before a catalogue was converted by blocks of rows: unfinished ingests are continued by this hash.
    expected = "43cea5894ccf765498107c019ff1ee7ea87384fb1f6b0f7f4828f81b92403d5f"
    assert make_plan(Odd(survey.card), archive, None).made_from.catalogue_sha256 == expected


def test_facts_that_are_damaged_between_the_passes_are_not_believed(tmp_path):
    facts = facts_of(np.arange(3), {1: Rejected("bad")}, np.arange(2, dtype=np.uint64), {})
    staged = keep(tmp_path / "0.facts", facts, np.zeros((2, 1, 4, 4), np.float32), None)
    assert staged.num_taken == 2
    assert staged.facts() == facts
    content = bytearray(staged.file.read_bytes())
    content[100] ^= 1
    staged.file.write_bytes(content)
    with pytest.raises(StoreError, match="was damaged while the store was made"):
        staged.facts()


def test_what_is_not_taken_is_named_with_its_reason(survey, archive, tmp_path):
    info = ingest(survey, archive, tmp_path / "store")
    rejected = pq.read_table(tmp_path / "store" / "rejected.parquet").to_pylist()
    assert [(row["id_str"], row["file"], row["reason"]) for row in rejected] == [
        ("src003", "src003.fits", "missing pixels"),
        ("src004", "src004.fits", "truncated file"),
        ("src005", "src005.fits", "known artefact"),
    ]
    assert info["num_cutouts"] + sum(info["rejected"].values()) == 42
    taken = CutoutStore.open(tmp_path / "store").catalog.column("id_str")
    assert set(taken).isdisjoint(row["id_str"] for row in rejected)


def test_the_same_command_again_changes_nothing(survey, archive, tmp_path):
    first = ingest(survey, archive, tmp_path / "store")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*")}
    (tmp_path / "store.partial").mkdir()  # as left by a kill between the last rename and the cleaning up
    again = ingest(survey, archive, tmp_path / "store")
    assert (first.pop("already_complete"), again.pop("already_complete")) == (False, True)
    assert first == again == store_info(tmp_path / "store")
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*")}
    assert not (tmp_path / "store.partial").exists()


def test_other_parameters_are_refused_by_name_until_overwritten(survey, archive, make_archive, tmp_path):
    ingest(survey, archive, tmp_path / "store")
    before = hashes(tmp_path / "store")
    other = make_archive(tmp_path / "other", seed=1)
    with pytest.raises(StoreError, match=r"differs in the source \(src000.fits, .* more\).*--overwrite"):
        ingest(survey, other, tmp_path / "store")
    (archive / "MOCK.json").write_text("{}")
    with pytest.raises(StoreError, match="differs in mock data"):
        ingest(survey, archive, tmp_path / "store")
    (archive / "MOCK.json").unlink()
    card = survey.card.model_copy(update={"excluded": {}})
    with pytest.raises(StoreError, match=r"differs in the survey card \(excluded\)"):
        ingest(Survey(card), archive, tmp_path / "store")
    assert hashes(tmp_path / "store") == before
    ingest(survey, other, tmp_path / "store", overwrite=True)
    ingest(survey, other, tmp_path / "fresh")
    assert hashes(tmp_path / "store") == hashes(tmp_path / "fresh") != before


def test_a_changed_label_is_another_catalogue(survey, archive, tmp_path):
    ingest(survey, archive, tmp_path / "store")
    table = Table.read(archive / "table.csv")
    table["label"][0] += 1
    table.write(archive / "table.csv", overwrite=True)
    with pytest.raises(StoreError, match=r"the source \(table.csv\), the catalogue"):
        ingest(survey, archive, tmp_path / "store")


def test_work_of_another_command_is_left_alone(survey, archive, make_archive, tmp_path, monkeypatch):
    ingest(survey, archive, tmp_path / "store")
    other = make_archive(tmp_path / "other", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr("astrofm.data.ingest.assemble", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(survey, other, tmp_path / "store", overwrite=True)
    assert ingest(survey, archive, tmp_path / "store")["already_complete"]
    assert len(list((tmp_path / "store.partial" / "ranges").glob("*.facts"))) == 9


def test_mock_data_stays_mock(survey, tmp_path):
    source = survey.mock(6, 0, tmp_path / "mock")
    ingest(survey, source, tmp_path / "store")
    assert CutoutStore.open(tmp_path / "store").is_mock


def test_nothing_taken_leaves_no_store_and_counts_the_reasons(survey, archive, tmp_path):
    card = survey.card.model_copy(update={"excluded": {f"src{i:03d}": "known artefact" for i in range(42)}})
    with pytest.raises(StoreError, match="no cutout of 42 rows of 'tiny' could be taken \\(42 known artefact\\)"):
        ingest(Survey(card), archive, tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_a_folder_that_is_no_store_is_never_replaced(survey, archive, tmp_path):
    (tmp_path / "thesis").mkdir()
    with pytest.raises(StoreError, match="is no store of astrofm"):
        ingest(survey, archive, tmp_path / "thesis", overwrite=True)
    with pytest.raises(UsageError, match="at least 1 worker"):
        ingest(survey, archive, tmp_path / "store", workers=0)


def test_two_ingests_into_one_store_do_not_mix(survey, archive, tmp_path):
    (tmp_path / "store.partial").mkdir()
    with (tmp_path / "store.partial" / "lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process is writing"):
            ingest(survey, archive, tmp_path / "store")
    assert ingest(survey, archive, tmp_path / "store")["num_cutouts"] == 39


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(survey, archive, tmp_path, monkeypatch, failure):
    ingest(survey, archive, tmp_path / "whole")
    real = Path.replace

    def fails_at_the_fifth_range(self: Path, target: Path) -> Path:
        if target.name == "000000020.facts":
            raise OSError(failure, os.strerror(failure), str(self))
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails_at_the_fifth_range)
        with pytest.raises(StoreError, match=r"no space left on the disk|may not be written") as raised:
            ingest(survey, archive, tmp_path / "store")
    assert str(tmp_path / "store") in str(raised.value)
    assert not (tmp_path / "store").exists()
    ranges = tmp_path / "store.partial" / "ranges"
    begun = {file: file.stat().st_mtime_ns for file in ranges.iterdir()}
    assert sorted(file.name for file in begun if file.suffix == ".facts") == [f"{i:09d}.facts" for i in (0, 5, 10, 15)]
    assert not list(ranges.glob("*.tmp"))
    litter = tmp_path / "store.partial" / "store" / "image" / "c" / "0" / "0" / "0" / "0.4f1c.partial"
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b"half a shard")  # as a kill leaves it
    monkeypatch.setattr(partial.shutil, "rmtree", lambda path, **_: None)  # to look at what was used
    ingest(survey, archive, tmp_path / "store")
    whole = {file: time for file, time in begun.items() if file.name < "000000020"}
    assert whole == {file: file.stat().st_mtime_ns for file in whole}
    assert hashes(tmp_path / "store") == hashes(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_is_really_full_leaves_what_can_be_continued(survey, archive, tmp_path, small_disk, workers):
    ingest(survey, archive, tmp_path / "whole")
    with pytest.raises(StoreError, match=r"no space left on the disk of .* goes on where this one stopped"):
        ingest(survey, archive, small_disk / "store", workers=workers)
    assert not (small_disk / "store").exists()
    assert list((small_disk / "store.partial" / "ranges").glob("*.facts"))
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    ingest(survey, archive, small_disk / "store", workers=workers)
    assert hashes(small_disk / "store") == hashes(tmp_path / "whole")


def test_a_begun_ingest_of_something_else_is_refused_until_overwritten(survey, archive, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("astrofm.data.ingest.assemble", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(survey, archive, tmp_path / "store")
    card = survey.card.model_copy(update={"excluded": {}})
    with pytest.raises(StoreError, match=r"was begun with other parameters.*\(excluded\).*--overwrite"):
        ingest(Survey(card), archive, tmp_path / "store")
    assert ingest(Survey(card), archive, tmp_path / "store", overwrite=True)["num_cutouts"] == 40


@pytest.mark.parametrize("at", [1, 2])
def test_a_replaced_store_is_the_old_or_the_new_one_wherever_it_stops(
    survey, archive, make_archive, tmp_path, monkeypatch, at
):
    other = make_archive(tmp_path / "other", seed=1)
    ingest(survey, archive, tmp_path / "store")
    ingest(survey, other, tmp_path / "new")
    real, calls = Path.rename, iter(range(1, 100))

    def stops(self: Path, target: Path) -> Path:
        if next(calls) == at:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stops)
        with pytest.raises(KeyboardInterrupt):
            ingest(survey, other, tmp_path / "store", overwrite=True)
    ingest(survey, other, tmp_path / "store", overwrite=True)
    assert hashes(tmp_path / "store") == hashes(tmp_path / "new")


def test_killed_at_any_moment_it_ends_with_the_same_bytes(survey, make_archive, archive, tmp_path, monkeypatch):
    ingest(survey, archive, tmp_path / "whole")
    (tmp_path / "small_pieces.py").write_text(
        "from astrofm.data import layout\n"
        "from astrofm.data.ingest import ingest as whole_ingest\n"
        "def ingest(*given):\n"
        "    layout.CHUNK_ROWS, layout.SHARD_BYTES, layout.RANGE_BYTES = 4, 8 * 2304, 5 * 2304\n"
        "    whole_ingest(*given)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from small_pieces import ingest as small_ingest

    context = multiprocessing.get_context("forkserver")
    modules = ["astropy.io.ascii", "astropy.stats", "astropy.coordinates", "astropy_healpix", "zarr.codecs"]
    context.set_forkserver_preload(["astrofm.data.ingest", "astrofm.data.forms.folder", *modules])
    made = tmp_path / "store.partial"
    moments = ["plan.json", "ranges/000000005.facts", "ranges/000000030.facts"]
    moments += ["store/image/c/0/0/0/0", "shards/000002.json", "store/manifest.json"]
    num_killed = 0
    for moment in moments:
        process = context.Process(target=small_ingest, args=(survey, archive, tmp_path / "store"))
        process.start()
        while process.is_alive() and not (made / moment).exists():
            time.sleep(0.0005)
        process.kill()
        process.join()
        num_killed += process.exitcode == -signal.SIGKILL
        assert not (tmp_path / "store").exists() or verify(tmp_path / "store") == []
    assert num_killed >= 4
    ingest(survey, archive, tmp_path / "store")
    assert hashes(tmp_path / "store") == hashes(tmp_path / "whole")
    assert not made.exists()


def _dies_elsewhere(home: int) -> None:
    if os.getpid() != home:
        signal.raise_signal(signal.SIGKILL)
    time.sleep(0.01)


def test_a_killed_worker_is_a_sentence():
    with Workers(2) as workers, pytest.raises(StoreError, match=r"ended from outside.*fewer --workers"):
        workers.run(_dies_elsewhere, [os.getpid()] * 3000, lambda done: None)


def test_a_survey_can_be_sent_to_a_worker(survey):
    assert pickle.loads(pickle.dumps(survey)).card == survey.card


class Batched(Survey):
    """A survey without files of its own cutouts, which come as 8-bit batches."""

    given = 12

    def catalog(self, source):
        return Table({"id_str": [f"b{i}" for i in range(12)], "ra": np.arange(12.0), "dec": np.zeros(12)})

    def cutouts(self, source, rows):
        numbers = np.array([int(name[1:]) for name in rows["id_str"]])[: self.given]
        images = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 1, 20, 20)).astype(np.uint8)
        images[:, :, 0, 0] = 255
        masks = np.zeros((len(numbers), 20, 20), bool)
        masks[:, 1, 1] = True
        meta = {"rms": numbers.astype(float)}
        if len(numbers) > 1:
            yield CutoutBatch(images[:-1], "", masks[:-1], {"rms": meta["rms"][:-1]})
        yield Cutout(images[-1], "", masks[-1], meta={"rms": meta["rms"][-1], "bmaj": 5.0})


@pytest.fixture
def batched(survey) -> Batched:
    product = {"pattern": "*.fits", "shape": [1, 24, 24], "unit": "", "dtype": "uint8"}
    given = survey.card.model_dump() | {"products": {"bytes": product}, "splits": {"scheme": "by-id"}}
    return Batched(type(survey.card).model_validate(given))


def test_batches_and_single_cutouts_are_taken_alike(batched, archive, tmp_path):
    with pytest.warns(UserWarning, match="12 of 12 images of 'tiny' are smaller than the 24 x 24 pixels"):
        ingest(batched, archive, tmp_path / "store")
    store = CutoutStore.open(tmp_path / "store")
    assert store.dtype == np.uint8
    np.testing.assert_array_equal(store.read(slice(None))[:, 0, 10, 10], np.arange(12))
    np.testing.assert_array_equal(store.measured("rms"), np.arange(12.0))
    mask = store.read_mask([11, 0])
    assert mask[:, 0].all()  # what was added around 20 x 20 pixels is to be ignored
    assert mask[:, 3, 3].all()
    assert not mask[:, 10, 10].any()
    assert verify(tmp_path / "store") == []


def test_a_reader_that_loses_a_row_is_found(batched, archive, tmp_path):
    batched.given = 2
    with pytest.raises(DataError, match="gave fewer cutouts than it was asked for in the catalogue rows 0 to"):
        ingest(batched, archive, tmp_path / "store")


def test_the_manifest_holds_what_was_ingested(survey, archive, tmp_path):
    ingest(survey, archive, tmp_path / "store")
    content = json.loads((tmp_path / "store" / "manifest.json").read_text())
    names = [source["name"] for source in content["made_from"]["sources"]]
    assert names == sorted([*(f"src{i:03d}.fits" for i in range(42)), "table.csv"])
    digest = hashlib.sha256((archive / "src010.fits").read_bytes()).hexdigest()
    assert content["made_from"]["sources"][10]["sha256"] == digest
    rows = [(shard["first"], shard["stop"]) for shard in content["shards"]]
    assert rows == [(0, 8), (8, 16), (16, 24), (24, 32), (32, 39)]


def _interrupt(*given, **named):
    raise KeyboardInterrupt


def test_nothing_taken_says_of_one_image_what_is_wrong_with_it(survey, archive, tmp_path):
    product = survey.card.products["fits"].model_copy(update={"unit": "K"})
    card = survey.card.model_copy(update={"products": {"fits": product}})
    with pytest.raises(
        StoreError, match=r"unexpected unit; for example: src000.fits is in 'JY/BEAM', which is not 'K'"
    ):
        ingest(Survey(card), archive, tmp_path / "store")


def test_a_wrong_split_is_refused_before_an_image_is_read(survey, archive, tmp_path, monkeypatch):
    table = archive / "table.csv"
    table.write_text(table.read_text().replace("src007,17.0,-30.0,1,train", "src007,17.0,-30.0,1,trian"))
    monkeypatch.setattr(Survey, "cutouts", None)
    with pytest.raises(DataError, match="the split of 'src007' is 'trian'; it must be one of train, val, test"):
        ingest(survey, archive, tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_an_image_that_only_the_table_leads_to_is_a_source(survey, archive, tmp_path):
    table = Table.read(archive / "table.csv")
    table["file_loc"] = ["more/first.fits", *(f"{name}.fits" for name in table["id_str"][1:])]
    table.write(archive / "table.csv", overwrite=True)
    (archive / "more").mkdir()
    (archive / "src000.fits").rename(archive / "more" / "first.fits")
    ingest(survey, archive, tmp_path / "store")
    sources = CutoutStore.open(tmp_path / "store").manifest.made_from.sources
    assert "more/first.fits" in [file.name for file in sources]


def reasons(store: Path) -> dict[str, tuple[str, str]]:
    rows = pq.read_table(store / "rejected.parquet").to_pylist()
    return {row["id_str"]: (row["reason"], row["detail"]) for row in rows}


def changed(survey: Survey, **rules: object) -> Survey:
    quality = survey.card.quality.model_copy(update=rules)
    return Survey(survey.card.model_copy(update={"quality": quality}))


@pytest.mark.parametrize("workers", [1, 2])
def test_of_images_with_the_same_pixels_the_first_is_taken(survey, archive, tmp_path, workers, repeat):
    repeat(archive, "src010", "src001", "src022", "src041")
    ingest(survey, archive, tmp_path / "store", workers=workers)
    found = reasons(tmp_path / "store")
    same = ("duplicate image", "its pixels are those of src001")
    assert {name: found[name] for name in ("src010", "src022", "src041")} == dict.fromkeys(
        ("src010", "src022", "src041"), same
    )
    assert list(found) == sorted(found)
    store = CutoutStore.open(tmp_path / "store")
    assert len(store) == 36
    assert "src001" in store.catalog.column("id_str")
    ids = store.catalog.column("id_str").tolist()
    ingest(changed(survey, duplicates="keep"), archive, tmp_path / "all")
    kept = CutoutStore.open(tmp_path / "all")
    assert len(kept) == 39
    rows = [kept.catalog.column("id_str").tolist().index(name) for name in ids]
    np.testing.assert_array_equal(store.read(slice(None)), kept.read(rows))
    assert verify(tmp_path / "store") == []


def test_of_rows_at_one_place_the_first_is_taken(survey, archive, tmp_path):
    table = Table.read(archive / "table.csv")
    for row, arcsec in ((5, 0.5), (7, 1.0), (8, 2.0)):
        table["ra"][row] = table["ra"][0] + arcsec / 3600
        fits.setval(archive / f"src{row:03d}.fits", "CRVAL1", value=table["ra"][row])
    table.write(archive / "table.csv", overwrite=True)
    ingest(changed(survey, near_duplicates_arcsec=1.2), archive, tmp_path / "store")
    found = reasons(tmp_path / "store")
    assert found["src007"] == ("near duplicate", "0.87 arcsec from src000")
    assert found["src005"] == ("known artefact", "")
    assert "src008" not in found


def test_rounded_pixels_are_what_is_stored_and_the_options_are_recorded(survey, archive, tmp_path):
    ingest(survey, archive, tmp_path / "plain")
    ingest(survey, archive, tmp_path / "rounded", options=IngestOptions(keep_bits=7))
    plain, rounded = (CutoutStore.open(tmp_path / name) for name in ("plain", "rounded"))
    np.testing.assert_array_equal(rounded.read(slice(None)), round_mantissa(plain.read(slice(None)), 7))
    assert rounded.manifest.made_from.options == IngestOptions(keep_bits=7)
    assert (store_info(tmp_path / "rounded")["bytes"]) < store_info(tmp_path / "plain")["bytes"]
    with pytest.raises(StoreError, match=r"differs in the options \(none, not --keep-bits 7\)"):
        ingest(survey, archive, tmp_path / "rounded")


def test_a_changed_field_is_what_the_card_of_the_store_says(survey, archive, tmp_path):
    ingest(survey, archive, tmp_path / "store", options=IngestOptions(field_of_view_arcsec=28.8))
    store = CutoutStore.open(tmp_path / "store")
    assert store.shape[1:] == (1, 16, 16)
    assert store.product.shape == (1, 16, 16)
    assert store.manifest.made_from.survey_card == survey.card
    again = ingest(survey, archive, tmp_path / "store", options=IngestOptions(field_of_view_arcsec=28.8))
    assert again["already_complete"]
    with pytest.raises(StoreError, match=r"differs in the options \(none, not --field-of-view 28.8\): replace it"):
        ingest(survey, archive, tmp_path / "store")


class Handed(Batched):
    """The same cutouts in batches of some length, or one by one where that is 0."""

    batch = 0

    def cutouts(self, source, rows):
        numbers = np.array([int(name[1:]) for name in rows["id_str"]])
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 250, (12, 1, 24, 24)).astype(np.uint8)
        pixels[3], pixels[5, :, :18], pixels[9] = 7, 255, pixels[2]
        masks = rng.random((12, 24, 24)) < 0.1
        masks[6, :8] = True
        images, masks = pixels[numbers], masks[numbers]
        for first in range(0, len(numbers), self.batch or 1):
            here = slice(first, first + (self.batch or 1))
            if self.batch:
                yield CutoutBatch(images[here], "", masks[here], {"rms": numbers[here].astype(float)})
            else:
                yield Cutout(images[first], "", masks[first], meta={"rms": float(numbers[first])})


def test_the_bytes_do_not_depend_on_how_the_reader_hands_cutouts_over(batched, archive, tmp_path):
    for size in (0, 1, 2, 7, 12):
        survey = Handed(batched.card)
        survey.batch = size
        ingest(survey, archive, tmp_path / str(size))
    made = [hashes(tmp_path / str(size)) for size in (0, 1, 2, 7, 12)]
    assert made.count(made[0]) == len(made)
    found = {name: reason for name, (reason, _) in reasons(tmp_path / "0").items()}
    assert found == {"b3": "constant image", "b5": "saturated", "b6": "missing pixels", "b9": "duplicate image"}


@pytest.mark.parametrize("what", ["changes", "vanishes"])
def test_an_archive_that_is_touched_while_it_is_read_makes_no_store(survey, archive, tmp_path, what, monkeypatch):
    touched, real = archive / "src020.fits", Survey.cutouts

    def touches(self, source, rows):
        touched.write_bytes(touched.read_bytes()[:3000]) if what == "changes" else touched.rename(tmp_path / "away")
        monkeypatch.undo()
        yield from real(self, source, rows)

    monkeypatch.setattr(Survey, "cutouts", touches)
    with pytest.raises(DataError, match=r"src020.fits of .* changed or vanished while the archive was read"):
        ingest(survey, archive, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    if what == "vanishes":
        (tmp_path / "away").rename(touched)  # what was read in the meantime must not be used
    monkeypatch.undo()
    info = ingest(survey, archive, tmp_path / "store")
    assert info["num_cutouts"] == (39 if what == "vanishes" else 38)


def test_a_continued_ingest_hashes_only_what_was_touched(survey, archive, tmp_path, monkeypatch):
    monkeypatch.setattr("astrofm.data.making.sources.SETTLED_NS", 0)
    with monkeypatch.context() as patch:
        patch.setattr("astrofm.data.ingest.assemble", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(survey, archive, tmp_path / "store")
    hashed = []
    monkeypatch.setattr(
        "astrofm.data.making.sources.hash_file", lambda path: hashed.append(path.name) or hash_file(path)
    )
    (archive / "src009.fits").touch()
    read = []
    real = Survey.cutouts
    monkeypatch.setattr(Survey, "cutouts", lambda *given: read.append(1) or real(*given))
    ingest(survey, archive, tmp_path / "store")
    assert hashed == ["src009.fits"]
    assert len(read) == 9  # as something else may have been there while its range was read
    ingest(survey, archive, tmp_path / "store")
    assert len(hashed) == 1 + 43  # a finished store is compared with every byte of its archive


@pytest.mark.parametrize("suffix", [".facts", ".image"])
def test_a_range_that_a_power_cut_has_torn_is_read_anew(survey, archive, tmp_path, monkeypatch, suffix):
    ingest(survey, archive, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("astrofm.data.ingest.assemble", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(survey, archive, tmp_path / "store")
    torn = tmp_path / "store.partial" / "ranges" / f"000000010{suffix}"
    torn.write_bytes(torn.read_bytes()[:-5] + bytes(5))
    ingest(survey, archive, tmp_path / "store")
    assert hashes(tmp_path / "store") == hashes(tmp_path / "whole")


@pytest.mark.parametrize(("name", "values"), [("size_y", 3), ("size_x", 3.5)])
def test_a_column_that_the_store_writes_itself_is_refused(survey, archive, tmp_path, name, values):
    table = Table.read(archive / "table.csv")
    table[name] = values
    table.write(archive / "table.csv", overwrite=True)
    with pytest.raises(DataError, match=f"the catalogue has a column '{name}', and a store keeps the size"):
        ingest(survey, archive, tmp_path / "store")


def test_a_noise_that_is_no_number_is_refused(survey, archive, tmp_path):
    table = Table.read(archive / "table.csv")
    table["rms"] = "0.5 mJy"
    table.write(archive / "table.csv", overwrite=True)
    with pytest.raises(DataError, match="the column 'rms' of the catalogue holds string values; it is for the noise"):
        ingest(survey, archive, tmp_path / "store")


def in_ecsv(archive, survey, **columns):
    """Give the archive a table with units, and return the survey that reads it."""
    table = Table.read(archive / "table.csv")
    for name, values in columns.items():
        table[name] = values
    table.write(archive / "table.ecsv")
    (archive / "table.csv").unlink()
    folder = survey.card.folder.model_copy(update={"table": "table.ecsv"})
    return type(survey)(survey.card.model_copy(update={"folder": folder}))


def test_a_noise_in_another_unit_is_converted_to_that_of_the_pixels(survey, archive, tmp_path):
    num = len(Table.read(archive / "table.csv"))
    noise = MaskedColumn(np.arange(1.0, num + 1), unit="mJy/beam", mask=np.arange(num) == 1)
    made = make_plan(in_ecsv(archive, survey, rms=noise), archive, None)
    expected = np.arange(1.0, num + 1) * 1e-3
    expected[1] = np.nan
    np.testing.assert_allclose(made.catalog.column("rms"), expected, rtol=1e-15)


def test_a_noise_in_a_unit_of_something_else_is_refused(survey, archive, tmp_path):
    noise = Column(np.ones(len(Table.read(archive / "table.csv"))), unit="K")
    with pytest.raises(DataError, match="column 'rms' of the catalogue is in K and the pixels are stored in Jy/beam"):
        ingest(in_ecsv(archive, survey, rms=noise), archive, tmp_path / "store")


def test_beams_in_arcsec_and_images_that_cannot_be_turned_are_told(survey, archive, tmp_path, recwarn):
    own = survey.card.beam.value.bmaj_arcsec
    for number, file in enumerate(sorted(archive.glob("*.fits"))[10:]):
        with fits.open(file) as hdus:
            data, header = hdus[0].data, hdus[0].header
        header.update({"BMAJ": own, "BMIN": own, "BPA": 0.0})  # of a header in degrees
        if number < 3:
            header["LONPOLE"] = 0.0
        fits.writeto(file, data, header, overwrite=True)
    ingest(survey, archive, tmp_path / "store")
    said = [str(warning.message) for warning in recwarn]
    assert any("have a beam of" in line and "would fit if it were in arcsec" in line for line in said)
    assert any(line.startswith("3 of 39 images of") and "orientation_deg is unknown" in line for line in said)


def test_a_column_of_the_table_called_rejected_is_not_overwritten(survey, archive, tmp_path):
    table = Table.read(archive / "table.csv")
    table["rejected"] = "by the referee"
    table.write(archive / "table.csv", overwrite=True)
    with pytest.raises(DataError, match=r"'table.csv' has a column 'rejected', a name that is kept"):
        ingest(survey, archive, tmp_path / "store")


def test_rejected_as_a_flag_is_refused(batched, archive, tmp_path, monkeypatch):
    table = batched.catalog(None)
    table["rejected"] = [False] * 12
    monkeypatch.setattr(batched, "catalog", lambda source: table)
    with pytest.raises(DataError, match="the column 'rejected' of the catalogue holds bool values"):
        ingest(batched, archive, tmp_path / "store")


def test_the_name_of_an_unfinished_ingest_is_no_place_for_a_store(survey, archive, tmp_path):
    with pytest.raises(UsageError, match=r"a.partial is the name of an unfinished ingest"):
        ingest(survey, archive, tmp_path / "a.partial")


def test_a_file_that_cannot_be_read_is_named(survey, archive, tmp_path, monkeypatch):
    def refuses(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("astrofm.data.making.sources.hash_file", refuses)
    with pytest.raises(DataError, match=r"src000.fits cannot be read \(Permission denied\): change its rights"):
        ingest(survey, archive, tmp_path / "store")


def test_bits_of_pictures_are_not_rounded(batched, archive, tmp_path):
    with pytest.raises(UsageError, match="--keep-bits rounds float32 pixels and product 'bytes' is uint8"):
        ingest(batched, archive, tmp_path / "store", options=IngestOptions(keep_bits=3))


def test_a_card_with_another_pixel_scale_than_the_files_is_told_of(survey, tmp_path):
    source = survey.mock(6, 0, tmp_path / "mock")
    wrong = survey.card.model_copy(update={"pixel_scale_arcsec": Fact[float](value=5.0)})
    with pytest.warns(UserWarning, match=r"have 1\.8 arcsec to a pixel and its card says 5: correct"):
        ingest(Survey(wrong), source, tmp_path / "wrong.zarr")
    ingest(survey, source, tmp_path / "right.zarr")


def test_a_card_with_a_larger_shape_than_the_images_is_told_of(survey, archive, tmp_path, recwarn):
    ingest(survey, archive, tmp_path / "right.zarr")  # src006 alone is smaller, as the edge of a map cuts it
    assert not recwarn
    larger = survey.card.products["fits"].model_copy(update={"shape": (1, 30, 28)})
    wrong = survey.card.model_copy(update={"products": {"fits": larger}})
    expected = (
        "39 of 39 images of 'tiny' are smaller than the 30 x 28 pixels that are stored, typically 24 x 24, and got a "
        "border of missing pixels: correct the shape of product 'fits' in the card"
    )
    with pytest.warns(UserWarning, match=expected):
        ingest(Survey(wrong), archive, tmp_path / "wrong.zarr")
