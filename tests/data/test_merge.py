"""A merge is the rows of its parts, bit for bit, and is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astrofm.data.ingest import ingest
from astrofm.data.merge import merge
from astrofm.data.repair import repair
from astrofm.data.store import CutoutStore, verify
from astrofm.errors import StoreError, UsageError
from astrofm.survey import Survey

pytestmark = pytest.mark.usefixtures("small_pieces")


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def part_of(archive: Path, folder: Path, first: int, stop: int, **columns: list[str]) -> Path:
    """Copy some rows of an archive, with columns of its table left out or added."""
    folder.mkdir(parents=True)
    header, *lines = (archive / "table.csv").read_text().splitlines()
    added = [",".join([line, *(values[i] for values in columns.values())]) for i, line in enumerate(lines[first:stop])]
    (folder / "table.csv").write_text("\n".join([",".join([header, *columns]), *added]) + "\n")
    for line in lines[first:stop]:
        name = line.split(",")[0]
        shutil.copy(archive / f"{name}.fits", folder / f"{name}.fits")
    return folder


def make_part(survey: Survey, archive: Path, store: Path, first: int, stop: int, **columns: list[str]) -> Path:
    ingest(survey, part_of(archive, store.with_suffix(".archive"), first, stop, **columns), store)
    return store


@pytest.fixture
def parts(survey, archive, tmp_path) -> list[Path]:
    """Rows 0-16, 17-36 and 37-41 of the archive; three of the first part are rejected."""
    edges = [(0, 17), (17, 37), (37, 42)]
    return [make_part(survey, archive, tmp_path / f"part{i}", *edge) for i, edge in enumerate(edges)]


def test_merged_parts_are_the_store_of_the_whole_archive(survey, archive, parts, tmp_path):
    info = merge(parts, tmp_path / "merged")
    ingest(survey, archive, tmp_path / "whole")
    assert verify(tmp_path / "merged") == []
    assert not (tmp_path / "merged.partial").exists()
    merged, whole = hashes(tmp_path / "merged"), hashes(tmp_path / "whole")
    assert {name for name in merged if merged[name] != whole.get(name)} == {"manifest.json"}
    assert merged.keys() == whole.keys()
    assert (info["num_cutouts"], info["already_complete"]) == (39, False)
    assert info["rejected"] == {"known artefact": 1, "missing pixels": 1, "truncated file": 1}


def test_a_merged_store_says_what_it_was_made_of(parts, tmp_path):
    merge(parts, tmp_path / "merged")
    merged = CutoutStore.open(tmp_path / "merged").manifest.made_from
    opened = [CutoutStore.open(part) for part in parts]
    assert [part.content_sha256 for part in merged.merged_from] == [store.content_hash for store in opened]
    assert [part.num_cutouts for part in merged.merged_from] == [14, 20, 5]
    names = [file.name for file in merged.sources]
    assert {"1/table.csv", "2/table.csv", "3/table.csv", "src000.fits", "src041.fits"} <= set(names)
    assert len(names) == len(set(names)) == 42 + 3
    assert str(tmp_path) not in (tmp_path / "merged" / "manifest.json").read_text()


@pytest.mark.parametrize(("order", "workers"), [([2, 0, 1], 1), ([1, 2, 0], 2)])
def test_rows_come_in_the_order_of_the_stores(parts, tmp_path, order, workers):
    out = tmp_path / "merged"
    merge([parts[i] for i in order], out, workers=workers)
    opened = [CutoutStore.open(parts[i]) for i in order]
    merged = CutoutStore.open(out)
    np.testing.assert_array_equal(merged.read(slice(None)), np.concatenate([p.read(slice(None)) for p in opened]))
    for name in ("id_str", "split", "rms", "label"):
        expected = np.concatenate([part.catalog.column(name) for part in opened])
        np.testing.assert_array_equal(merged.catalog.column(name), expected)


def test_columns_that_one_part_lacks_are_empty_there(survey, archive, tmp_path):
    plain = make_part(survey, archive, tmp_path / "plain", 20, 24)
    more = {"z_spec": ["0.5"] * 4, "note": ["b", "c", "d", "e"], "count": ["1", "2", "3", "4"]}
    rich = make_part(survey, archive, tmp_path / "rich", 24, 28, **more)
    merge([plain, rich], tmp_path / "merged")
    catalog = CutoutStore.open(tmp_path / "merged").catalog
    np.testing.assert_array_equal(catalog.column("z_spec"), [np.nan] * 4 + [0.5] * 4)
    assert catalog.column("note").tolist() == ["", "", "", "", "b", "c", "d", "e"]
    np.testing.assert_array_equal(catalog.column("count"), [np.nan] * 4 + [1, 2, 3, 4])
    assert catalog.table["count"].type == pa.int64()
    assert catalog.columns[:3] == ("id_str", "ra", "dec")


def test_lists_that_one_part_lacks_are_nan_there(parts):
    from astrofm.data.making.merge_catalogs import unite

    first, second = (CutoutStore.open(path) for path in parts[1:])
    pdf = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(10)), 2)
    second.catalog = second.catalog.with_columns({})
    second.catalog = type(second.catalog)(second.catalog.table.append_column("z_pdf", pdf))
    united = unite([first, second]).column("z_pdf")
    assert np.isnan(united[:20]).all()
    np.testing.assert_array_equal(united[20:], np.arange(10.0).reshape(5, 2))


def test_columns_of_two_kinds_are_refused(survey, archive, tmp_path):
    one = make_part(survey, archive, tmp_path / "one", 20, 23, grade=["1", "2", "3"])
    other = make_part(survey, archive, tmp_path / "other", 23, 26, grade=["a", "b", "c"])
    with pytest.raises(StoreError, match="column 'grade' is int64 and string in the stores to merge"):
        merge([one, other], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_masks_of_parts_with_and_without_one(survey, tmp_path):
    """Padding an 8-bit picture masks what was added; a part of whole pictures has no masks."""
    from PIL import Image

    pictures = survey.card.products["fits"].model_copy(update={"pattern": "*.png", "dtype": "uint8", "unit": "count"})
    card = survey.card.model_copy(update={"products": {"png": pictures}, "excluded": {}})
    for name, size in (("a", 24), ("b", 20)):
        (tmp_path / f"{name}.archive").mkdir()
        rng = np.random.default_rng(size)
        for i in range(5):
            pixels = rng.integers(1, 255, (size, size), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{name}.archive" / f"{name}{i}.png")
        table = "\n".join(["id_str,ra,dec,split", *[f"{name}{i},{i},0,train" for i in range(5)]])
        (tmp_path / f"{name}.archive" / "table.csv").write_text(table)
        with nullcontext() if size == 24 else pytest.warns(UserWarning, match="5 of 5 images of 'tiny' are smaller"):
            ingest(Survey(card), tmp_path / f"{name}.archive", tmp_path / name)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    whole, padded, merged = (CutoutStore.open(tmp_path / name) for name in ("a", "b", "merged"))
    assert whole.read_mask(slice(None)) is None
    assert padded.read_mask(slice(None)).sum() == 5 * (24**2 - 20**2)
    np.testing.assert_array_equal(merged.read_mask(slice(5, 10)), padded.read_mask(slice(None)))
    assert not merged.read_mask(slice(0, 5)).any()
    assert merged.read(slice(None)).dtype == np.uint8
    assert verify(tmp_path / "merged") == []


def test_ids_in_two_parts_are_refused_by_name(survey, archive, parts, tmp_path):
    shared = make_part(survey, archive, tmp_path / "shared", 15, 19)
    with pytest.raises(StoreError, match=r"'src015' and 1 more ids are in two stores .*part0 and .*shared.*ingest one"):
        merge([parts[0], shared], tmp_path / "merged")


def test_parts_of_other_content_are_refused_by_what_differs(survey, archive, parts, tmp_path):
    other = Survey(survey.card.model_copy(update={"hard": "something", "title": "Other"}))
    make_part(other, archive, tmp_path / "other", 40, 42)
    with pytest.raises(StoreError, match=r"they differ in the survey card \(title, hard\); ingest one of them again"):
        merge([parts[0], tmp_path / "other"], tmp_path / "merged")
    mock = part_of(archive, tmp_path / "mock.archive", 40, 42)
    (mock / "MOCK.json").write_text("{}")
    ingest(survey, mock, tmp_path / "mock")
    with pytest.raises(StoreError, match="differ in mock data"):
        merge([parts[0], tmp_path / "mock"], tmp_path / "merged")


def test_a_call_that_makes_no_sense_is_refused(parts, tmp_path):
    with pytest.raises(UsageError, match="at least two stores, not 1"):
        merge(parts[:1], tmp_path / "merged")
    with pytest.raises(UsageError, match="part0 was given twice"):
        merge([parts[0], parts[0].parent / "." / "part0"], tmp_path / "merged")
    with pytest.raises(UsageError, match=r"--out names .*part1, one of the stores to merge"):
        merge(parts, parts[1])
    (tmp_path / "mine").mkdir()
    with pytest.raises(StoreError, match="exists and is no store"):
        merge(parts, tmp_path / "mine")


def test_the_same_merge_is_complete_and_another_needs_overwrite(parts, tmp_path):
    merge(parts[:2], tmp_path / "merged")
    before = hashes(tmp_path / "merged")
    assert merge(parts[:2], tmp_path / "merged")["already_complete"]
    with pytest.raises(
        StoreError, match=r"was made with other parameters.* the stores it was merged from.*--overwrite"
    ):
        merge(parts, tmp_path / "merged")
    assert hashes(tmp_path / "merged") == before
    assert merge(parts, tmp_path / "merged", overwrite=True)["num_cutouts"] == 39


def test_a_damaged_part_is_not_merged(parts, tmp_path):
    shard = parts[1] / "image/c/1/0/0/0"
    damaged = bytearray(shard.read_bytes())
    damaged[300] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"part1 is damaged \(image/c/1/0/0/0 does not match its hash\): mend it"):
        merge(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_merged_store_is_mended_by_merging_again(survey, archive, parts, tmp_path):
    merge(parts, tmp_path / "merged")
    before = hashes(tmp_path / "merged")
    assert repair(tmp_path / "merged", survey, archive)["repaired"] == []
    (tmp_path / "merged" / "image/c/0/0/0/0").unlink()
    with pytest.raises(StoreError, match=r"was merged from 3 stores .*merge them again with 'astrofm store merge"):
        repair(tmp_path / "merged", survey, archive)
    merge(parts, tmp_path / "merged", overwrite=True)
    assert hashes(tmp_path / "merged") == before


def test_a_merge_that_was_stopped_goes_on_with_the_shards_it_has(parts, tmp_path, monkeypatch):
    merge(parts, tmp_path / "undisturbed")
    from astrofm.data.making import shard_job as module

    written = []

    def stops_after_three(file, *args):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(file.relative_to(tmp_path / "merged.partial" / "store").parts[2])
        return module_write(file, *args)

    module_write = module.write_shard
    monkeypatch.setattr(module, "write_shard", stops_after_three)
    with pytest.raises(KeyboardInterrupt):
        merge(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(StoreError, match=r"merged was begun with other parameters.*start anew with --overwrite"):
        merge(parts[:2], tmp_path / "merged")
    litter = tmp_path / "merged.partial" / "store" / "image" / "c" / "3" / "0" / "0" / "0.4f1c.tmp"
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b"half a shard")  # as a kill leaves it
    torn = tmp_path / "merged.partial" / "shards" / "000000.json"
    torn.write_bytes(torn.read_bytes()[:20])  # as a power cut leaves it
    written.remove("0")
    monkeypatch.setattr(module, "write_shard", lambda *args: written.append(args[0].parts[-4]) or module_write(*args))
    merge(parts, tmp_path / "merged")
    assert written == ["1", "2", "0", "3", "4"]
    assert hashes(tmp_path / "merged") == hashes(tmp_path / "undisturbed")


def test_a_killed_merge_ends_with_the_same_bytes(parts, tmp_path):
    merge(parts, tmp_path / "undisturbed")
    script = (
        "import sys, time; from pathlib import Path\n"
        "from astrofm.data import merge; from astrofm.data.making import shard_job as m\n"
        "write = m.write_shard\n"
        "m.write_shard = lambda *a: (write(*a), time.sleep(0.1))[0]\n"
        "merge.merge([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]))\n"
    )
    for num_shards in (1, 3):
        running = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "merged"), *map(str, parts)])
        records = tmp_path / "merged.partial" / "shards"
        deadline = time.monotonic() + 60
        while len(list(records.glob("*.json"))) < num_shards and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert not (tmp_path / "merged").exists()
    merge(parts, tmp_path / "merged")
    assert hashes(tmp_path / "merged") == hashes(tmp_path / "undisturbed")


def test_all_shards_are_on_the_disk_before_a_manifest_vouches_for_them(parts, tmp_path, monkeypatch):
    from astrofm.data.making import partial

    synced = []
    sync = partial._sync
    monkeypatch.setattr(partial, "_sync", lambda path: (synced.append((path, _has_manifest(path))), sync(path))[1])
    merge(parts, tmp_path / "merged")
    store = tmp_path / "merged.partial" / "store"
    files = {file.relative_to(tmp_path / "merged") for file in (tmp_path / "merged").rglob("*") if file.is_file()}
    assert {path.relative_to(store) for path, _ in synced} > files - {Path("manifest.json")}
    assert not any(has_manifest for _, has_manifest in synced)


def _has_manifest(path: Path) -> bool:
    return any((folder / "manifest.json").exists() for folder in [path, *path.parents])


def test_rejected_rows_keep_their_order_and_reason(parts, tmp_path):
    merge([parts[2], parts[0]], tmp_path / "merged")
    rejected = pq.read_table(tmp_path / "merged" / "rejected.parquet").to_pydict()
    assert rejected["id_str"] == ["src003", "src004", "src005"]
    assert rejected["reason"] == ["missing pixels", "truncated file", "known artefact"]
