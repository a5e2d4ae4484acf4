"""What happens around the steps of training: the objective's own ending, watching, checkpoints, stopping."""

from __future__ import annotations

__all__ = ["AfterStep", "Checkpoints", "EpochProbe", "Keeper", "Readings", "StopOnSignal", "Watch", "WholeFiles"]

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from astrofm.data.batch import Batch
from astrofm.data.feeding.prefetch import Prefetch
from astrofm.data.making.partial import make_durable
from astrofm.distributed import largest
from astrofm.errors import RunError
from astrofm.interruption import SignalWatch
from astrofm.listener import Listener, Pace, StepInfo
from astrofm.model import ModelCard
from astrofm.run import CARD_KEY

SHARDED_KEY = "astrofm_is_sharded"
EpochProbe = Callable[[int], Mapping[str, float]]
"""Called after each epoch with its number, from 1; returns values worth logging."""


@dataclass(frozen=True)
class Checkpoints:
    """Where the state goes and how often.

    Attributes:
        path: File of the newest state.
        every_steps: Steps from one to the next.
        card: Makes the model's card as it is at a step; stored beside the weights, so that a stopped run can serve.
    """

    path: Path
    every_steps: int
    card: Callable[[int], ModelCard]

    def to_continue(self, *, is_sharded: bool) -> Path | None:
        """Return the state that a run goes on from; None where there is none.

        Args:
            is_sharded: Whether the run divides its weights now. The states of an optimiser are numbered in another way
                then, and would be taken for those of other weights.

        Raises:
            RunError: If the state was saved by a run that did otherwise.
        """
        if not self.path.exists():
            return None
        was_sharded = torch.load(self.path, mmap=True, map_location="cpu", weights_only=True).get(SHARDED_KEY, False)
        if was_sharded != is_sharded:
            raise RunError(
                f"the run of {self.path} was started {'with' if was_sharded else 'without'} --sharded: continue it "
                f"{'with' if was_sharded else 'without'} it, or choose another --out"
            )
        return self.path


class WholeFiles(TorchCheckpointIO):
    """Writes a state where it is to lie, and on the disk; Lightning's own way goes through memory and ``/tmp``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a file and wait until it is on the disk."""
        with Path(path).open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class AfterStep(Callback):
    """Ends the step; the first callback, so that the others report and save it whole.

    Lightning calls the module's own ``on_train_batch_end`` after those of all callbacks.
    """

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Let the objective end the step."""
        pl_module.after_step(trainer.global_step)


class Watch(Callback):
    """Measures the pace, runs the probe and tells the listeners."""

    def __init__(self, listeners: Sequence[Listener], probe: EpochProbe | None, batches: Prefetch) -> None:
        self._listeners = listeners
        self._probe = probe
        self._batches = batches
        self._pace, self._waited_s = Pace(), 0.0
        self._learning_rate = math.nan
        self._last: dict[str, Tensor | float] = {}

    @property
    def last_metrics(self) -> dict[str, float]:
        """Last value of everything logged."""
        return dict(Readings(self._last))

    def wait_share(self) -> float:
        """Return the share of the time of the steps that they waited for their batch."""
        return self._pace.overall_wait_share()

    def state_dict(self) -> dict[str, Any]:
        """Return the last value of everything logged, which a run continued after its last step reports."""
        return {"last_metrics": self.last_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the last values of the run that is continued."""
        self._last = state_dict["last_metrics"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to measure the pace."""
        self._pace = Pace()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Note the learning rate, for after the step the schedule has moved on."""
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Tell the listeners of the step."""
        step = trainer.global_step
        self._pace.step_done(batch.global_size, self._batches.waited_s - self._waited_s)
        self._waited_s = self._batches.waited_s
        epoch, within = divmod(step - 1, len(self._batches))
        metrics = {**pl_module.metrics, "learning_rate": self._learning_rate}
        if self._probe is not None and within == len(self._batches) - 1:
            metrics.update(self._probe(epoch + 1))
            self._pace.pause()
        self._last |= metrics
        readings = Readings(metrics)
        info = StepInfo(step, pl_module.num_steps, epoch, readings, self._pace.rate(), self._pace.wait_share())
        for listener in self._listeners:
            listener.on_step(info)


class Readings(Mapping[str, float]):
    """Metrics as numbers; what lies on a GPU is waited for when the first of them is read, once for all.

    Args:
        metrics: Scalars, by name.
    """

    def __init__(self, metrics: Mapping[str, Tensor | float]) -> None:
        self._on_device = {
            name: value for name, value in metrics.items() if isinstance(value, Tensor) and value.device.type != "cpu"
        }
        self._numbers = {name: math.nan if name in self._on_device else float(value) for name, value in metrics.items()}

    def __getitem__(self, name: str) -> float:
        if name in self._on_device:
            copied = torch.stack([value.float() for value in self._on_device.values()]).tolist()
            self._numbers |= dict(zip(self._on_device, copied, strict=True))
            self._on_device = {}
        return self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


class Keeper(Callback):
    """Saves the state every few steps, when asked to stop, and at the end; a file is replaced only by a whole one."""

    def __init__(self, checkpoints: Checkpoints | None) -> None:
        self._checkpoints = checkpoints

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse to go on from states of different steps, as where machines do not share the folder of the run.

        Raises:
            RunError: If the processes are not at the same step.
        """
        step = trainer.global_step
        first, last = -largest(-step), largest(step)
        if first != last:
            raise RunError(
                f"the processes found the run at different steps, from {first} to {last}: give all machines the same "
                "--out, on a disk that they share"
            )

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Put the card of the model beside its weights."""
        if self._checkpoints is not None:
            checkpoint[SHARDED_KEY] = isinstance(trainer.strategy, ModelParallelStrategy)
            checkpoint[CARD_KEY] = self._checkpoints.card(trainer.global_step).model_dump_json()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Save where it is due."""
        # Always here: once Lightning has left the epoch for a stop, it takes the rest of it for done.
        is_last = trainer.should_stop or trainer.global_step == trainer.max_steps
        if self._checkpoints is not None and (is_last or trainer.global_step % self._checkpoints.every_steps == 0):
            self._save(trainer, self._checkpoints)

    def _save(self, trainer: Any, checkpoints: Checkpoints) -> None:
        """Write the state to a new file and put it in place of the old one.

        Raises:
            RunError: If there is no room; the old state is still there.
        """
        partial = checkpoints.path.with_suffix(".partial")
        try:
            trainer.save_checkpoint(partial)
            if trainer.is_global_zero:
                os.replace(partial, checkpoints.path)  # noqa: PTH105 - the atomic replacement is the point
                make_durable(checkpoints.path.parent)
        except OSError as error:
            partial.unlink(missing_ok=True)
            kept = "the one before it is whole" if checkpoints.path.exists() else "there is none before it"
            raise RunError(
                f"the state at step {trainer.global_step} cannot be saved in {checkpoints.path} "
                f"({error.strerror or error}), {kept}: mend that and continue the run with --resume"
            ) from error


class StopOnSignal(Callback):
    """Turns a signal that any process has noted into a stop of all at the end of the step."""

    def __init__(self, watch: SignalWatch) -> None:
        self._watch = watch

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Watch the signals from here on."""
        self._watch.watch_all()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Stop after a signal."""
        agreed = largest(self._watch.received or 0)
        if agreed:
            self._watch.agreed = agreed
            trainer.should_stop = True
