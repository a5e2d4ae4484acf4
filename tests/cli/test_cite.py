import json

import pytest

from astrofm import plugins
from astrofm.citation import bibtex, entries
from astrofm.pretrain import pretrain

SHARED = """@article{shared,
  title = {A paper with an @ and {braces, inside}},
  year = {2020}
}"""


def test_each_entry_stands_there_once_in_the_order_it_came():
    other = "@misc{other, title = {Data}, year = {2021}}"
    text = bibtex([f"{SHARED}\n{other}\n", f"  {SHARED}\n", "@misc{third, year = {2022}}"])
    assert list(entries(text)) == ["shared", "other", "third"]
    assert text.startswith(SHARED)
    assert text.count("braces, inside") == 1


@pytest.mark.parametrize("name", sorted(plugins.surveys()))
def test_bibtex_of_every_survey_is_whole(astrofm, name):
    ended = astrofm("cite", "--survey", name)
    assert ended.code == 0
    found = entries(ended.stdout)
    assert found
    for key, entry in found.items():
        assert entry.count("{") == entry.count("}"), key
        assert entry.endswith("}"), key
        assert all(word in entry for word in ("title", "year", "author")), key
    licences = {archive.licence for archive in plugins.survey(name).card.archive}
    assert all(licence in ended.stderr for licence in licences)


def test_surveys_of_a_model_are_cited(astrofm, tiny_recipe, mock_stores, tmp_path):
    pretrain(tiny_recipe(max_steps=1), {"gz-evo": mock_stores["gz-evo"]}, tmp_path / "run")
    ended = astrofm("cite", "--survey", "mirabest", "--model", tmp_path / "run", "--json")
    document = json.loads(ended.stdout)
    assert document["surveys"] == ["mirabest", "gz-evo"]
    own = entries(plugins.survey("gz-evo").card.citation)
    assert set(own) <= set(document["keys"])
    assert document["keys"] == list(entries(document["bibtex"]))
    assert entries((tmp_path / "run" / "model" / "CITATION.bib").read_text()) == own


def test_citation_that_is_no_bibtex_is_kept():
    assert bibtex(["please cite us", SHARED]) == f"please cite us\n\n{SHARED}\n"


def test_model_of_a_survey_that_is_not_here_brings_its_own_bibtex(astrofm, tiny_recipe, mock_stores, tmp_path):
    pretrain(tiny_recipe(max_steps=1), {"gz-evo": mock_stores["gz-evo"]}, tmp_path / "run")
    card = tmp_path / "run" / "model" / "astrofm.json"
    card.write_text(card.read_text().replace('"gz-evo"', '"not-here"'))
    ended = astrofm("cite", "--model", tmp_path / "run")
    assert ended.code == 0
    assert "note: survey 'not-here' is not installed here, so its licence is not known" in ended.stderr
    assert entries(ended.stdout) == entries(plugins.survey("gz-evo").card.citation)


def test_without_a_survey_or_model_it_says_what_to_give(astrofm):
    ended = astrofm("cite")
    assert (ended.code, ended.sentence) == (2, "give --survey NAME, --model RUN, or both")
