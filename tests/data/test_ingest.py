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
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from astrofm.data import partial
from astrofm.data.cutouts import Cutout, CutoutBatch
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore, store_info, verify
from astrofm.data.workers import Workers
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
    assert len(list((tmp_path / "store.partial" / "ranges").iterdir())) == 9


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
    real, calls = os.fsync, iter(range(100))

    def fails_at_the_sixth(file: int) -> None:
        if next(calls) == 5:
            raise OSError(failure, os.strerror(failure))
        real(file)

    monkeypatch.setattr(partial.os, "fsync", fails_at_the_sixth)
    with pytest.raises(StoreError, match=r"no space left on the disk|may not be written") as raised:
        ingest(survey, archive, tmp_path / "store")
    assert str(tmp_path / "store") in str(raised.value)
    assert not (tmp_path / "store").exists()
    begun = {file: file.stat().st_mtime_ns for file in (tmp_path / "store.partial" / "ranges").glob("*.npz")}
    assert len(begun) == 4
    litter = tmp_path / "store.partial" / "store" / "image" / "c" / "0" / "0" / "0" / "0.4f1c.partial"
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b"half a shard")  # as a kill leaves it
    monkeypatch.setattr(partial.shutil, "rmtree", lambda path, **_: None)  # to look at what was used
    ingest(survey, archive, tmp_path / "store")
    assert begun.items() <= {f: f.stat().st_mtime_ns for f in (tmp_path / "store.partial" / "ranges").glob("*")}.items()
    assert hashes(tmp_path / "store") == hashes(tmp_path / "whole")


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
    context.set_forkserver_preload(["astrofm.data.ingest", "astrofm.data.folder", *modules])
    made = tmp_path / "store.partial"
    moments = ["plan.json", "ranges/000000005.npz", "ranges/000000030.npz"]
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


def test_a_killed_worker_is_a_sentence():
    with Workers(2) as workers, pytest.raises(StoreError, match=r"ended from outside.*fewer --workers"):
        workers.run(signal.raise_signal, [signal.SIGKILL], lambda done: None)


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
