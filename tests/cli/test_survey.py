import json

import pytest

from astrofm import plugins


def test_surveys_are_listed_as_a_table_and_as_json(astrofm):
    ended = astrofm("survey", "list", "--json")
    assert (ended.code, ended.stderr) == (0, "")
    listed = json.loads(ended.stdout)["surveys"]
    assert [entry["name"] for entry in listed] == sorted(plugins.surveys())
    assert all(set(entry) == {"name", "title", "domain", "plugin"} for entry in listed)
    assert {entry["name"]: entry["plugin"] for entry in listed}["nvss"] == "card nvss.yaml"
    table = astrofm("survey", "list").stdout
    assert all(entry["name"] in table for entry in listed)


def test_a_card_is_shown_by_name_and_by_path(astrofm, radio_card_folder):
    path = radio_card_folder / "card.yaml"
    card = json.loads(astrofm("survey", "info", path, "--json").stdout)
    assert card["name"] == "test-field"
    assert card["pixel_scale_arcsec"]["value"] == 3.0
    table = astrofm("survey", "info", "nvss").stdout
    assert "Condon et al. 1998" in table
    assert "15" in table


def test_an_unknown_fact_is_shown_with_what_would_settle_it(astrofm, tmp_path, write_card):
    card = write_card(tmp_path / "card.yaml", beam={"unknown": "the headers of the next release"})
    assert "unknown; the headers of the next release" in astrofm("survey", "info", card).stdout


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_unknown_survey_is_one_sentence(astrofm, more):
    ended = astrofm("survey", "info", "nvsss", *more)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.sentence.startswith("no survey named 'nvsss'; known: ")
    assert ended.sentence.endswith("did you mean 'nvss'?")


def test_a_card_that_is_missing_or_misspelt_is_one_sentence(astrofm, tmp_path, write_card):
    ended = astrofm("survey", "info", tmp_path / "none.yaml")
    assert ended.code == 2
    assert ended.sentence == f"no survey card at {tmp_path / 'none.yaml'}"
    ended = astrofm("survey", "info", write_card(tmp_path / "typo.yaml", tilte="x"))
    assert ended.code == 2
    assert ended.sentence == f"survey card {tmp_path / 'typo.yaml'}: tilte: no such key"


def test_the_doctor_is_content_where_all_is_well(astrofm):
    ended = astrofm("doctor", "--json")
    assert (ended.code, json.loads(ended.stdout)) == (0, {"problems": []})
    assert astrofm("doctor").stderr == f"all well: {len(plugins.surveys())} surveys\n"


def test_the_doctor_names_what_is_broken_and_exits_with_1(astrofm, tmp_path, monkeypatch, write_card):
    write_card(tmp_path / "typo.yaml", tilte="x")
    monkeypatch.setenv("ASTROFM_SURVEYS", str(tmp_path))
    plugins.forget()
    ended = astrofm("doctor", "--json")
    assert ended.code == 1
    (problem,) = json.loads(ended.stdout)["problems"]
    assert problem["sentence"].endswith("typo.yaml: tilte: no such key")
    listed = astrofm("survey", "list")
    assert listed.code == 0
    assert "tilte: no such key" in listed.stderr
    ended = astrofm("survey", "info", "test-feild")
    assert "not loaded: survey card" in ended.sentence


def test_two_surveys_of_one_name_are_refused_on_use_alone(astrofm, tmp_path, monkeypatch, write_card):
    write_card(tmp_path / "a.yaml", name="same")
    write_card(tmp_path / "b.yaml", name="same", title="Another")
    monkeypatch.setenv("ASTROFM_SURVEYS", str(tmp_path))
    plugins.forget()
    ended = astrofm("survey", "info", "same")
    assert ended.code == 1
    assert "a.yaml" in ended.sentence
    assert "b.yaml" in ended.sentence
    assert astrofm("survey", "info", "nvss").code == 0
