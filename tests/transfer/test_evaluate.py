"""Transfer: a few labels on top of an encoder, beside the same encoder from random weights."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from astrofm.data.labels import task_labels
from astrofm.data.store import CutoutStore
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.errors import ContractError, DataError, UnknownNameError, UsageError
from astrofm.interruption import Interrupted
from astrofm.model import Model
from astrofm.parts import NamedEncoder
from astrofm.pretrain import pretrain
from astrofm.run import Run, find_model
from astrofm.transfer import evaluate
from astrofm.transfer.bench import MODES, Bench
from astrofm.transfer.curve import Entrant, measure_curve
from astrofm.transfer.evaluate import transfer
from astrofm.transfer.finetune import FinetuneConfig
from astrofm.transfer.pairing import labelled_data
from astrofm.transfer.report import write_report

QUICK = FinetuneConfig(epochs=1, batch_size=8)
ROW_KEYS = {
    "init",
    "mode",
    "error_mean",
    "error_sem",
    "error_ci95",
    "n_test",
    "difference_to_random",
    "difference_ci95",
}
KEYS = {"survey", "train_survey", "task", "labels", "seeds", "model", "mock", "rows"}


@pytest.fixture(scope="module")
def runs(tiny_recipe, mock_stores, tmp_path_factory):
    """A short run of each of two surveys."""
    folder = tmp_path_factory.mktemp("runs")
    for survey in ("gz-evo", "mirabest"):
        pretrain(tiny_recipe(survey, max_steps=4), mock_stores, folder / survey)
    return {survey: Run(folder / survey) for survey in ("gz-evo", "mirabest")}


@pytest.fixture(scope="module")
def galaxies(mock_stores):
    return mock_stores["gz-evo"]


@pytest.fixture(scope="module")
def report(runs, galaxies):
    model = find_model(runs["gz-evo"].path)
    return transfer(galaxies, galaxies, 12, model=model, model_name="run", modes=MODES, seeds=2, finetune_config=QUICK)


def test_json_has_the_keys_of_the_design(report):
    document = json.loads(json.dumps(report.to_json()))
    others = {"classes", "model_step", "orientations", "overrides", "left_out", "commonest_class"}
    assert document.keys() == KEYS | others | {"commonest_class_error"}
    assert all(row.keys() == ROW_KEYS | {"errors"} for row in document["rows"])
    assert (document["survey"], document["train_survey"], document["task"]) == (
        "gz-evo",
        "gz-evo",
        "smooth-or-featured",
    )
    assert (document["labels"], document["seeds"], document["model"], document["mock"]) == (12, 2, "run", True)


def test_each_mode_has_a_row_from_random_weights_beside_the_pretrained_one(report, galaxies):
    assert [(row.mode, row.init) for row in report.rows] == [
        (mode, init) for mode in MODES for init in ("pretrained", "random")
    ]
    for pretrained, random in zip(report.rows[::2], report.rows[1::2], strict=True):
        assert pretrained.n_test == random.n_test > 0
        assert pretrained.difference_to_random == pytest.approx(pretrained.error_mean - random.error_mean)
        low, high = pretrained.difference_ci95
        assert low <= pretrained.difference_to_random <= high
        assert random.difference_to_random is random.difference_ci95 is None
    for row in report.rows:
        assert row.error_mean == pytest.approx(np.mean(row.errors))
        assert len(row.errors) == 2
        assert 0 <= row.error_ci95[0] <= row.error_mean <= row.error_ci95[1] <= 1


def test_the_error_of_one_answer_for_all_stands_beside(report, galaxies):
    task = galaxies.card.tasks[0]
    train, test = labelled_data(galaxies, galaxies, task, task)
    counts = np.bincount(train.labels)
    assert counts[list(task.classes).index(report.commonest_class)] == counts.max()
    expected = np.mean(test.labels != list(task.classes).index(report.commonest_class))
    assert report.commonest_class_error == pytest.approx(expected)
    assert 0 < report.commonest_class_error < 1


def test_same_call_gives_the_same_report(report, runs, galaxies):
    model = find_model(runs["gz-evo"].path)
    again = transfer(galaxies, galaxies, 12, model=model, model_name="run", modes=MODES, seeds=2, finetune_config=QUICK)
    assert again == report


def test_random_rows_do_not_depend_on_the_model(report, galaxies, tiny_recipe):
    alone = transfer(
        galaxies, galaxies, 12, model=None, recipe=tiny_recipe(), modes=MODES, seeds=2, finetune_config=QUICK
    )
    assert [row.init for row in alone.rows] == ["random"] * 3
    assert alone.rows == report.rows[1::2]
    assert (alone.model, alone.model_step) == (None, None)


def test_both_arms_get_the_same_labels_and_protocol(runs, galaxies, monkeypatch):
    """A model that is the random network of seed 0 must fare exactly as the random row of seed 0.

    It is in evaluation mode, as a loaded model is.
    """
    model = find_model(runs["gz-evo"].path)
    untrained = Model(build_encoder(EncoderConfig(name="test_resnet"), 3, seed=0).eval(), model.card)
    monkeypatch.setattr(evaluate, "check_distinct", lambda inputs: None)
    found = transfer(galaxies, galaxies, 12, model=untrained, modes=MODES, seeds=1, finetune_config=QUICK)
    for pretrained, random in zip(found.rows[::2], found.rows[1::2], strict=True):
        assert pretrained.errors == random.errors
        assert pretrained.difference_to_random == 0.0


@pytest.mark.parametrize("modes", [("linear",), ("knn",), ("finetune",)])
def test_two_arms_with_one_encoder_are_noticed(runs, galaxies, modes):
    model = find_model(runs["gz-evo"].path)
    untrained = Model(build_encoder(EncoderConfig(name="test_resnet"), 3, seed=0), model.card)
    with pytest.raises(DataError, match="'pretrained' and 'random, seed 0' were computed from identical numbers"):
        transfer(galaxies, galaxies, 12, model=untrained, modes=modes, seeds=2, finetune_config=QUICK)


def test_test_labels_change_the_errors_and_no_prediction(runs, galaxies, monkeypatch):
    predictions = []
    predict, labelled = Bench.predict, evaluate.labelled_data

    def recorded(*arguments):
        predictions.append(predict(*arguments))
        return predictions[-1]

    def permuted(*arguments):
        train, test = labelled(*arguments)
        return train, replace(test, labels=1 - test.labels)

    monkeypatch.setattr(Bench, "predict", recorded)
    options = {"model": find_model(runs["gz-evo"].path), "modes": MODES, "seeds": 1, "finetune_config": QUICK}
    first = transfer(galaxies, galaxies, 12, **options)
    monkeypatch.setattr(evaluate, "labelled_data", permuted)
    second = transfer(galaxies, galaxies, 12, **options)
    half = len(predictions) // 2
    for one, other in zip(predictions[:half], predictions[half:], strict=True):
        np.testing.assert_array_equal(one, other)
    for row, flipped in zip(first.rows, second.rows, strict=True):
        assert row.error_mean == pytest.approx(1 - flipped.error_mean)


def test_transfer_leaves_the_model_as_it_was(runs, galaxies):
    """Norm layers included: probes must not move the statistics of the encoder."""
    model = find_model(runs["gz-evo"].path)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    assert any("running_mean" in name for name in before)
    transfer(galaxies, galaxies, 12, model=model, modes=MODES, seeds=1, finetune_config=QUICK)
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())


@pytest.mark.parametrize("mode", ["linear", "knn"])
def test_probes_see_the_encoder_in_evaluation_mode_with_its_own_statistics(runs, galaxies, mode, monkeypatch):
    model, made, build = find_model(runs["gz-evo"].path), [], NamedEncoder.build

    def watched(*arguments):
        made.append(build(*arguments))
        return made[-1]

    monkeypatch.setattr(NamedEncoder, "build", watched)
    transfer(galaxies, galaxies, 12, model=model, modes=(mode,), seeds=1)
    (random,) = made
    fresh = build_encoder(EncoderConfig(name="test_resnet"), 3, seed=0)
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in random.state_dict().items())


def test_more_labels_than_there_are_is_refused_with_the_number(runs, galaxies):
    split, rows = galaxies.catalog.column("split"), np.arange(len(galaxies))
    labels = task_labels(galaxies.catalog, galaxies.card.tasks[0])
    available = int(((labels[rows] >= 0) & (split == "train")).sum())
    with pytest.raises(DataError, match=rf"asked for 500 labels; .* has {available}"):
        transfer(galaxies, galaxies, 500, model=find_model(runs["gz-evo"].path))


def test_unknown_mode_or_task_is_refused(runs, galaxies):
    model = find_model(runs["gz-evo"].path)
    with pytest.raises(UsageError, match="no mode named lineal; known: linear, knn, finetune"):
        transfer(galaxies, galaxies, 12, model=model, modes=("lineal",))
    with pytest.raises(UnknownNameError, match="no task of 'gz-evo' named 'smoth'"):
        transfer(galaxies, galaxies, 12, model=model, task="smoth")


def test_labels_of_one_survey_serve_another_and_the_override_is_recorded(runs, mock_stores):
    train, test = mock_stores["mirabest"], mock_stores["mightee"]
    model = find_model(runs["mirabest"].path)
    report = transfer(train, test, 20, model=model, modes=("linear",), seeds=1)
    assert (report.survey, report.train_survey, report.task) == ("mightee", "mirabest", "fr-certain")
    assert report.classes == ("FRI", "FRII")
    (override,) = report.overrides
    assert "accepts VLA-FIRST-1.4GHz and 'mightee' brings MeerKAT-L" in override
    assert override.endswith("(accepted by the card of 'mightee')")
    labels = task_labels(test.catalog, test.card.tasks[0])
    assert report.rows[0].n_test == (labels >= 0).sum()
    bare = test.card.model_copy(update={"transfer": None})
    unplanned = type(test)(test.path, test.manifest)
    made_from = test.manifest.made_from.model_copy(update={"card": bare})
    unplanned.manifest = test.manifest.model_copy(update={"made_from": made_from})
    with pytest.raises(ContractError, match="accept it with --adapt-bands"):
        transfer(train, unplanned, 20, model=model, modes=("linear",), seeds=1)
    adapted = transfer(train, unplanned, 20, model=model, modes=("linear",), seeds=1, adapt_bands=True)
    assert adapted.overrides[0].endswith("(accepted by --adapt-bands)")
    assert adapted.rows == report.rows


def test_network_of_other_channels_is_refused_whatever_is_accepted(runs, mock_stores):
    store = mock_stores["mirabest"]
    with pytest.raises(ContractError, match=r"'mirabest' has 1 bands .* the network takes 3"):
        transfer(store, store, 12, model=find_model(runs["gz-evo"].path), adapt_bands=True, resample=True)


def test_model_that_has_seen_the_labels_is_refused_by_transfer_and_curve(runs, galaxies, tmp_path):
    model = find_model(runs["gz-evo"].path)
    seen = replace(
        model,
        card=model.card.model_copy(update={"label_kind": "votes", "labelled_splits": {"gz-evo": ("train", "test")}}),
    )
    with pytest.raises(UsageError, match="of the test split of 'gz-evo'"):
        transfer(galaxies, galaxies, 8, model=seen, modes=("linear",), seeds=1)
    for folds, split in ((0, "test"), (2, "train")):
        with pytest.raises(UsageError, match=f"of the {split} split of 'gz-evo'"):
            measure_curve(galaxies, galaxies, [8], {"seen": Entrant(seen)}, cells=tmp_path, seeds=1, folds=folds)


def test_surveys_without_common_classes_are_refused(runs, mock_stores):
    with pytest.raises(UsageError, match="'gz-evo' has no task with the classes of 'mightee'"):
        transfer(mock_stores["gz-evo"], mock_stores["mightee"], 12, model=find_model(runs["gz-evo"].path))


def test_stopped_run_serves_and_the_report_says_at_which_step(tiny_recipe, galaxies, tmp_path):
    class Stop:
        def on_step(self, info):
            if info.step == 2:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        pretrain(tiny_recipe(), {"gz-evo": galaxies}, tmp_path / "run", listeners=[Stop()])
    report = transfer(galaxies, galaxies, 12, model=find_model(tmp_path / "run"), modes=("knn",), seeds=1)
    assert report.model_step == 2


def test_embeddings_and_class_probabilities_are_averaged_over_orientations(galaxies, runs):
    """Each orientation of training and test rows goes through the encoder, and their mean is another one."""
    contract = find_model(runs["gz-evo"].path).card.contract
    task = galaxies.card.tasks[0]
    train, _ = labelled_data(galaxies, galaxies, task, task)
    few = train.take(np.arange(8))
    made = []

    class Noting(torch.nn.Module):
        """Gives the means of the first columns, and notes how often it was asked."""

        def forward(self, images):
            made.append(len(images))
            return images.mean(dim=(1, 2))[:, :4]

    averaged, plain = (Bench(contract, few, few, 2, QUICK, "cpu", num).embed(Noting())[1] for num in (4, 1))
    assert len(made) == 2 * 4 + 2 * 1
    assert not np.allclose(averaged, plain)
    report = transfer(
        galaxies, galaxies, 12, model=find_model(runs["gz-evo"].path), seeds=1, finetune_config=QUICK, orientations=8
    )
    assert report.orientations == 8
    with pytest.raises(UsageError, match="2 orientations were asked for"):
        transfer(galaxies, galaxies, 12, model=find_model(runs["gz-evo"].path), orientations=2)


def test_report_is_written_as_json(report, tmp_path):
    file = write_report(report, tmp_path / "new" / "folder")
    assert file.name == "transfer.json"
    assert json.loads(file.read_text()) == json.loads(json.dumps(report.to_json()))


def test_command_line_prints_one_document(tmp_path):
    arguments = ["transfer", "--survey", "mightee", "--labels", "20", "--mock", "64", "--mode", "knn", "--seeds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "astrofm", *arguments, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "ASTROFM_HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["survey"], report["train_survey"], report["labels"], report["mock"]) == (
        "mightee",
        "mirabest",
        20,
        True,
    )
    assert [row["init"] for row in report["rows"]] == ["random"]
    first = done.stderr.splitlines()[0]
    assert first.startswith("no finished run takes this survey")
    assert first.endswith("astrofm pretrain --survey mirabest --mock 64")


def test_labels_that_no_class_looks_for_are_told(radio_store):
    store = CutoutStore.open(radio_store)
    task = store.card.tasks[0].model_copy(update={"classes": {"FRI": (7,), "FRII": (8,)}})
    with pytest.raises(DataError, match=r"look for 7, 8 in column 'label', which has [01] \(12 train\)"):
        labelled_data(store, store, task, task)
