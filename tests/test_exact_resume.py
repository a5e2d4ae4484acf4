"""Twenty steps and twenty more are forty, to the last bit: whatever the objective, the precision and the stop."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from astrofm.encoders.build import build_untrained
from astrofm.interruption import Interrupted
from astrofm.pretrain import pretrain
from astrofm.recipe import NamedPart
from astrofm.run import Run

SMALL = {"hidden_dim": 32, "out_dim": 16}
OBJECTIVES = {
    "byol": SMALL,
    "hybrid": {**SMALL, "weight": 1.0},  # its head draws what it drops
    "moco": {**SMALL, "num_keys": 24},  # its queue is full, and goes round, before the stop
}
NUM_STEPS, STOPPED_AT = 40, 20


class SignalAt:
    """Sends this process a signal after a step."""

    def __init__(self, step, signum=signal.SIGTERM):
        self.step, self.signum = step, signum

    def on_step(self, info):
        if info.step == self.step:
            os.kill(os.getpid(), self.signum)


class PowerCutAt:
    """Ends the training without a chance to save."""

    def __init__(self, step):
        self.step = step

    def on_step(self, info):
        if info.step == self.step:
            raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def recipe_of(tiny_recipe):
    def make(objective, **training):
        part = NamedPart(name=objective, settings=OBJECTIVES[objective])
        return tiny_recipe(**{"max_steps": NUM_STEPS, **training}).model_copy(update={"objective": part})

    return make


@pytest.fixture(scope="module")
def stores(mock_stores):
    return {"gz-evo": mock_stores["gz-evo"]}


def leaves(state, where=""):
    """Yield everything in a nested state, tensors as bytes, with its place."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from leaves(value, f"{where}.{key}")
    elif isinstance(state, (list, tuple)):
        for number, value in enumerate(state):
            yield from leaves(value, f"{where}[{number}]")
    elif isinstance(state, torch.Tensor):
        yield where, (state.dtype, tuple(state.shape), state.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    else:
        yield where, state


def assert_same_end(run, other):
    """Weights, target network, queue, optimiser, schedule, place in the data and the callbacks' counts."""
    ends = [dict(leaves(torch.load(each.checkpoint, weights_only=True))) for each in (run, other)]
    assert ends[0].keys() == ends[1].keys()
    differing = [
        place
        for place, value in ends[0].items()
        if value != ends[1][place] and "epoch_progress" not in place  # where Lightning counts the beginnings too
    ]
    assert differing == []
    names = ends[0].keys()
    assert any("optimizer_states" in name and "exp_avg" in name for name in names)
    assert any("combined_loader" in name for name in names)


@pytest.mark.parametrize(
    ("objective", "training"),
    [
        ("byol", {}),
        ("hybrid", {"precision": "bf16-mixed"}),
        ("moco", {"accumulate_batches": 2, "gradient_clip_norm": 0.5}),
        ("byol", {"coarse": {"size_pix": 16, "fraction": 0.6}}),  # the stop is before the change of size
    ],
)
def test_twenty_and_twenty_steps_are_forty(objective, training, recipe_of, stores, tmp_path):
    recipe = recipe_of(objective, **training)
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    pretrain(recipe, stores, whole.path)
    with pytest.raises(Interrupted):
        pretrain(recipe, stores, run.path, listeners=[SignalAt(STOPPED_AT)])
    assert run.step() == STOPPED_AT
    pretrain(recipe, stores, run.path, resume=True)
    assert_same_end(run, whole)


def test_what_an_encoder_draws_at_random_is_drawn_again(recipe_of, stores, tmp_path, monkeypatch):
    """As the stochastic depth does that some architectures have of their own accord."""

    def with_dropout(config, num_channels):
        encoder = build_untrained(config, num_channels)
        encoder.global_pool = nn.Sequential(encoder.global_pool, nn.Dropout(0.3))
        return encoder

    monkeypatch.setattr("astrofm.encoders.build.build_untrained", with_dropout)
    recipe, before = recipe_of("byol", max_steps=6), torch.random.get_rng_state()
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    pretrain(recipe, stores, whole.path)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    with pytest.raises(Interrupted):
        pretrain(recipe, stores, run.path, listeners=[SignalAt(4)])
    torch.rand(3)
    pretrain(recipe, stores, run.path, resume=True)
    assert_same_end(run, whole)


@pytest.mark.parametrize("objective", ["hybrid", "moco"])
def test_run_that_lost_the_steps_since_its_last_checkpoint_ends_the_same(objective, recipe_of, stores, tmp_path):
    """And one that was stopped twice by Ctrl-C."""
    recipe = recipe_of(objective, max_steps=14, checkpoint_every_steps=4)
    whole, cut, twice = (Run(tmp_path / name) for name in ("whole", "cut", "twice"))
    pretrain(recipe, stores, whole.path)
    with pytest.raises(RuntimeError, match="power cut"):
        pretrain(recipe, stores, cut.path, listeners=[PowerCutAt(7)])
    assert cut.step() == 4
    pretrain(recipe, stores, cut.path, resume=True)
    for step in (3, 9):
        with pytest.raises(Interrupted):
            pretrain(recipe, stores, twice.path, resume=True, listeners=[SignalAt(step, signal.SIGINT)])
    pretrain(recipe, stores, twice.path, resume=True)
    assert_same_end(cut, whole)
    assert_same_end(twice, whole)


def lives_until(process, moment, deadline):
    """Wait for a moment; returns whether the process is still there."""
    while process.poll() is None and time.monotonic() < min(moment, deadline):
        time.sleep(0.02)
    return process.poll() is None


@pytest.mark.slow
def test_run_killed_ten_times_at_random_moments_ends_with_the_weights_of_an_undisturbed_one(
    recipe_of, stores, tmp_path
):
    recipe = recipe_of("hybrid", max_steps=150, checkpoint_every_steps=2)
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    pretrain(recipe, stores, whole.path)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    options = ("--config", file, "--store", stores["gz-evo"].path, "--out", run.path, "--device", "cpu", "--resume")
    command = [sys.executable, "-m", "astrofm", "pretrain", *map(str, options)]
    rng = np.random.default_rng(0)
    kills, deadline = 0, time.monotonic() + 1200
    while not run.is_finished:
        assert time.monotonic() < deadline
        began = run.step()
        with (tmp_path / "stderr").open("w") as messages, subprocess.Popen(command, stderr=messages) as process:
            try:
                while kills < 10 and process.poll() is None and run.step() == began and time.monotonic() < deadline:
                    time.sleep(0.05)
                alive = lives_until(
                    process, time.monotonic() + rng.uniform(0, 0.6) if kills < 10 else deadline, deadline
                )
            finally:
                process.kill()
        kills += alive
        assert alive or process.returncode == 0, (tmp_path / "stderr").read_text()
    assert kills == 10
    assert_same_end(run, whole)
