"""Pretraining: a stopped run continues as if nothing had happened, and no other run takes its folder."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from astrofm import processor
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.errors import ContractError, RecipeError, RunError, UsageError
from astrofm.interruption import Interrupted
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.parts import resolved
from astrofm.plugins import survey
from astrofm.pretrain import needed_surveys, pretrain
from astrofm.recipe import NamedPart, Recipe
from astrofm.run import Run, find_model

PACE = {"images_per_second", "wait_share"}
PROBE = {"survey": "gz-evo", "num_neighbours": 3}


class Recorder:
    """Keeps what every step reported."""

    def __init__(self):
        self.infos = []

    def on_step(self, info):
        self.infos.append(info)

    def column(self, name):
        return [info.metrics[name] for info in self.infos]


class StopAt:
    """Sends this process a signal after a step."""

    def __init__(self, step, signum=signal.SIGTERM):
        self.step, self.signum = step, signum

    def on_step(self, info):
        if info.step == self.step:
            os.kill(os.getpid(), self.signum)


def logged(run):
    return [{key: value for key, value in line.items() if key not in PACE} for line in run.metrics()]


def state(run):
    return torch.load(run.checkpoint, map_location="cpu", weights_only=True)


def assert_same(a, b, where=""):
    """Compare nested states bit for bit."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for number, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    else:
        assert a == b, where


def assert_same_run(run, other):
    saved, expected = state(run), state(other)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same(saved[part], expected[part], part)
    assert logged(run) == logged(other)
    for name, weights in find_model(run.path).encoder.state_dict().items():
        assert torch.equal(weights, find_model(other.path).encoder.state_dict()[name]), name


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    return tiny_recipe(probes=(PROBE,))


@pytest.fixture(scope="module")
def steps_per_epoch(mock_stores):
    return int((mock_stores["gz-evo"].catalog.column("split") == "train").sum()) // 8


@pytest.fixture(scope="module")
def undisturbed(recipe, mock_stores, tmp_path_factory):
    """A run of 12 steps that nothing stopped, what its steps reported, and its result."""
    recorder = Recorder()
    run = Run(tmp_path_factory.mktemp("undisturbed") / "run")
    result = pretrain(recipe, mock_stores, run.path, listeners=[recorder])
    return run, recorder, result


def stopped_at(step, recipe, stores, out, **others):
    with pytest.raises(Interrupted):
        pretrain(recipe, stores, out, listeners=[StopAt(step)], **others)
    return Run(out)


@pytest.mark.parametrize("where", ["first step", "mid-epoch", "end of an epoch", "second epoch"])
def test_stopped_and_continued_run_is_the_undisturbed_one_bit_for_bit(
    where, recipe, mock_stores, undisturbed, steps_per_epoch, tmp_path
):
    step = {"first step": 1, "mid-epoch": 3, "end of an epoch": steps_per_epoch, "second epoch": steps_per_epoch + 2}
    run = stopped_at(step[where], recipe, mock_stores, tmp_path / "run")
    assert run.step() == step[where]
    result = pretrain(recipe, mock_stores, run.path, resume=True)
    assert_same_run(run, undisturbed[0])
    assert (result.step, result.epoch, result.metrics) == (12, undisturbed[2].epoch, undisturbed[2].metrics)


def test_learning_rate_after_two_resumes_is_unchanged(recipe, mock_stores, undisturbed, tmp_path):
    rates = Recorder()
    with pytest.raises(Interrupted):
        pretrain(recipe, mock_stores, tmp_path / "run", listeners=[rates, StopAt(4)])
    with pytest.raises(Interrupted):
        pretrain(recipe, mock_stores, tmp_path / "run", resume=True, listeners=[rates, StopAt(8)])
    pretrain(recipe, mock_stores, tmp_path / "run", resume=True, listeners=[rates])
    assert [info.step for info in rates.infos] == list(range(1, 13))
    assert rates.column("learning_rate") == undisturbed[1].column("learning_rate")
    assert rates.column("loss") == undisturbed[1].column("loss")
    assert rates.column("tau") == undisturbed[1].column("tau")


def test_run_killed_after_its_last_step_still_reports_everything(recipe, mock_stores, undisturbed, tmp_path):
    run = Run(tmp_path / "run")
    pretrain(recipe, mock_stores, run.path)
    run.report_file.unlink()
    result = pretrain(recipe, mock_stores, run.path, resume=True)
    assert (result.step, result.metrics, result.epoch) == (12, undisturbed[2].metrics, undisturbed[2].epoch)
    assert_same_run(run, undisturbed[0])


def test_metrics_file_has_each_logged_step_once_and_only_finite_numbers(undisturbed, steps_per_epoch):
    lines = logged(undisturbed[0])
    steps = [line["step"] for line in lines]
    assert steps == sorted({1, 10, 12, *range(steps_per_epoch, 13, steps_per_epoch)})
    assert all(np.isfinite(value) for line in lines for value in line.values())


def test_metrics_carry_no_name_of_a_split_they_were_not_measured_on(undisturbed):
    names = {name for line in logged(undisturbed[0]) for name in line}
    assert names == {
        *("step", "epoch", "loss", "learning_rate", "gradient_norm", "tau"),
        *("embedding_spread", "projection_spread", "effective_rank"),
        "knn_error_gz-evo",
    }


def test_probe_reports_at_the_end_of_each_epoch_alone(undisturbed, steps_per_epoch):
    probed = [info.step for info in undisturbed[1].infos if "knn_error_gz-evo" in info.metrics]
    assert probed == list(range(steps_per_epoch, 13, steps_per_epoch))


def test_probe_does_not_change_training(tiny_recipe, mock_stores, undisturbed, tmp_path):
    without = Recorder()
    pretrain(tiny_recipe(), mock_stores, tmp_path / "run", listeners=[without])
    assert without.column("loss") == undisturbed[1].column("loss")
    assert_same(state(Run(tmp_path / "run"))["state_dict"], state(undisturbed[0])["state_dict"])


def test_epochs_make_epochs_times_steps(tiny_recipe, mock_stores, steps_per_epoch, tmp_path):
    recorder = Recorder()
    recipe = tiny_recipe(max_steps=None, max_epochs=3)
    result = pretrain(recipe, mock_stores, tmp_path / "run", listeners=[recorder])
    assert (result.step, result.epoch) == (3 * steps_per_epoch, 3)
    assert [info.epoch for info in recorder.infos] == [epoch for epoch in range(3) for _ in range(steps_per_epoch)]


def test_model_of_the_run_says_what_it_is(undisturbed, mock_stores):
    run, _, result = undisturbed
    card = find_model(run.path).card
    assert (card.step, card.num_steps, card.is_finished, card.is_mock) == (12, 12, True, True)
    assert card.stores == {"gz-evo": mock_stores["gz-evo"].content_hash}
    assert card.contract.channels[0].accepts == ("GZ.Evo-red",)
    assert card.metrics == result.metrics
    assert json.loads(run.report_file.read_text())["is_mock"]


def test_existing_run_without_resume_is_refused(recipe, mock_stores, undisturbed):
    with pytest.raises(RunError, match="already holds a finished run: choose another --out"):
        pretrain(recipe, mock_stores, undisturbed[0].path)


def test_finished_run_resumed_returns_its_report_without_training(recipe, mock_stores, undisturbed):
    recorder = Recorder()
    before = undisturbed[0].checkpoint.stat().st_mtime_ns
    assert pretrain(recipe, mock_stores, undisturbed[0].path, resume=True, listeners=[recorder]) == undisturbed[2]
    assert recorder.infos == []
    assert undisturbed[0].checkpoint.stat().st_mtime_ns == before


def test_changed_recipe_is_refused_with_the_keys(tiny_recipe, mock_stores, tmp_path):
    stopped_at(2, tiny_recipe(), mock_stores, tmp_path / "run")
    changed = tiny_recipe(max_steps=20, optimizer={"name": "adamw", "learning_rate": 2e-3, "warmup_fraction": 0.2})
    with pytest.raises(RunError, match=r"changed: training\.max_steps, training\.optimizer\.learning_rate\)"):
        pretrain(changed, mock_stores, tmp_path / "run", resume=True)
    with pytest.raises(RunError, match="a run that can be continued with --resume"):
        pretrain(tiny_recipe(), mock_stores, tmp_path / "run")


def test_changed_store_is_refused(tiny_recipe, mock_stores, tmp_path):
    stopped_at(2, tiny_recipe(), mock_stores, tmp_path / "run")
    galaxies = survey("gz-evo")
    ingest(galaxies, galaxies.mock(30, 1, tmp_path / "archive"), tmp_path / "other.zarr")
    other = {"gz-evo": CutoutStore.open(tmp_path / "other.zarr")}
    with pytest.raises(RunError, match="another store of gz-evo"):
        pretrain(tiny_recipe(), other, tmp_path / "run", resume=True)


def test_resuming_an_absent_run_starts_it(tiny_recipe, mock_stores, tmp_path):
    assert pretrain(tiny_recipe(max_steps=2), mock_stores, tmp_path / "run", resume=True).step == 2


def test_first_part_of_a_run_sees_fewer_pixels(tiny_recipe, mock_stores, tmp_path, monkeypatch):
    """And the probe sees all of them, as who uses the model does."""
    sizes, forward = [], BYOL.forward

    def seen(self, views, step):
        sizes.append(views.images[0].shape[-1])
        return forward(self, views, step)

    monkeypatch.setattr(BYOL, "forward", seen)
    recipe = tiny_recipe(max_steps=5, coarse={"size_pix": 16, "fraction": 0.5})
    pretrain(recipe, {"gz-evo": mock_stores["gz-evo"]}, tmp_path / "run")
    assert sizes == [16, 16, 32, 32, 32]
    assert Run(tmp_path / "run").model().card.contract.size_pix == 32


def test_encoder_that_takes_one_size_alone_is_told_before_the_folder_is_made(tiny_recipe, mock_stores, tmp_path):
    recipe = tiny_recipe(coarse={"size_pix": 16, "fraction": 0.5})
    recipe = recipe.model_copy(update={"encoder": NamedPart(name="vit_tiny_patch16_224", settings={"size_pix": 32})})
    with pytest.raises(RecipeError, match=r"encoder takes no input of 16 px \(.*32.*\), which training\.coarse asks"):
        pretrain(recipe, {"gz-evo": mock_stores["gz-evo"]}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_encoder_that_does_not_take_the_input_is_told_before_the_folder_is_made(tiny_recipe, mock_stores, tmp_path):
    stores, out = {"gz-evo": mock_stores["gz-evo"]}, tmp_path / "run"
    recipe = tiny_recipe(max_steps=1).model_copy(update={"encoder": NamedPart(name="vit_tiny_patch16_224")})
    with pytest.raises(RecipeError, match=r"takes no input of 32 px \(.*224.* --set encoder\.settings\.size_pix=32"):
        pretrain(recipe, stores, out)
    assert not out.exists()


def test_settings_that_a_recipe_leaves_out_are_in_the_file_of_the_run(undisturbed, recipe):
    written = Recipe.load(str(undisturbed[0].recipe_file))
    assert written.encoder.settings == {"stem": "timm", "size_pix": None}
    assert written.objective.settings["tau_schedule"] == BYOLConfig.model_fields["tau_schedule"].default
    jitter = next(part for part in written.views if part.name == "jitter")
    assert {"brightness": [0.6, 1.4], "saturation": None}.keys() <= jitter.settings.keys()
    assert written == resolved(recipe) == resolved(written)


def test_layers_learn_at_rates_of_their_own_where_that_is_asked_for(tiny_recipe, mock_stores, tmp_path):
    stores = {"gz-evo": mock_stores["gz-evo"]}
    for decay in (0.5, 1.0):
        optimizer = {"name": "adamw", "learning_rate": 1e-3, "layer_decay": decay, "schedule": "constant"}
        pretrain(tiny_recipe(max_steps=1, optimizer=optimizer), stores, tmp_path / f"{decay}")
    rates = {
        decay: {group["lr"] for group in state(Run(tmp_path / f"{decay}"))["optimizer_states"][0]["param_groups"]}
        for decay in (0.5, 1.0)
    }
    assert rates[1.0] == {1e-3}
    assert max(rates[0.5]) == 1e-3  # of the projector
    assert len(rates[0.5]) > 3
    assert max(rates[0.5] - {1e-3}) == pytest.approx(5e-4)


def test_probes_of_one_survey_have_names_of_their_own(tiny_recipe, mock_stores, tmp_path):
    tasks = [task.name for task in survey("mirabest").card.tasks][:2]
    probes = tuple({"survey": "mirabest", "task": task, "num_neighbours": 3} for task in tasks)
    stores = {"mirabest": mock_stores["mirabest"]}
    result = pretrain(tiny_recipe("mirabest", probes, max_steps=None, max_epochs=1), stores, tmp_path / "run")
    assert {f"knn_error_mirabest_{task}" for task in tasks} <= result.metrics.keys()
    twice = ({"survey": "mirabest", "num_neighbours": 3}, {"survey": "mirabest", "task": tasks[0]})
    with pytest.raises(RecipeError, match=f"two probes of the recipe measure the same .*mirabest_{tasks[0]}"):
        pretrain(tiny_recipe("mirabest", twice), stores, tmp_path / "other")


def test_model_of_a_run_says_whose_labels_it_has_seen(undisturbed, tiny_recipe, mock_stores, tmp_path):
    assert undisturbed[0].model().card.labelled_splits == {}
    given = tiny_recipe("mirabest", max_steps=1).model_dump()
    given["data"]["surveys"] = [{"name": "mirabest", "splits": ["train", "test"]}, "mightee"]
    given["data"]["channels"] = [{"name": "radio"}]
    given["objective"] = {"name": "supervised", "settings": {"head": {"kind": "classes", "task": "fr-all"}}}
    stores = {name: mock_stores[name] for name in ("mirabest", "mightee")}
    pretrain(Recipe.parse(given, "made for tests"), stores, tmp_path / "run")
    card = Run(tmp_path / "run").model().card
    assert card.label_kind == "classes"
    assert card.labelled_splits == {"mirabest": ("train", "test")}


def test_full_disk_under_the_metrics_is_one_sentence_and_the_run_goes_on_later(
    recipe, mock_stores, undisturbed, tmp_path, monkeypatch
):
    real, run = Path.open, Run(tmp_path / "run")

    def full(path, mode="r", *arguments, **options):
        if mode == "a" and path == run.metrics_file and len(logged(run)) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(RunError, match=r"metrics of step \d+ cannot be written to .*metrics\.jsonl \(No space left"):
        pretrain(recipe, mock_stores, run.path)
    monkeypatch.undo()
    pretrain(recipe, mock_stores, run.path, resume=True)
    assert_same_run(run, undisturbed[0])


def test_batch_larger_than_the_data_is_refused_before_the_folder_is_made(tiny_recipe, mock_stores, tmp_path):
    with pytest.raises(UsageError, match=r"a batch of 512 is larger than the data, \d+ rows"):
        pretrain(tiny_recipe(batch_size=512), mock_stores, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_probe_that_cannot_be_made_is_told_before_the_folder_is_made(tiny_recipe, mock_stores, tmp_path):
    probe = {"survey": "mirabest"}  # of another number of bands
    with pytest.raises(ContractError, match=r"'mirabest' has 1 bands .* the network takes 3"):
        pretrain(tiny_recipe(probes=(probe,)), mock_stores, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stores_of_excluded_and_probed_surveys_are_needed(tiny_recipe):
    given = tiny_recipe(survey="mightee", probes=(PROBE,)).model_dump()
    given["data"]["exclude"] = [{"survey": "mirabest", "split": "test", "radius_arcsec": 60}]
    assert needed_surveys(Recipe.parse(given, "here")) == ["mightee", "mirabest", "gz-evo"]


ONE_IMPORT = """
import json, os, sys
import astrofm.pretrain, astrofm.stores
from astrofm.cli.main import run
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sys.argv, messages = json.loads(line)
        os.dup2(os.open(messages, os.O_WRONLY | os.O_CREAT), 2)
        run()
        sys.exit()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Starts commands as processes of their own, without importing torch anew for each."""


@pytest.fixture
def start_and_stop(tmp_path):
    """Return a function that starts a command and signals it once it has logged a step; it gives code and messages."""
    messages = tmp_path / "stderr"
    arguments = [sys.executable, "-c", ONE_IMPORT]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as starter:

        def act(command, run, signum, *, after_step):
            starter.stdin.write(json.dumps([command, str(messages)]) + "\n")
            process = int(starter.stdout.readline())
            deadline = time.monotonic() + 120
            while max((line["step"] for line in run.metrics()), default=0) <= after_step:
                assert time.monotonic() < deadline, messages.read_text()
                time.sleep(0.01)
            os.kill(process, signum)
            return int(starter.stdout.readline()), messages.read_text()

        yield act
        starter.stdin.close()


def test_real_process_terminated_interrupted_and_killed_ends_like_the_undisturbed_one(
    tiny_recipe, mock_stores, start_and_stop, tmp_path
):
    # With a line for each epoch of 4 or 5 steps; the last stop leaves more than half of the steps.
    recipe = tiny_recipe(probes=(PROBE,), max_steps=80, checkpoint_every_steps=4)
    stores = {"gz-evo": mock_stores["gz-evo"]}
    quiet, run = Run(tmp_path / "quiet"), Run(tmp_path / "run")
    pretrain(recipe, stores, quiet.path)

    file = tmp_path / "tiny.yaml"
    file.write_text(recipe.to_yaml())
    options = ("--config", file, "--store", stores["gz-evo"].path, "--out", run.path, "--device", "cpu")
    first = ["astrofm", "pretrain", *map(str, options)]
    again = [*first, "--resume"]
    code, said = start_and_stop(first, run, signal.SIGTERM, after_step=0)
    assert code == 143
    assert "stopped by SIGTERM at step" in said
    assert "--resume" in said
    code, said = start_and_stop(again, run, signal.SIGINT, after_step=run.step())
    assert code == 130
    assert "stopped by SIGINT at step" in said
    last = run.step()
    code, _ = start_and_stop(again, run, signal.SIGKILL, after_step=last + 4)
    assert code == -signal.SIGKILL
    assert last < run.step() < 80
    assert not run.is_finished
    pretrain(recipe, stores, run.path, resume=True)
    assert_same_run(run, quiet)


def test_command_line_prints_one_document(tmp_path):
    arguments = ["pretrain", "--survey", "gz-evo", "--mock", "64", "--set", "training.max_steps=3", "--json"]
    environment = {**os.environ, "ASTROFM_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "astrofm", *arguments, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"run", "step", "epoch", "metrics"} <= report.keys()
    assert (report["run"], report["step"]) == (str(tmp_path / "run"), 3)
    assert "mock" in done.stderr
    assert Path(report["run"], "model", "model.safetensors").exists()


@pytest.mark.parametrize(("has_it", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_precision_is_chosen_by_what_the_processor_can(
    tiny_recipe, mock_stores, tmp_path, monkeypatch, has_it, expected
):
    monkeypatch.setattr(processor, "has_bfloat16", lambda: has_it)
    recipe = tiny_recipe(max_steps=2, precision="auto")
    pretrain(recipe, mock_stores, tmp_path / "run")
    recorded = Recipe.load(str(Run(tmp_path / "run").recipe_file))
    assert recorded.training.precision == expected
    pretrain(recipe, mock_stores, tmp_path / "run", resume=True)  # the same recipe, on the same machine
    monkeypatch.setattr(processor, "has_bfloat16", lambda: not has_it)
    with pytest.raises(RunError, match=r"another recipe \(changed: training\.precision\)"):
        pretrain(recipe, mock_stores, tmp_path / "run", resume=True)
    assert processor.precision_on("cpu", expected) == expected
    assert processor.precision_on("mps", "auto") == "32-true"
