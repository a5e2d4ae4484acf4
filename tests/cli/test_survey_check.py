import json

import numpy as np
import pytest
from astropy.io import fits

from astrofm.survey import Survey
from astrofm.testing.check import check_survey


def checks(astrofm, *words):
    ended = astrofm("survey", "check", *words, "--json")
    document = json.loads(ended.stdout)
    assert document["is_kept"] == (ended.code == 0)
    return ended.code, {found["sentence"]: (found["outcome"], found["reason"]) for found in document["checks"]}


def test_survey_that_keeps_the_contract(astrofm, radio_card_folder):
    code, found = checks(astrofm, radio_card_folder / "card.yaml", "--source", radio_card_folder / "archive")
    assert code == 0
    assert len(found) >= 20
    skipped = {name: why for name, (outcome, why) in found.items() if outcome != "passed"}
    assert skipped == {
        "the archive has a licence and a way to get it": "the card has no 'archive', which says where the data are and "
        "under which licence: give one before you share it",
        "votes are counts": "the card names no vote schema",
        "the stretch finds the noise that it needs": "the stretch needs none",
    }
    assert "ids are unique and there is one row for each object" in found
    assert "a real example can be read" in found


def test_without_data_the_sentence_about_them_is_skipped_and_says_why(astrofm, radio_card_folder):
    code, found = checks(astrofm, radio_card_folder / "card.yaml")
    assert code == 0
    assert found["a real example can be read"] == ("skipped", "no real example of test-field is named")
    table = astrofm("survey", "check", radio_card_folder / "card.yaml")
    assert (table.code, table.stderr) == (0, "the contract is kept\n")
    assert "splits are train val or test" in table.stdout


@pytest.mark.parametrize(
    ("change", "sentence", "reason"),
    [
        ({"citation": "ask us"}, "the card says whom to cite and what is hard", "the citation is no BibTeX"),
        (
            {"archive": [{"name": "images", "note": "ask us"}]},
            "the archive has a licence and a way to get it",
            "archive 'images' has no licence",
        ),
        (
            {"field_of_view_arcsec": 100.0},
            "the field of view is that of a product",
            "the card says a field of view of 100 arcsec, and the pixels of its products span 48",
        ),
        ({"recipe": "byol-quik"}, "its recipes exist", "RecipeError: no recipe named 'byol-quik'"),
        (
            {"tasks": [{"name": "t", "title": "T", "column": "label", "classes": {"a": [0], "b": [0]}}]},
            "tasks ask what the labels can answer",
            "task 't' puts one value into two classes",
        ),
    ],
)
def test_what_is_wrong_with_a_card_is_said_in_words(astrofm, tmp_path, write_card, change, sentence, reason):
    code, found = checks(astrofm, write_card(tmp_path / "card.yaml", **change))
    assert code == 1
    outcome, why = found[sentence]
    assert outcome == "failed"
    assert why.startswith(reason)


def test_given_data_that_are_not_what_the_card_says_fail(astrofm, tmp_path, write_card, write_field):
    card = write_card(tmp_path / "card.yaml", folder={"table": "other.csv"})
    archive = write_field(tmp_path / "archive", [10.0, 11.0], [0.0, 0.0], ["train", "test"])
    code, found = checks(astrofm, card, "--source", archive)
    assert code == 1
    outcome, why = found["a real example can be read"]
    assert outcome == "failed"
    assert "other.csv" in why


def test_unknown_survey_and_missing_data_are_one_sentence(astrofm, radio_card_folder, tmp_path):
    assert astrofm("survey", "check", "nvsss").sentence.startswith("no survey named 'nvsss'")
    ended = astrofm("survey", "check", radio_card_folder / "card.yaml", "--source", tmp_path / "none")
    assert ended.sentence.startswith(f"no folder or file at {tmp_path / 'none'}")


@pytest.mark.parametrize(
    ("change", "sentence", "reason"),
    [
        ({"label_names": {0: "one"}}, "ids positions and labels", "the card names no label 1"),
        (
            {"tasks": [{"name": "t", "title": "T", "column": "label", "classes": {"a": [7], "b": [8]}}]},
            "ids positions and labels",
            "task 't' has classes without any row (a: 7; b: 8): column 'label' has 0 (2), 1 (1)",
        ),
    ],
)
def test_given_labels_that_the_card_does_not_know_are_named(
    astrofm, tmp_path, write_card, write_field, change, sentence, reason
):
    card = write_card(tmp_path / "card.yaml", **change)
    archive = write_field(tmp_path / "archive", [10.0, 11.0, 12.0], [0.0] * 3, ["train", "train", "test"])
    code, found = checks(astrofm, card, "--source", archive)
    assert code == 1
    ((outcome, why),) = (said for name, said in found.items() if name.startswith(sentence))
    assert (outcome, why.partition("\n")[0]) == ("failed", reason)


def test_an_image_that_is_turned_is_named_with_its_angle(astrofm, tmp_path, write_card, write_field):
    archive = write_field(tmp_path / "archive", [10.0, 11.0], [0.0] * 2, ["train", "test"])
    turned = np.radians(30.0)
    with fits.open(archive / "s001.fits", mode="update") as hdus:
        hdus[0].header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=11.0, CRVAL2=0.0, CRPIX1=8.5, CRPIX2=8.5)
        scale = 3.0 / 3600
        hdus[0].header.update(CD1_1=-scale * np.cos(turned), CD1_2=scale * np.sin(turned))
        hdus[0].header.update(CD2_1=scale * np.sin(turned), CD2_2=scale * np.cos(turned))
    code, found = checks(astrofm, write_card(tmp_path / "card.yaml"), "--source", archive)
    (why,) = (why for outcome, why in found.values() if outcome == "failed")
    assert why.startswith("the y axis of s001 points 30 degrees from North through East, where the card says North up")
    code, _ = checks(astrofm, write_card(tmp_path / "card.yaml", orientation="as observed"), "--source", archive)
    assert code == 0


def test_a_reason_is_given_once_and_then_referred_to(astrofm, tmp_path, write_card, write_field):
    card = write_card(tmp_path / "card.yaml", folder={"table": "other.csv"})
    archive = write_field(tmp_path / "archive", [10.0, 11.0], [0.0, 0.0], ["train", "test"])
    said = astrofm("survey", "check", card, "--source", archive).stdout
    assert said.count("as above") == 2
    lines = [line for line in said.splitlines() if "of a real example" in line]
    assert len(lines) == 2
    assert all("as above" in line for line in lines)


def test_a_reader_that_gives_too_little_is_told_how_many(tmp_path, write_card, monkeypatch):
    read = Survey.cutouts
    monkeypatch.setattr(Survey, "cutouts", lambda *given: list(read(*given))[1:])
    found = check_survey(str(write_card(tmp_path / "card.yaml")))
    said = {check.reason for check in found if check.outcome == "failed"}
    assert any(why.startswith("the reader gives 19 results for 20 rows: give a Cutout for each") for why in said)
    assert not any("zip()" in why for why in said)


def test_a_source_in_two_splits_under_two_names_fails(astrofm, tmp_path, write_card, write_field):
    card = write_card(tmp_path / "card.yaml")
    for name, ra, code in (("apart", [10.0, 11.0, 12.0], 0), ("shared", [10.0, 11.0, 10.0 + 0.5 / 3600], 1)):
        archive = write_field(tmp_path / name, ra, [0.0] * 3, ["train", "train", "test"])
        ended, found = checks(astrofm, card, "--source", archive)
        assert ended == code
    (why,) = (why for outcome, why in found.values() if outcome == "failed")
    assert why.startswith("1 test sources lie within 1 arcsec of one that is not test, such as s002: the same source")


def test_given_ids_that_come_twice_fail(astrofm, tmp_path, write_card, write_field):
    archive = write_field(tmp_path / "archive", [10.0, 11.0], [0.0] * 2, ["train", "test"])
    table = archive / "table.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*lines, lines[-1]]) + "\n", encoding="utf-8")
    code, found = checks(astrofm, write_card(tmp_path / "card.yaml"), "--source", archive)
    assert code == 1
    failed = {name: why for name, (outcome, why) in found.items() if outcome == "failed"}
    assert any("s001" in why and "more than once" in why for why in failed.values()), failed
