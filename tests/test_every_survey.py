"""Every survey goes the whole way on made-up data: archive, store, a short pretraining, a few labels."""

import json

import pytest
from typer.testing import CliRunner

from astrofm import plugins
from astrofm.cli.main import app

SURVEYS = sorted(plugins.surveys())
NUM_MOCK = {"lotss": 160}  # few fields of the sky, of which some are to have labels and be for the test
LABELLED = {1: "mirabest", 3: "gz1"}
"""Where a network goes that learnt from so many bands of a survey without labels; none with five bands has them."""


@pytest.fixture
def run():
    """Return ``run(words...)``: the JSON document of a command that must succeed."""

    def run(*words):
        result = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.mark.parametrize("name", SURVEYS)
def test_from_archive_to_error(name, run, tmp_path):
    short = ["--set", "training.max_steps=2", "--set", "training.batch_size=8"]
    card, mock = plugins.survey(name).card, ["--mock", NUM_MOCK.get(name, 80)]
    learnt = name if card.transfer is None else card.transfer.train  # what has labels elsewhere may be test alone
    trained = run("pretrain", "--survey", learnt, *mock, *short, "--out", tmp_path / "run")
    assert trained["step"] == 2
    words = ["--labels", 8, "--seeds", 1, "--mode", "linear", "--model", tmp_path / "run"]
    if not card.tasks:
        if len(card.bands) not in LABELLED:
            return
        name, words = LABELLED[len(card.bands)], [*words, "--adapt-bands", "--resample"]
    report = run("transfer", "--survey", name, *mock, *words)
    assert report["labels"] == 8
    assert report["mock"] is True
    errors = {row["init"]: row["error_mean"] for row in report["rows"]}
    assert errors.keys() == {"pretrained", "random"}
    assert all(0 <= error <= 1 for error in errors.values())
