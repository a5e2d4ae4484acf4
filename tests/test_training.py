"""The training loop: it stops before a bad update, gives the signals back, and ends each step before it saves it."""

import errno
import signal
import threading
import time

import lightning
import numpy as np
import pytest
import torch
from torch import nn

from astrofm import training
from astrofm.callbacks import Checkpoints, Readings
from astrofm.data.loader import Feed, Loader
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.errors import RunError, StoreError, TrainingError, UsageError
from astrofm.interruption import WATCHED_SIGNALS, Interrupted
from astrofm.model import ModelCard
from astrofm.objectives.base import Objective, StepResult
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.optimizer import OptimizerConfig, learning_rate_factor
from astrofm.plan import input_plan, make_contract, make_pipeline, rows_of_splits
from astrofm.processes import Processes
from astrofm.training import fit, steps_of

OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup_fraction=0.25)
NUM_STEPS = 12


class Mean(Objective):
    """One weight times the mean of the images, and a shadow that follows it by half after each step."""

    num_views = 1

    def __init__(self, fails_at=None):
        super().__init__()
        self.encoder = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.encoder.weight)
        self.register_buffer("shadow", torch.zeros(1, 1))
        self.fails_at = fails_at
        self.seen = []

    def forward(self, views, step):
        self.seen.append(views.row_ids.tolist())
        loss = self.encoder.weight.mean() * views.images[0].mean()
        return StepResult(loss * torch.nan if step == self.fails_at else loss)

    def after_step(self, step, num_steps):
        self.shadow.lerp_(self.encoder.weight.detach(), 0.5)
        return {"step_seen": float(step), "length": float(num_steps)}


class Recorder:
    def __init__(self):
        self.infos = []

    def on_step(self, info):
        self.infos.append(info)


@pytest.fixture
def loader(mock_stores):
    store = mock_stores["gz-evo"]
    return Loader((Feed("gz-evo", store, rows_of_splits(store, ("train",))[:32]),), 8, 0)


@pytest.fixture
def run(mock_stores, tiny_recipe, loader):
    """Return a function that fits an objective on the same data."""
    store = mock_stores["gz-evo"]
    contract = make_contract(tiny_recipe(), [store])

    def run(objective, **options):
        pipeline = make_pipeline(contract, {"gz-evo": input_plan(store)}, (), objective.num_views, 0)
        fresh = Loader(loader.feeds, loader.batch_size, loader.seed)  # a loader goes on where it was left
        return fit(objective, pipeline, fresh, OPTIMIZER, num_steps=NUM_STEPS, **options)

    return run


@pytest.fixture
def checkpoints(mock_stores, tiny_recipe, tmp_path):
    card = ModelCard(
        name="tiny",
        contract=make_contract(tiny_recipe(), [mock_stores["gz-evo"]]),
        encoder={"name": "test_resnet"},
        objective="mean",
        step=0,
        num_steps=NUM_STEPS,
        surveys=("gz-evo",),
        stores={},
        is_mock=True,
        seed=0,
        astrofm_version="0",
    )
    return Checkpoints(tmp_path / "last.ckpt", 5, lambda step: card.model_copy(update={"step": step}))


def saved(checkpoints):
    return torch.load(checkpoints.path, weights_only=True)


def test_loss_that_is_not_finite_stops_before_the_update(run, checkpoints):
    objective = Mean(fails_at=7)
    weights = []

    class Watch:
        def on_step(self, info):
            weights.append(objective.encoder.weight.item())

    with pytest.raises(TrainingError, match="the loss of step 8 is nan: no update was made"):
        run(objective, listeners=[Watch()], checkpoints=checkpoints)
    assert len(weights) == 7
    assert objective.encoder.weight.item() == weights[-1]
    assert saved(checkpoints)["global_step"] == 5


def test_each_epoch_holds_every_row_once_in_another_order(run, loader):
    objective = Mean()
    result = run(objective)
    epochs = np.array(objective.seen).reshape(3, -1)
    assert all(sorted(epoch) == list(range(32)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
    assert (result.step, result.epoch) == (12, 3)


def test_learning_rate_that_is_reported_is_the_one_of_the_step(run):
    recorder = Recorder()
    run(Mean(), listeners=[recorder])
    rates = [info.metrics["learning_rate"] for info in recorder.infos]
    assert rates == pytest.approx([1e-2 * learning_rate_factor(step, NUM_STEPS, OPTIMIZER) for step in range(12)])


def test_wait_for_batches_is_measured_and_no_thread_is_left(run, loader, monkeypatch):
    slow = Loader.batch_at

    def waits(self, position):
        time.sleep(0.05)
        return slow(self, position)

    monkeypatch.setattr(Loader, "batch_at", waits)
    recorder = Recorder()
    result = run(Mean(), listeners=[recorder])
    assert result.wait_share > 0.5
    assert recorder.infos[-1].wait_share > 0.5
    assert result.wait_share * result.seconds >= 12 * 0.05 * 0.5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("astrofm")]


def test_time_to_save_and_to_probe_is_no_waiting_for_batches(run, checkpoints, monkeypatch):
    save = lightning.Trainer.save_checkpoint

    def slow(trainer, *arguments, **options):
        time.sleep(0.3)
        return save(trainer, *arguments, **options)

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", slow)
    result = run(Mean(), checkpoints=checkpoints, probe=lambda epoch: {"slept": time.sleep(0.3) or 0.0})
    assert result.seconds > 1.5
    assert result.wait_share < 0.3


def test_batches_made_while_the_network_computes_are_not_waited_for(run, monkeypatch):
    slow = Loader.batch_at

    def takes_a_while(self, position):
        time.sleep(0.02)
        return slow(self, position)

    class Slow(Mean):
        def forward(self, views, step):
            time.sleep(0.1)
            return super().forward(views, step)

    monkeypatch.setattr(Loader, "batch_at", takes_a_while)
    recorder = Recorder()
    run(Slow(), listeners=[recorder])
    assert recorder.infos[-1].wait_share < 0.15  # made in turn it would be 1/6


def test_failing_store_stops_the_run_with_its_error(run, monkeypatch):
    real = Loader.batch_at

    def fails(self, position):
        if position == (1, 1):
            raise StoreError("image/c/0 cannot be read")
        return real(self, position)

    monkeypatch.setattr(Loader, "batch_at", fails)
    objective = Mean()
    with pytest.raises(StoreError, match="image/c/0 cannot be read") as raised:
        run(objective)
    assert len(objective.seen) == 5
    assert "fails" in [entry.name for entry in raised.traceback]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("astrofm")]


def test_listeners_hear_what_the_objective_did_after_the_step(run):
    recorder = Recorder()
    run(Mean(), listeners=[recorder])
    assert [info.metrics["step_seen"] for info in recorder.infos] == list(range(1, 13))
    assert {info.metrics["length"] for info in recorder.infos} == {12.0}
    assert [(info.step, info.epoch) for info in recorder.infos] == [(step + 1, step // 4) for step in range(12)]
    assert all(info.images_per_second > 0 and 0 <= info.wait_share <= 1 for info in recorder.infos)


def test_checkpoint_holds_what_moved_after_the_step(run, checkpoints):
    """A target network saved before its move would be one step behind after a resume."""
    objective = Mean()
    kept = []

    class Watch:
        def on_step(self, info):
            kept.append(objective.encoder.weight.item())
            if info.step == 6:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(objective, listeners=[Watch()], checkpoints=checkpoints)
    state = saved(checkpoints)
    assert state["global_step"] == 5
    weights = state["state_dict"]
    assert weights["objective.encoder.weight"].item() == kept[4]
    followed = sum(weight * 0.5 ** (5 - number) for number, weight in enumerate(kept[:5]))
    assert weights["objective.shadow"].item() == pytest.approx(followed, rel=1e-6)


def test_target_network_is_restored(mock_stores, run, checkpoints):
    def byol(seed):
        torch.manual_seed(seed)
        return BYOL(BYOLConfig(hidden_dim=16, out_dim=8), build_encoder(EncoderConfig(name="test_resnet"), 3), 96)

    class Stop:
        def on_step(self, info):
            if info.step == 3:
                signal.raise_signal(signal.SIGTERM)

    first = byol(0)
    with pytest.raises(Interrupted):
        run(first, listeners=[Stop()], checkpoints=checkpoints)
    target = {f"objective.target.{name}": value for name, value in first.target.state_dict().items()}
    weights = saved(checkpoints)["state_dict"]
    assert all(torch.equal(value, weights[name]) for name, value in target.items())


def test_full_disk_leaves_the_checkpoint_before_it_and_ends_in_a_sentence(run, checkpoints, monkeypatch):
    """Its message says what is there, and the run goes on from it once there is room."""
    made = lightning.Trainer.save_checkpoint

    def fills_the_disk(trainer, path, *arguments, **options):
        made(trainer, path, *arguments, **options)
        if trainer.global_step == 10:
            path.write_bytes(path.read_bytes()[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    whole, stopped = Mean(), Mean()
    run(whole)
    with monkeypatch.context() as patch:
        patch.setattr(lightning.Trainer, "save_checkpoint", fills_the_disk)
        said = r"state at step 10 cannot be saved in .*last\.ckpt \(No space left on device\), the one before it is"
        with pytest.raises(RunError, match=said):
            run(stopped, checkpoints=checkpoints)
    assert saved(checkpoints)["global_step"] == 5
    assert [file.name for file in checkpoints.path.parent.iterdir()] == ["last.ckpt"]
    run(stopped, checkpoints=checkpoints)
    assert torch.equal(stopped.encoder.weight, whole.encoder.weight)


@pytest.mark.parametrize("signum", WATCHED_SIGNALS)
def test_signal_stops_at_the_end_of_its_step_with_the_state_saved(run, checkpoints, signum):
    class Stop:
        def on_step(self, info):
            if info.step == 3:
                signal.raise_signal(signum)

    with pytest.raises(Interrupted, match=f"stopped by {signum.name} at step 3") as caught:
        run(Mean(), listeners=[Stop()], checkpoints=checkpoints)
    assert (caught.value.signum, caught.value.step) == (signum, 3)
    assert saved(checkpoints)["global_step"] == 3
    assert not checkpoints.path.with_suffix(".partial").exists()


@pytest.mark.parametrize("ending", ["well", "interrupted", "non-finite loss", "failing listener", "no room to save"])
def test_handlers_of_the_signals_are_given_back(run, checkpoints, ending, monkeypatch):
    before = {signum: signal.getsignal(signum) for signum in WATCHED_SIGNALS}
    during = []

    class Listener:
        def on_step(self, info):
            during.append(signal.getsignal(signal.SIGINT))
            if info.step == 2 and ending == "interrupted":
                signal.raise_signal(signal.SIGINT)
            if info.step == 2 and ending == "failing listener":
                raise OSError("no space left")

    if ending == "no room to save":
        monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("no space left")))
    expected = {
        "well": None,
        "interrupted": Interrupted,
        "non-finite loss": TrainingError,
        "failing listener": OSError,
        "no room to save": RunError,
    }[ending]
    options = {"listeners": [Listener()], "checkpoints": checkpoints}
    if expected is None:
        run(Mean(), **options)
    else:
        with pytest.raises(expected):
            run(Mean(fails_at=2 if ending == "non-finite loss" else None), **options)
    assert before[signal.SIGINT] not in during
    assert {signum: signal.getsignal(signum) for signum in WATCHED_SIGNALS} == before


def test_all_parts_are_trained_in_training_mode_whatever_mode_they_came_in(run):
    """A loaded model comes in evaluation mode; left in it, its batch norm would keep the statistics of other data."""
    objective = Mean()
    objective.encoder.eval()
    modes = []

    class Watch:
        def on_step(self, info):
            modes.append([module.training for module in objective.modules()])

    run(objective, listeners=[Watch()])
    assert all(all(parts) for parts in modes)


def test_signal_before_the_first_step_stops_after_it(run, checkpoints, monkeypatch):
    """While Lightning starts; its own answer to Ctrl-C is to exit with 1."""
    prepare = training._Module.configure_optimizers

    def interrupted(module):
        signal.raise_signal(signal.SIGINT)
        return prepare(module)

    monkeypatch.setattr(training._Module, "configure_optimizers", interrupted)
    with pytest.raises(Interrupted, match="stopped by SIGINT at step 1"):
        run(Mean(), checkpoints=checkpoints)
    assert saved(checkpoints)["global_step"] == 1


@pytest.mark.parametrize("keeps", [True, False])
def test_signal_in_the_last_step_is_lost_only_where_the_run_is_kept(run, checkpoints, keeps):
    class Stop:
        def on_step(self, info):
            if info.step == NUM_STEPS:
                signal.raise_signal(signal.SIGINT)

    if keeps:
        assert run(Mean(), listeners=[Stop()], checkpoints=checkpoints).step == NUM_STEPS
    else:
        with pytest.raises(Interrupted):
            run(Mean(), listeners=[Stop()])


def test_compiled_networks_are_not_divided(run):
    with pytest.raises(UsageError, match="compile and --sharded do not go together"):
        run(Mean(), compiles=True, processes=Processes(2, is_sharded=True))


def test_a_step_of_several_processes_is_not_captured(run):
    with pytest.raises(UsageError, match=r"training\.capture and several processes do not go together"):
        run(Mean(), captures=True, processes=Processes(2))


def test_numbers_of_a_step_are_read_when_they_are_asked_for():
    readings = Readings({"loss": torch.tensor(0.5), "tau": 0.99, "on a GPU": torch.ones((), device="meta")})
    assert list(readings) == ["loss", "tau", "on a GPU"]
    assert (readings["loss"], readings["tau"]) == (0.5, 0.99)
    with pytest.raises(RuntimeError, match="meta"):  # which has no value to wait for
        readings["on a GPU"]
    with pytest.raises(KeyError):
        readings["accuracy"]


def test_without_checkpoints_nothing_is_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(Mean())
    assert list(tmp_path.iterdir()) == []


def test_probe_is_called_after_each_epoch_and_its_last_values_are_reported(run):
    epochs = []

    def probe(epoch):
        epochs.append(epoch)
        return {"error": epoch / 10}

    recorder = Recorder()
    result = run(Mean(), probe=probe, listeners=[recorder])
    assert epochs == [1, 2, 3]
    assert {info.step: info.metrics["error"] for info in recorder.infos if "error" in info.metrics} == {
        4: 0.1,
        8: 0.2,
        12: 0.3,
    }
    assert result.metrics["error"] == 0.3


@pytest.mark.parametrize(("epochs", "steps", "length"), [(3, None, 12), (None, 5, 5), (3, 5, 5), (1, 100, 4)])
def test_first_of_the_two_limits_ends_the_run(loader, epochs, steps, length):
    assert steps_of(loader, epochs, steps) == length
