import json
import shutil

import pytest

from astrofm import plugins


@pytest.fixture
def store(tmp_path, radio_store):
    return shutil.copytree(radio_store, tmp_path / "field.zarr")


def damage(store):
    shard = max((path for path in store.rglob("c/*/*/*/*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    return shard.relative_to(store).as_posix()


def test_info_says_what_is_in_a_store(astrofm, radio_store):
    info = json.loads(astrofm("store", "info", radio_store, "--json").stdout)
    assert info["num_cutouts"] == 36
    assert info["survey"] == "test-field"
    assert info["mock"] is False
    table = astrofm("store", "info", radio_store).stdout
    assert "36 x 1 x 16 x 16" in table


def test_a_whole_store_is_verified(astrofm, radio_store):
    ended = astrofm("store", "verify", radio_store)
    assert (ended.code, ended.stderr) == (0, "every hash is right\n")


def test_a_damaged_store_exits_with_1_and_is_mended_from_the_archive(
    astrofm, store, radio_card_folder, tmp_path, monkeypatch
):
    file = damage(store)
    ended = astrofm("store", "verify", store, "--json")
    assert ended.code == 1
    assert file in json.loads(ended.stdout)["damages"][0]
    said = astrofm("store", "verify", store).stderr
    assert "astrofm store repair" in said
    shutil.copytree(radio_card_folder, tmp_path / "cards", ignore=shutil.ignore_patterns("*.zarr", "archive"))
    monkeypatch.setenv("ASTROFM_SURVEYS", str(tmp_path / "cards"))
    plugins.forget()
    mended = astrofm("store", "repair", store, "--source", radio_card_folder / "archive", "--json")
    assert mended.code == 0
    assert file in json.loads(mended.stdout)["repaired"][0]
    assert astrofm("store", "verify", store).code == 0
    again = astrofm("store", "repair", store, "--source", radio_card_folder / "archive")
    assert again.stderr == "repaired: nothing was damaged\n"


def test_a_survey_of_a_card_alone_is_mended_wherever_its_card_lies(astrofm, store, radio_card_folder):
    file = damage(store)
    assert "test-field" not in plugins.surveys()
    mended = astrofm("store", "repair", store, "--source", radio_card_folder / "archive", "--json")
    assert json.loads(mended.stdout)["repaired"] == [file]


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_no_store_is_one_sentence(astrofm, tmp_path, command, more):
    for path in (tmp_path / "none.zarr", tmp_path):
        ended = astrofm("store", command, path, *more)
        assert (ended.code, ended.stdout) == (1, "")
        assert "store" in ended.sentence
        assert str(path) in ended.sentence
