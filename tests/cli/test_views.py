"""``astrofm views`` writes a picture and says what is in it."""

import json
from io import BytesIO

import pytest
import yaml
from PIL import Image


@pytest.fixture
def recipe_file(radio_recipe, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(radio_recipe))
    return path


def test_a_sheet_is_written_and_its_numbers_are_one_document(astrofm, recipe_file, radio_store, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    words = ["views", "--config", recipe_file, "--store", radio_store, "--num", 3]
    ended = astrofm(*words, "--out", out, "--json")
    assert ended.code == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["sheet"] == str(out)
    assert document["surveys"] == ["test-field"]
    assert document["views"] == ["rotate", "flip"]
    assert len(document["cutouts"]) == 3
    assert document["problem"] == ""
    found = document["statistics"]["test-field"]
    assert found["plain"]["input_std"] == pytest.approx(found["plain"]["std"])
    assert found["plain"]["missing_share"] == 0
    assert found["black"] < found["white"]
    first = out.read_bytes()
    assert Image.open(BytesIO(first)).format == "PNG"
    assert astrofm(*words, "--out", out).code == 0, "a sheet is drawn again over the old one"
    assert out.read_bytes() == first


def test_without_json_a_table_is_printed_and_the_sheet_lies_where_you_are(
    astrofm, recipe_file, radio_store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    ended = astrofm("views", "--config", recipe_file, "--store", radio_store, "--num", 1)
    assert ended.code == 0, ended.stderr
    assert "test-field" in ended.stdout
    assert ended.stderr.splitlines()[-1] == "sheet: views-test-run.png"
    assert (tmp_path / "views-test-run.png").is_file()


def test_settings_are_changed_as_in_pretrain(astrofm, recipe_file, radio_store, tmp_path):
    out = tmp_path / "sheet.png"
    words = ["views", "--config", recipe_file, "--store", radio_store, "--out", out]
    ended = astrofm(*words, "--set", "views=[flip]", "--json")
    assert json.loads(ended.stdout)["views"] == ["flip"]
    ended = astrofm(*words, "--set", "views=[rotat]")
    assert ended.code == 2
    assert "did you mean 'rotate'?" in ended.sentence


def test_a_name_that_is_no_png_and_a_call_without_a_recipe_are_refused(astrofm, recipe_file, tmp_path):
    ended = astrofm("views", "--config", recipe_file, "--out", tmp_path / "sheet.jpg")
    assert ended.code == 2
    assert "choose a name that ends in .png" in ended.sentence
    assert astrofm("views").sentence == "give --survey NAME, --config RECIPE, or both"


def test_a_file_that_cannot_be_written_is_one_sentence(astrofm, recipe_file, radio_store, tmp_path):
    (tmp_path / "file").write_text("")
    ended = astrofm("views", "--config", recipe_file, "--store", radio_store, "--out", tmp_path / "file" / "sheet.png")
    assert ended.code == 2
    assert "cannot be written" in ended.sentence
