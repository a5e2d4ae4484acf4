import hashlib
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


@pytest.mark.parametrize("name", sorted(plugins.surveys()))
def test_the_card_of_each_survey_is_shown_with_the_source_of_each_band(astrofm, name):
    ended = astrofm("survey", "info", name)
    assert (ended.code, ended.stderr) == (0, "")
    card = plugins.survey(name).card
    shown = "".join(ended.stdout.replace("│", "").split())
    for words in (
        card.name,
        card.reference,
        *(band.name for band in card.bands),
        *(band.source for band in card.bands),
    ):
        assert "".join((words or "").split()) in shown


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


def test_an_archive_is_fetched_and_shown_as_a_table_and_as_json(astrofm, web, tmp_path, write_card):
    web.files["/a"] = b"a" * 2_000_000
    archive = {"name": "a.fits", "url": web.url("/a"), "licence": "CC BY 4.0", "size_bytes": 2_000_000}
    card = write_card(tmp_path / "card.yaml", archive=[archive])
    ended = astrofm("survey", "fetch", card, "--out", tmp_path / "out", "--json")
    assert ended.code == 0
    document = json.loads(ended.stdout)
    assert (document["survey"], document["source"]) == ("test-field", str(tmp_path / "out"))
    assert (document["transferred"], document["by_hand"]) == (2_000_000, [])
    sha256 = hashlib.sha256(web.files["/a"]).hexdigest()
    assert [(file["name"], file["sha256"]) for file in document["files"]] == [("a.fits", sha256)]
    said = ended.stderr.splitlines()
    assert said[0].startswith("test-field: fetching 1 file, 2.0 MB, from 127.0.0.1 to ")
    assert said[0].endswith("; licence: CC BY 4.0")
    assert said[1] == f"no hash of a.fits was known; its sha256 {sha256} is recorded"
    again = astrofm("survey", "fetch", card, "--out", tmp_path / "out")
    assert sha256 in again.stdout.replace("\n", "")
    assert again.stderr == f"next: astrofm ingest --survey {card} --source {tmp_path / 'out'}\n"


def test_what_is_to_be_fetched_by_hand_is_said(astrofm, web, tmp_path, write_card):
    web.files["/t"] = b"t"
    by_hand = {"name": "cutouts", "page": "https://sky.example/form", "note": "64 pixels each"}
    card = write_card(tmp_path / "card.yaml", archive=[by_hand])
    ended = astrofm("survey", "fetch", card)
    assert ended.code == 1
    said = (
        "the archive of 'test-field' cannot be fetched by a program: cutouts, https://sky.example/form, 64 pixels each"
        "; then: astrofm ingest --survey test-field --source FOLDER, with *.fits and table.csv in it"
    )
    assert ended.sentence == said
    write_card(card, archive=[by_hand, {"name": "t.csv", "url": web.url("/t")}])
    ended = astrofm("survey", "fetch", card, "--json")
    assert ended.code == 0
    assert "note: cutouts is to be fetched by hand: https://sky.example/form 64 pixels each" in ended.stderr
    assert json.loads(ended.stdout)["by_hand"] == [by_hand]


def test_a_failed_fetch_is_one_sentence(astrofm, web, tmp_path, write_card):
    card = write_card(tmp_path / "card.yaml", archive=[{"name": "a.fits", "url": web.url("/a")}])
    ended = astrofm("survey", "fetch", card)
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1] == f"astrofm: there is no {web.url('/a')} (HTTP 404)"


def test_without_a_source_an_ingest_fetches_the_archive(astrofm, web, radio_card_folder, tmp_path, write_card):
    files = sorted((radio_card_folder / "archive").iterdir())
    archive = [{"name": file.name, "url": web.url(f"/{file.name}")} for file in files]
    web.files |= {f"/{file.name}": file.read_bytes() for file in files}
    card = write_card(tmp_path / "card.yaml", archive=archive)
    ended = astrofm("ingest", "--survey", card, "--out", tmp_path / "a.zarr", "--json")
    assert ended.code == 0
    assert json.loads(ended.stdout)["num_cutouts"] == 36
    again = astrofm("ingest", "--survey", card, "--out", tmp_path / "a.zarr", "--json")
    assert again.stderr == "already complete\n"
    assert len(web.asked) == len(files)


def test_an_ingest_without_source_or_archive_says_what_would_work(astrofm, radio_card_folder):
    ended = astrofm("ingest", "--survey", radio_card_folder / "card.yaml")
    assert ended.code == 1
    assert ended.sentence == (
        "the archive of 'test-field' cannot be fetched by a program (its card names none): name a copy of it with "
        "--source, or try it on made-up data with --mock 400"
    )


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
