"""Bad input through the command: one clear sentence, exit code 1 or 2, nothing lost, nothing half-made kept."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits

from astrofm.data.store import CutoutStore


@pytest.fixture
def archive(tmp_path, radio_card_folder):
    """A copy of the archive, to be damaged."""
    return shutil.copytree(radio_card_folder / "archive", tmp_path / "archive")


@pytest.fixture
def ingest(astrofm, radio_card_folder, tmp_path):
    """Return ``ingest(source, *more)``: the command on a source, into ``out.zarr``."""
    out = tmp_path / "out.zarr"
    return lambda source, *more: astrofm(
        "ingest", "--survey", radio_card_folder / "card.yaml", "--source", source, "--out", out, *more
    )


def rejected(store):
    return {row["id_str"]: row["reason"] for row in pq.read_table(store / "rejected.parquet").to_pylist()}


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_missing_folder(ingest, tmp_path, more):
    ended = ingest(tmp_path / "nowhere", *more)
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.sentence.startswith(f"no folder or file at {tmp_path / 'nowhere'}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else(ingest, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear all")
    ended = ingest(tmp_path / "letters")
    assert ended.code == 1
    assert "holds no product of 'test-field'; looked for *.fits" in ended.sentence
    assert not (tmp_path / "out.zarr").exists()


def test_a_missing_table(ingest, archive, tmp_path):
    (archive / "table.csv").unlink()
    ended = ingest(archive)
    assert ended.code == 1
    assert ended.sentence == f"no table at {archive / 'table.csv'}"


def test_a_wrong_md5(astrofm, data_dir, tmp_path):
    published = (data_dir / "mirabest" / "MiraBest_F_batches.tar.gz").read_bytes()
    broken = tmp_path / "MiraBest_F_batches.tar.gz"
    content = bytearray(published)
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    ended = astrofm("ingest", "--survey", "mirabest", "--source", broken, "--out", tmp_path / "out.zarr")
    assert ended.code == 1
    assert "md5" in ended.sentence
    assert "7d4e3a623d29db7204bce81676ee8ce2" in ended.sentence
    assert str(broken) in ended.sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == [broken.name]


def test_a_truncated_file_is_rejected_by_name_and_the_others_are_taken(ingest, archive, tmp_path):
    file = archive / "s004.fits"
    file.write_bytes(file.read_bytes()[:3000])
    ended = ingest(archive, "--json")
    assert ended.code == 0
    info = json.loads(ended.stdout)
    assert info["num_cutouts"] == 35
    assert info["rejected"] == {"truncated file": 1}
    assert rejected(tmp_path / "out.zarr") == {"s004": "truncated file"}
    assert "1 truncated file" in ingest(archive).stdout


def test_real_truncated_and_real_odd_files(astrofm, data_dir, tmp_path, write_card):
    """A download that stopped half-way, beside a 4-D and a 2-D radio image."""
    archive = tmp_path / "archive"
    archive.mkdir()
    shutil.copy(data_dir / "decals-fits" / "example_incomplete.fits", archive / "cut.fits")
    for name in ("S311", "S999"):
        shutil.copy(data_dir / "radio-fits" / f"{name}.fits", archive)
    rows = "cut,1,2,train\nS311,9.33489,-44.12658,train\nS999,7.77608,-43.30133,train\n"  # the centres of the images
    (archive / "table.csv").write_text(f"id_str,ra,dec,split\n{rows}")
    card = write_card(tmp_path / "card.yaml", pixel_scale_arcsec=0.6)
    ended = astrofm("ingest", "--survey", card, "--source", archive, "--out", tmp_path / "out.zarr", "--json")
    assert ended.code == 0
    assert json.loads(ended.stdout)["num_cutouts"] == 2
    assert rejected(tmp_path / "out.zarr") == {"cut": "truncated file"}


def test_degenerate_stokes_and_frequency_axes_are_dropped(ingest, archive, tmp_path):
    before = fits.getdata(archive / "s002.fits")
    header = fits.Header({"BUNIT": "Jy/beam", "CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CTYPE4": "STOKES", "CRVAL4": 1.0})
    fits.PrimaryHDU(before[None, None], header).writeto(archive / "s002.fits", overwrite=True)
    assert ingest(archive).code == 0
    store = CutoutStore.open(tmp_path / "out.zarr")
    assert rejected(tmp_path / "out.zarr") == {}
    np.testing.assert_array_equal(store.read([2])[0, 0], before)


def test_an_empty_cutout_is_rejected_with_its_reason(ingest, archive, tmp_path):
    empty = np.full((16, 16), np.nan, dtype=">f4")
    fits.PrimaryHDU(empty, fits.Header({"BUNIT": "Jy/beam"})).writeto(archive / "s003.fits", overwrite=True)
    ended = ingest(archive, "--json")
    assert json.loads(ended.stdout)["rejected"] == {"no data": 1}
    (row,) = pq.read_table(tmp_path / "out.zarr" / "rejected.parquet").to_pylist()
    assert row["id_str"] == "s003"
    assert row["reason"] == "no data"
    store = CutoutStore.open(tmp_path / "out.zarr")
    assert "s003" not in store.catalog.column("id_str")
    assert not np.isnan(store.read(slice(None))).any()


def test_nothing_worth_keeping_makes_no_store(ingest, archive, tmp_path):
    for file in archive.glob("*.fits"):
        file.write_bytes(file.read_bytes()[:3000])
    ended = ingest(archive)
    assert ended.code == 1
    assert "36 truncated file" in ended.sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


@pytest.mark.parametrize(
    "words",
    [
        ["ingest", "--mock", 8],
        ["pretrain", "--mock", 8],
        ["transfer", "--labels", 8, "--mock", 8],
    ],
)
def test_an_unknown_survey(astrofm, words):
    ended = astrofm(words[0], "--survey", "mirabset", *words[1:])
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.sentence.startswith("no survey named 'mirabset'; known: ")
    assert ended.sentence.endswith("did you mean 'mirabest'?")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--config", "none.yaml"], "no recipe file at none.yaml"),
        (["--config", "bjol"], "no recipe named 'bjol'; shipped: "),
        (["--set", "training.max_epoch=3"], "training.max_epoch: no such key"),
        (["--set", "training.max_epochs"], "--set takes key=value"),
        (["--set", "views=[rotaet]"], "did you mean 'rotate'?"),
        (["--set", "objective.settings.hiden_dim=3"], "objective 'byol' of the recipe: hiden_dim: no such key"),
        (["--set", "training.batch_size=4096"], "a batch of 4096 is larger than the data, 24 rows of test-field"),
        (["--set", "data.channels=[{name: g}, {name: r}]"], "the network takes 2 (g, r)"),
        (["--set", "training.seed=-1"], "training.seed: "),
        (["--set", "data.field_of_view_arcsec=-90"], "greater than 0"),
        (["--seed", "7"], "there is no --mock; a run has its own: --set training.seed=7"),
        (["--set", "data.field_of_view_arcsec=90"], "span only 48 arcsec"),
    ],
)
def test_a_faulty_recipe_starts_no_run(astrofm, radio_card_folder, radio_store, tmp_path, more, said):
    words = ["pretrain", "--survey", radio_card_folder / "card.yaml", "--store", radio_store, "--out", tmp_path / "run"]
    ended = astrofm(*words, *more)
    assert ended.code in (1, 2)
    assert ended.stdout == ""
    assert said in ended.stderr.splitlines()[-1]
    assert ended.stderr.splitlines()[-1].startswith("astrofm: ")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["top", "training"])
def test_a_misspelt_recipe_key(astrofm, radio_recipe, tmp_path, place):
    faulty = json.loads(json.dumps(radio_recipe))
    (faulty if place == "top" else faulty["training"])["probez"] = 1
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(faulty))
    ended = astrofm("pretrain", "--config", path, "--mock", 8, "--out", tmp_path / "run")
    assert ended.code == 2
    key = "probez" if place == "top" else "training.probez"
    assert ended.sentence == f"recipe {path}: {key}: no such key"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["recipe.yaml"]


def test_pretrain_needs_a_survey_or_a_recipe(astrofm):
    ended = astrofm("pretrain")
    assert ended.code == 2
    assert ended.sentence == "give --survey NAME, --config RECIPE, or both"


def half_written(store, tmp_path, kind):
    if kind == "partial":
        path = tmp_path / "field.zarr.partial"
        shutil.copytree(store, path / "store")
        return path
    path = shutil.copytree(store, tmp_path / "field.zarr")
    (path / "manifest.json").unlink()
    return path


@pytest.mark.parametrize("kind", ["partial", "without manifest"])
@pytest.mark.parametrize("command", ["store info", "pretrain", "transfer"])
def test_a_half_written_store_is_not_taken_for_whole(astrofm, radio_card_folder, radio_store, tmp_path, kind, command):
    path = half_written(radio_store, tmp_path, kind)
    survey = ["--survey", radio_card_folder / "card.yaml", "--store", path]
    words = {
        "store info": [path],
        "pretrain": [*survey, "--out", tmp_path / "run"],
        "transfer": [*survey, "--labels", 8],
    }
    ended = astrofm(*command.split(), *words[command])
    assert ended.code == 1
    said = "is an unfinished ingest" if kind == "partial" else "has lost its manifest.json"
    assert said in ended.sentence
    assert not (tmp_path / "run").exists()


def test_a_half_written_store_at_home_is_not_taken_for_a_missing_archive(astrofm, radio_card_folder, radio_store):
    from astrofm.home import store_path

    partial = store_path("test-field").with_name("test-field.zarr.partial")
    shutil.copytree(radio_store, partial / "store")
    ended = astrofm("transfer", "--survey", radio_card_folder / "card.yaml", "--labels", 8)
    assert ended.code == 1
    assert "is unfinished: give the same ingest command again" in ended.sentence


def test_a_folder_that_is_no_store_is_not_overwritten(ingest, archive, tmp_path):
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "thesis.tex").write_text("years of work")
    for more in ([], ["--overwrite"]):
        ended = ingest(archive, *more)
        assert ended.code == 1
        assert "exists and is no store of astrofm" in ended.sentence
    assert (tmp_path / "out.zarr" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("kind", ["missing", "empty folder", "begun run"])
def test_a_model_that_is_not_there_is_one_sentence(astrofm, radio_card_folder, radio_store, tmp_path, kind):
    path = tmp_path / "model"
    if kind != "missing":
        path.mkdir()
    if kind == "begun run":
        (path / "recipe.yaml").write_text("name: begun\n")
    words = ["--survey", radio_card_folder / "card.yaml", "--store", radio_store, "--labels", 8, "--model", path]
    ended = astrofm("transfer", *words)
    assert ended.code == 1
    assert ended.stdout == ""
    said = {"missing": "no folder at", "empty folder": "no model or run at", "begun run": "has no checkpoint yet"}
    assert said[kind] in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
