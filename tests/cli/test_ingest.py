import json
import subprocess
import sys

import numpy as np
import pytest

from astrofm.data.store import CutoutStore
from astrofm.home import store_path
from astrofm.survey import Survey


@pytest.fixture
def words(radio_card_folder):
    return ["ingest", "--survey", radio_card_folder / "card.yaml", "--source", radio_card_folder / "archive"]


def test_a_store_is_made_where_it_is_asked_for(astrofm, words, tmp_path):
    ended = astrofm(*words, "--out", tmp_path / "a.zarr", "--json")
    assert (ended.code, ended.stderr) == (0, "")
    info = json.loads(ended.stdout)
    assert {"store", "num_cutouts", "shape", "product", "rejected", "bytes"} <= info.keys()
    assert info["store"] == str(tmp_path / "a.zarr")
    assert info["shape"] == [36, 1, 16, 16]
    assert info["rejected"] == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr"]


def test_without_a_place_the_store_is_kept_at_home(astrofm, words):
    assert astrofm(*words).code == 0
    assert len(CutoutStore.open(store_path("test-field"))) == 36


def test_the_same_command_says_that_it_is_complete(astrofm, words, tmp_path):
    astrofm(*words, "--out", tmp_path / "a.zarr")
    again = astrofm(*words, "--out", tmp_path / "a.zarr", "--json")
    assert again.code == 0
    assert again.stderr == "already complete\n"
    assert json.loads(again.stdout)["num_cutouts"] == 36


def test_other_parameters_are_refused_and_the_store_stays(astrofm, words, tmp_path, write_card):
    out = tmp_path / "a.zarr"
    astrofm(*words, "--out", out)
    other = write_card(tmp_path / "card.yaml", hard="Another card.")
    before = (out / "manifest.json").read_bytes()
    ended = astrofm("ingest", "--survey", other, "--source", words[-1], "--out", out)
    assert ended.code == 1
    assert "--overwrite" in ended.sentence
    assert (out / "manifest.json").read_bytes() == before
    assert astrofm("ingest", "--survey", other, "--source", words[-1], "--out", out, "--overwrite").code == 0
    assert (out / "manifest.json").read_bytes() != before


def test_a_mock_store_says_that_it_is_mock_and_follows_its_seed(astrofm, words, tmp_path):
    made = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = tmp_path / f"{name}.zarr"
        ended = astrofm(*words[:3], "--mock", "8", "--seed", seed, "--out", out, "--json")
        assert json.loads(ended.stdout)["mock"] is True
        assert "the data is mock" in astrofm("store", "info", out).stderr
        made.append(CutoutStore.open(out).read(slice(None)))
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_an_archive_is_either_named_or_made_up(astrofm, words):
    ended = astrofm(*words[:3], "--source", "x", "--mock", "8")
    assert ended.code == 2
    assert ended.sentence == "ingest takes either --source FOLDER_OR_FILE or --mock N"
    assert not store_path("test-field").exists()


def test_the_options_are_in_the_manifest_and_what_cannot_be_is_a_sentence(astrofm, words, tmp_path):
    out = tmp_path / "a.zarr"
    assert astrofm(*words, "--keep-bits", "7", "--field-of-view", "36", "--out", out).code == 0
    store = CutoutStore.open(out)
    assert store.manifest.made_from.options.words == "--field-of-view 36.0 --keep-bits 7"
    assert store.shape[1:] == (1, 12, 12)
    ended = astrofm(*words, "--keep-bits", "40", "--out", tmp_path / "b.zarr")
    assert ended.code == 2
    assert "keep_bits" in ended.sentence
    assert "23" in ended.sentence
    assert astrofm(*words, "--beam", "-3", "--out", tmp_path / "b.zarr").code == 2


def test_a_warning_is_a_sentence_without_the_place_in_the_code(radio_card_folder, write_card, tmp_path):
    source = Survey.from_yaml(radio_card_folder / "card.yaml").mock(8, 0, tmp_path / "mock")
    card = write_card(tmp_path / "card.yaml", pixel_scale_arcsec=7.0)
    given = ["ingest", "--survey", card, "--source", source, "--out", tmp_path / "a.zarr"]
    words = [sys.executable, "-m", "astrofm", *map(str, given)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    (sentence,) = [line for line in ended.stderr.splitlines() if "arcsec to a pixel" in line]
    assert sentence.startswith("note: the files of 'test-field' have ")
