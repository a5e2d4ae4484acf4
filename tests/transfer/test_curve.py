"""Curves: error against labels, measured once and kept."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from astrofm.cli.main import app
from astrofm.data.labels import task_labels
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.errors import DataError, UsageError
from astrofm.pretrain import pretrain
from astrofm.report.curve_files import labels_svg, pretraining_svg, write_curve
from astrofm.run import Run, find_model
from astrofm.transfer.bench import Bench
from astrofm.transfer.curve import Entrant, folds_of, forward_flop, measure_curve
from astrofm.transfer.evaluate import transfer
from astrofm.transfer.finetune import FinetuneConfig

QUICK = FinetuneConfig(epochs=1, batch_size=8)
LABELS = (8, 12, 20)


@pytest.fixture(scope="module")
def galaxies(mock_stores):
    return mock_stores["gz-evo"]


@pytest.fixture(scope="module")
def entrants(tiny_recipe, mock_stores, tmp_path_factory):
    """Two models of one architecture, of which the second trained longer."""
    folder = tmp_path_factory.mktemp("runs")
    for name, steps in (("short", 2), ("long", 6)):
        pretrain(tiny_recipe("gz-evo", max_steps=steps), mock_stores, folder / name)
    return {
        name: Entrant(find_model(Run(folder / name).path), cutouts_seen=8 * steps)
        for name, steps in (("short", 2), ("long", 6))
    }


@pytest.fixture
def counted(monkeypatch):
    """Notes (init, mode, labels, seed) of each prediction that is made."""
    made = []
    predict = Bench.predict

    def noted(self, arm, mode, features, draw, seed):
        made.append((arm.init, mode, len(draw), seed))
        return predict(self, arm, mode, features, draw, seed)

    monkeypatch.setattr(Bench, "predict", noted)
    return made


def test_a_curve_is_what_transfers_with_each_number_of_labels_find(galaxies, entrants, tmp_path):
    modes = ("linear", "finetune")
    report = measure_curve(
        galaxies, galaxies, LABELS, entrants, cells=tmp_path, modes=modes, seeds=2, finetune_config=QUICK
    )
    rows = {(row.model, row.init, row.mode, row.labels): row for row in report.rows}
    assert len(rows) == len(report.rows) == 2 * 2 * 2 * len(LABELS)
    for num in (8, 20):
        model = entrants["long"].model
        alone = transfer(galaxies, galaxies, num, model=model, modes=modes, seeds=2, finetune_config=QUICK)
        for expected in alone.rows:
            found = rows["long", expected.init, expected.mode, num]
            assert found.error_mean == expected.error_mean
            assert found.error_ci95 == expected.error_ci95
            assert found.difference_to_random == expected.difference_to_random
            assert found.difference_ci95 == expected.difference_ci95
    assert rows["long", "pretrained", "linear", 8].cutouts_seen == 48
    assert rows["long", "random", "linear", 8].cutouts_seen == 0


def test_what_was_measured_is_not_measured_again_and_what_is_missing_is(galaxies, entrants, tmp_path, counted):
    both = {"cells": tmp_path, "modes": ("linear",)}
    first = measure_curve(galaxies, galaxies, (8, 12), {"short": entrants["short"]}, seeds=2, **both)
    assert len(counted) == 2 * 2 * 2  # arms, labels, seeds
    counted.clear()
    assert measure_curve(galaxies, galaxies, (8, 12), {"short": entrants["short"]}, seeds=2, **both) == first
    assert counted == []
    more = measure_curve(galaxies, galaxies, (8, 12, 20), entrants, seeds=3, **both)
    assert ("pretrained", "linear", 8, 2) in counted, "the third seed of the first model"
    assert ("pretrained", "linear", 20, 0) in counted, "a new number of labels"
    assert counted.count(("random", "linear", 8, 2)) == 1, "random weights are those of both models"
    assert ("random", "linear", 8, 0) not in counted
    assert len(counted) == (9 - 4) + 9 + (9 - 4)  # the first model, the second one, random weights
    assert [row.labels for row in more.rows if (row.model, row.init) == ("long", "random")] == [8, 12, 20]


def test_another_protocol_is_measured_anew(galaxies, entrants, tmp_path, counted):
    given = {"cells": tmp_path, "modes": ("finetune",), "seeds": 1}
    alone = {"short": entrants["short"]}
    for config, orientations in ((QUICK, 1), (FinetuneConfig(epochs=2, batch_size=8), 1), (QUICK, 4)):
        report = measure_curve(
            galaxies, galaxies, (8,), alone, finetune_config=config, orientations=orientations, **given
        )
        assert len(counted) == 2
        assert report.orientations == orientations
        counted.clear()


def test_folds_classify_each_training_row_once_and_leave_the_test_split_alone(
    galaxies, entrants, tmp_path, monkeypatch
):
    tested = []
    predict = Bench.predict

    def noted(self, arm, mode, features, draw, seed):
        tested.append((arm.init, seed, self.test.rows, self.train.rows[draw]))
        return predict(self, arm, mode, features, draw, seed)

    monkeypatch.setattr(Bench, "predict", noted)
    report = measure_curve(
        galaxies, galaxies, (8,), {"short": entrants["short"]}, cells=tmp_path, modes=("linear",), seeds=2, folds=3
    )
    splits = galaxies.catalog.column("split")
    labels = task_labels(galaxies.catalog, galaxies.card.tasks[0], galaxies.votes)
    pool = np.flatnonzero((splits == "train") & (labels >= 0))
    for init in ("pretrained", "random"):
        for seed in (0, 1):
            rows = [rows for of_init, of_seed, rows, _ in tested if (of_init, of_seed) == (init, seed)]
            assert sorted(np.concatenate(rows).tolist()) == pool.tolist()
    assert all(not set(rows.tolist()) & set(drawn.tolist()) for _, _, rows, drawn in tested)
    assert report.folds == 3
    assert report.rows[0].n_test == len(pool)


def test_folds_have_their_share_of_each_class():
    labels = np.array([0] * 30 + [1] * 12)
    fold = folds_of(labels, 3, seed=1)
    assert np.bincount(fold[labels == 0]).tolist() == [10, 10, 10]
    assert np.bincount(fold[labels == 1]).tolist() == [4, 4, 4]
    assert (fold != folds_of(labels, 3, seed=2)).any()
    with pytest.raises(DataError, match="class 1 has 2 labelled rows, too few for 3 folds"):
        folds_of(np.array([0, 0, 0, 1, 1]), 3, seed=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": ()}, "numbers of labels of 2 or more"),
        ({"labels": (1, 8)}, "numbers of labels of 2 or more"),
        ({"folds": 1}, "into 2 or more parts"),
        ({"modes": ("linaer",)}, "no mode named linaer"),
    ],
)
def test_what_is_no_curve_is_one_sentence(galaxies, entrants, tmp_path, changes, said):
    given = {"labels": (8,), "modes": ("linear",), "folds": 0} | changes
    with pytest.raises(UsageError, match=said):
        measure_curve(galaxies, galaxies, given.pop("labels"), entrants, cells=tmp_path, **given)


def test_the_cost_of_a_forward_pass_is_the_published_one():
    """A ResNet-18 takes 1.8e9 multiplications and additions for 224 px (He et al. 2016, table 1)."""
    encoder = build_encoder(EncoderConfig(name="resnet18"), 3)
    assert forward_flop(encoder, (3, 224, 224)) == pytest.approx(2 * 1.8e9, rel=0.02)


def test_files_say_the_same_in_numbers_and_in_lines(galaxies, entrants, tmp_path):
    report = measure_curve(galaxies, galaxies, LABELS, entrants, cells=tmp_path / "cells", modes=("linear",), seeds=2)
    files = write_curve(report, tmp_path)
    assert [file.name for file in files] == [
        "curve.json",
        "curve.csv",
        "error-by-labels.svg",
        "error-by-pretraining.svg",
    ]
    document = json.loads(files[0].read_text(encoding="utf-8"))
    with files[1].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(document["rows"]) == 12
    for row, own in zip(rows, document["rows"], strict=True):
        assert float(row["error_mean"]) == own["error_mean"]
        assert (float(row["error_low"]), float(row["error_high"])) == tuple(own["error_ci95"])
        assert row["difference_to_random"] == ("" if own["init"] == "random" else str(own["difference_to_random"]))
    by_labels = files[2].read_text(encoding="utf-8")
    assert by_labels.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert by_labels.count("<polygon") == 4
    styles = re.findall(
        r'stroke="([^"]+)" stroke-width="2.2" stroke-linejoin="round" [^>]*?(dasharray="[^"]+")?>', by_labels
    )
    assert len(set(styles)) == len(styles) == 4
    assert all(f">{num}<" in by_labels for num in LABELS)
    assert "random weights (long), linear" in by_labels
    assert pretraining_svg(report).count("<polygon") == len(LABELS)


def test_one_model_has_no_line_over_cost_and_one_number_of_labels_has_a_point(galaxies, entrants, tmp_path):
    alone = {"short": entrants["short"]}
    report = measure_curve(galaxies, galaxies, (8,), alone, cells=tmp_path, modes=("linear",), seeds=1)
    assert pretraining_svg(report) == ""
    assert "random weights, linear" in labels_svg(report)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs on a mock archive, by the command line."""
    folder = tmp_path_factory.mktemp("trained")
    for name, steps in (("a", 1), ("b", 2)):
        words = ["pretrain", "--survey", "mirabest", "--mock", "60", "--set", f"training.max_steps={steps}"]
        result = CliRunner().invoke(app, [*words, "--set", "training.batch_size=8", "--out", str(folder / name)])
        assert result.exit_code == 0, result.output
    return folder


def command(trained, out, *more):
    models = f"{trained / 'a'},{trained / 'b'}"
    words = ["curve", "--survey", "mirabest", "--mock", "60", "--labels", "6,10", "--models", models]
    return [*words, "--seeds", "2", "--out", str(out), *more]


def test_the_command_writes_table_and_figures(trained, tmp_path):
    result = CliRunner().invoke(app, command(trained, tmp_path / "curve", "--mode", "linear", "--json"))
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [row["cutouts_seen"] for row in document["rows"] if row["labels"] == 6] == [8, 0, 16, 0]
    assert {path.name for path in (tmp_path / "curve").iterdir()} == {
        "cells",
        "curve.json",
        "curve.csv",
        "error-by-labels.svg",
        "error-by-pretraining.svg",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [(["--labels", "6,ten"], "--labels takes numbers"), (["--models", ","], "--models takes runs or models")],
)
def test_a_slip_of_the_command_is_one_sentence(trained, tmp_path, change, said):
    result = CliRunner().invoke(app, [*command(trained, tmp_path / "curve"), *change])
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_a_killed_curve_goes_on_where_it_was(trained, tmp_path):
    """A real process, killed after its first cells."""
    arguments = command(trained, tmp_path / "curve", "--mode", "finetune", "--set", "epochs=3")
    started = subprocess.Popen(
        [sys.executable, "-m", "astrofm", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    cells = tmp_path / "curve" / "cells"
    deadline = time.monotonic() + 120
    while len(list(cells.glob("*.npy"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("*.npy")}
    assert len(kept) >= 2
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["rows"]) == 8
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
