"""``astrofm questions`` draws each question once, below the answer that leads to it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from astrofm import plugins
from astrofm.cli.main import app
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.errors import UnknownNameError


def called(*words):
    return CliRunner().invoke(app, ["questions", *words])


def test_a_question_stands_below_the_answer_that_leads_to_it():
    lines = called("gz2").output.splitlines()
    assert lines[0] == "gz2: 10 questions, 30 answers"
    first = lines.index("smooth-or-featured-gz2")
    assert lines[first : first + 3] == ["smooth-or-featured-gz2", "  - smooth", "    how-rounded-gz2"]
    winding = lines.index("        spiral-winding-gz2")
    assert lines[winding - 1] == "      - yes"
    assert lines[winding - 2] == "    has-spiral-arms-gz2"


@pytest.mark.parametrize("schema", ["gz2", "gz-decals-dr5", "gz-evo-v1", "gz-rings"])
def test_all_questions_and_answers_are_there(schema):
    document = json.loads(called(schema, "--json").stdout)
    lines = [line.strip() for line in called(schema).output.splitlines()[2:]]
    answers = [f"- {answer}" for question in document["questions"] for answer in question["answers"]]
    assert sorted(lines) == sorted([question["name"] for question in document["questions"]] + answers)


def test_another_name_is_answered_with_those_that_there_are():
    error = called("gz3").exception
    assert isinstance(error, UnknownNameError)
    assert "no vote schema named 'gz3'; known: gz-candels-v0.1" in str(error)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_card_made_from_that_of_gz_evo_takes_another_schema(version, tmp_path):
    """As the README of the package says."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / f"gz-evo-{version}.yaml").write_text(called(f"gz-evo-{version}", "--json").stdout)
    card = CliRunner().invoke(app, ["survey", "info", "gz-evo", "--json"]).stdout
    card = card.replace('"name": "gz-evo"', '"name": "gz-evo-1"').replace('"gz-evo-v0.1"', f'"gz-evo-{version}"')
    (tmp_path / "gz-evo-1.yaml").write_text(card)
    other = plugins.survey(str(tmp_path / "gz-evo-1.yaml"))
    source = plugins.survey("gz-evo").mock(12, 0, tmp_path / "archive")  # in the archive's own form, every column
    ingest(other, source, tmp_path / "store")
    store = CutoutStore.open(tmp_path / "store")
    assert store.votes == other.votes
    assert len(store.votes.columns) == {"v1": 194, "v2": 188}[version]
    votes = np.stack([store.catalog.column(name) for name in store.votes.columns], axis=1)
    assert (votes.sum(axis=1) > 0).all()
