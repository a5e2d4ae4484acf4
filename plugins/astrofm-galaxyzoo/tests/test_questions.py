"""``astrofm questions`` draws each question once, below the answer that leads to it."""

import json

import pytest
from typer.testing import CliRunner

from astrofm.cli.main import app
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
