"""``astrofm replay``: a table or one document, and 1 where the step cannot be reproduced."""

import json

import pytest

from astrofm import replay as module
from astrofm.replay import Replayed

RESULT = Replayed(
    folder="run/failure",
    step=7,
    device="cpu",
    loss=float("nan"),
    recorded_loss=float("nan"),
    gradient_norm=float("inf"),
    recorded_gradient_norm=float("inf"),
    is_reproduced=True,
    may_differ_because=(),
    first_non_finite="the output of module 'encoder.conv1' (Conv2d)",
    rows=("J1200+01", "J1300+02"),
)


@pytest.fixture
def outcome(monkeypatch):
    """Return a function that sets what the library finds; how it finds it is tested with the library."""

    def sets(**changes):
        monkeypatch.setattr(module, "replay", lambda run, device: Replayed(**{**vars(RESULT), **changes}))

    return sets


def test_the_table_says_where_and_the_document_is_json(astrofm, outcome):
    outcome()
    ended = astrofm("replay", "run")
    assert ended.code == 0
    for words in ("encoder.conv1", "J1200+01, J1300+02", "nan", "yes", "step 7 of run/failure"):
        assert words in ended.stdout
    document = json.loads(astrofm("replay", "run", "--json").stdout)
    assert (document["is_reproduced"], document["loss"], document["step"]) == (True, "nan", 7)


def test_a_step_that_is_not_reproduced_exits_with_1_and_says_what_differs(astrofm, outcome):
    outcome(is_reproduced=False, loss=0.5, may_differ_because=("torch was 2.5, now it is 2.6",))
    ended = astrofm("replay", "run")
    assert ended.code == 1
    assert "no: torch was 2.5, now it is 2.6" in ended.stdout


def test_a_folder_without_a_failed_step_is_one_sentence(astrofm, tmp_path):
    ended = astrofm("replay", tmp_path)
    assert ended.code == 1
    assert "no step of the run" in ended.sentence
