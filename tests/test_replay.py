"""A step that failed: it is written down whole, and taken again gives the same bits and shows where it went wrong."""

import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from astrofm.data.loader import Loader
from astrofm.data.store import CutoutStore
from astrofm.errors import RunError, TrainingError
from astrofm.failure import describe_plan, load_batch, read_plan, save_batch
from astrofm.interruption import Interrupted
from astrofm.plan import plan_run
from astrofm.pretrain import pretrain
from astrofm.recipe import NamedPart, Recipe
from astrofm.replay import replay
from astrofm.run import Run
from astrofm.trace import Trace

FAILED_AT = 4


class SignalAt:
    def __init__(self, step):
        self.step = step

    def on_step(self, info):
        if info.step == self.step:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def stores(radio_store):
    return {"test-field": CutoutStore.open(radio_store)}


@pytest.fixture(scope="module")
def recipe_with(radio_recipe):
    def make(**training):
        given = json.loads(json.dumps(radio_recipe))
        given["encoder"] = "test_resnet"
        given["data"]["size_pix"] = 32
        given["training"] |= {"max_steps": 8, "checkpoint_every_steps": 3, **training}
        return Recipe.parse(given, "made for tests")

    return make


def failing(recipe, stores, out):
    """Train on an archive whose row 17 has a pixel that overflows, the second time it comes, and return the error."""
    made = Loader.batch_at

    def batch_at(self, position):
        batch = made(self, position)
        (share,) = batch.shares
        bad = np.flatnonzero(batch.row_ids[share.places] == 17)
        if self.shuffle and position.epoch == 1 and len(bad):
            images = share.images.copy()
            images[bad, 0, 7, 7] = 3e38  # times the 1000 of the card's stretch it is infinite
            batch = replace(batch, shares=(replace(share, images=images),))
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "batch_at", batch_at)
        with pytest.raises(TrainingError) as caught:
            pretrain(recipe, stores, out)
    return str(caught.value)


@pytest.fixture(scope="module")
def failed(recipe_with, stores, tmp_path_factory):
    """A run that failed, and what it said."""
    run = Run(tmp_path_factory.mktemp("failed") / "run")
    said = failing(recipe_with(), stores, run.path)
    return run, said


def failed_step(run):
    return json.loads((run.failure_folder / "failure.json").read_text())


def test_the_message_names_step_rows_and_the_command(failed):
    run, said = failed
    step = failed_step(run)
    assert f"the loss of step {step['step'] + 1} is nan: no update was made" in said
    assert f"the batch holds {', '.join(step['rows'][:4])}, ..." in said
    assert f"'astrofm replay {run.path}' takes the step again" in said
    assert 3 <= step["step"] < 6


def test_everything_is_written_and_nothing_of_it_is_a_pickle(failed, stores):
    run, _ = failed
    names = {file.name for file in run.failure_folder.iterdir()}
    assert names == {"failure.json", "batch-0.npz", "state.ckpt", "recipe.yaml", "versions.json", "plan.json"}
    assert not run.failure_folder.with_name("failure.partial").exists()
    batch = load_batch(run.failure_folder / "batch-0.npz")
    assert np.isfinite(batch.shares[0].images).all()
    assert (batch.shares[0].images == np.float32(3e38)).sum() == 1
    assert (run.failure_folder / "recipe.yaml").read_text() == run.recipe_file.read_text()
    torch.load(run.failure_folder / "state.ckpt", weights_only=True)


def test_the_state_is_that_before_the_step_to_the_last_bit(failed, recipe_with, stores, tmp_path):
    """Statistics of batch norm too, which the forward pass of the failed step had already moved."""
    run, _ = failed
    step = failed_step(run)["step"]
    with pytest.raises(Interrupted):
        pretrain(recipe_with(), stores, tmp_path / "run", listeners=[SignalAt(step)])
    kept = torch.load(run.failure_folder / "state.ckpt", weights_only=True)
    undisturbed = torch.load(Run(tmp_path / "run").checkpoint, weights_only=True)
    assert kept["global_step"] == undisturbed["global_step"] == step
    assert kept["state_dict"].keys() == undisturbed["state_dict"].keys()
    for name, value in kept["state_dict"].items():
        assert torch.equal(value, undisturbed["state_dict"][name]), name
    for number, moments in kept["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, undisturbed["optimizer_states"][0]["state"][number][name])
    assert Run(run.path).step() == 3  # the last checkpoint is older and whole


def test_replay_gives_the_same_bits_and_finds_the_step_of_the_stretch_and_the_row(failed, stores):
    result = replay(failed[0].path)
    assert result.is_reproduced
    assert result.may_differ_because == ()
    assert result.first_non_finite == "the result of stretch step Scale of 'test-field'"
    assert (np.isnan(result.loss), np.isnan(result.recorded_loss)) == (True, True)
    recipe_rows = plan_run(Recipe.load(str(failed[0].recipe_file)), stores).feeds[0].rows
    assert result.rows == (stores["test-field"].catalog.column("id_str")[recipe_rows[17]],)
    assert str(replay(failed[0].failure_folder)) == str(result)


def test_replay_knows_the_rows_where_the_pixels_themselves_are_bad(failed, tmp_path):
    folder = tmp_path / "failure"
    shutil.copytree(failed[0].failure_folder, folder)
    batch = load_batch(folder / "batch-0.npz")
    (share,) = batch.shares
    images = share.images.copy()
    images[2, 0, 3, 3] = np.inf
    images[1, 0, 0, 0] = np.nan  # not observed: nothing wrong with it
    save_batch(replace(batch, shares=(replace(share, images=images),)), folder / "batch-0.npz")
    result = replay(folder)
    assert result.first_non_finite == "the pixels of 'test-field', as stored"
    assert result.rows == (failed_step(failed[0])["rows"][int(share.places[2])],)


@pytest.mark.parametrize("training", [{"precision": "bf16-mixed"}, {"accumulate_batches": 2}])
def test_replay_is_exact_in_low_precision_and_with_small_batches(training, recipe_with, stores, tmp_path):
    failing(recipe_with(**training), stores, tmp_path / "run")
    result = replay(tmp_path / "run")
    assert result.is_reproduced
    assert "Scale" in result.first_non_finite


def test_finite_loss_of_another_step_is_no_reproduction(failed, tmp_path):
    folder = tmp_path / "failure"
    shutil.copytree(failed[0].failure_folder, folder)
    step = failed_step(failed[0])
    (folder / "failure.json").write_text(json.dumps({**step, "loss": (0.5).hex(), "device": "cuda"}))
    result = replay(folder)
    assert not result.is_reproduced
    assert result.may_differ_because == ("the step was taken on cuda, now on cpu",)
    assert result.recorded_loss == 0.5


def test_run_that_did_not_fail_has_nothing_to_replay(tmp_path):
    with pytest.raises(RunError, match=r"no step of the run in .* failed"):
        replay(tmp_path)


@pytest.mark.parametrize("objective", ["byol", "hybrid"])
def test_inputs_and_labels_of_a_plan_come_back_as_they_were(objective, tiny_recipe, mock_stores):
    settings = {"hybrid": {"weight": 1.0, "hidden_dim": 32, "out_dim": 16}}.get(objective, {})
    recipe = tiny_recipe().model_copy(update={"objective": NamedPart(name=objective, settings=settings)})
    plan = plan_run(recipe, mock_stores)
    assert read_plan(describe_plan(plan)) == (dict(plan.inputs), plan.labels)


class Overflow(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, values):
        return values * self.factor


def traced(network, values):
    trace = Trace()
    with trace.watching(network):
        loss = network(values).square().mean()
        trace.look("the loss", loss)
        loss.backward()
    return trace.first


def test_trace_names_the_rows_whose_labels_are_not_finite():
    trace = Trace()
    trace.look("the labels 'z_spec'", torch.tensor([0.1, torch.inf, 0.3]), torch.tensor([7, 8, 9]))
    assert (trace.first, trace.row_ids) == ("the labels 'z_spec'", [8])


def test_trace_names_the_first_module_the_loss_or_the_gradient():
    values = torch.ones(2, 3)
    plain = [nn.Linear(3, 3), nn.ReLU(inplace=True)]
    assert traced(nn.Sequential(*plain, Overflow(1.0)), values) == ""
    assert traced(nn.Sequential(*plain, Overflow(torch.inf)), values + 1) == "the output of module '2' (Overflow)"
    assert traced(nn.Sequential(Overflow(1e30)), values.requires_grad_()) == "the loss"
    broken = nn.Linear(3, 3)
    nn.init.constant_(broken.weight, torch.nan)
    assert traced(nn.Sequential(broken), values) == "the weights '0.weight'"


class SteepRoot(nn.Module):
    def forward(self, values):
        return (0.0 * values).abs().sqrt()


def test_trace_finds_a_gradient_that_is_not_finite_behind_a_loss_that_is():
    assert traced(nn.Sequential(nn.Linear(3, 3), SteepRoot()), torch.ones(2, 3)) == (
        "the gradient that reaches module '0' (Linear)"
    )
