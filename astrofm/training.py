"""The only training loop: a thin Lightning module and the callbacks that watch, checkpoint and stop it.

The loop owns device, precision, schedules, checkpoints and interruption; an objective sees views and a step number.
"""

from __future__ import annotations

__all__ = ["Checkpoints", "FitResult", "fit", "steps_of"]

import logging
import math
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from astrofm.data.batch import Batch
from astrofm.data.feeding.prefetch import Prefetch
from astrofm.data.loader import Loader
from astrofm.errors import TrainingError
from astrofm.interruption import Interrupted, SignalWatch
from astrofm.listener import Listener, Pace, StepInfo
from astrofm.model import ModelCard
from astrofm.objectives.base import Objective
from astrofm.optimizer import OptimizerConfig, Precision, build_optimizer, learning_rate_factor
from astrofm.run import CARD_KEY
from astrofm.views.device import Sender
from astrofm.views.pipeline import ViewPipeline


@dataclass(frozen=True)
class FitResult:
    """How a fit ended.

    Attributes:
        step: Optimiser steps taken.
        epoch: Epochs begun.
        metrics: Last value of everything logged.
        seconds: Wall time of this call.
        wait_share: Share of the time of all steps of this call that they waited for their batch.
    """

    step: int
    epoch: int
    metrics: Mapping[str, float]
    seconds: float
    wait_share: float


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


def fit(
    objective: Objective,
    pipeline: ViewPipeline,
    loader: Loader,
    optimizer: OptimizerConfig,
    *,
    num_steps: int,
    layers: Sequence[Sequence[nn.Parameter]] | None = None,
    device: str = "cpu",
    precision: Precision = "32-true",
    deterministic: bool = False,
    listeners: Sequence[Listener] = (),
    probe: EpochProbe | None = None,
    checkpoints: Checkpoints | None = None,
) -> FitResult:
    """Train an objective for a number of optimiser steps.

    Args:
        objective: Loss and networks; trained in place, all of it in training mode, whatever mode a part came in.
        pipeline: From a batch to views.
        loader: Makes the batches, ahead of their use; its order and position are part of the checkpoint.
        optimizer: Optimiser and schedule.
        num_steps: Length of the run; a run continued from a checkpoint ends there too.
        layers: Layer groups from input to output, for layer-wise decay; None: all parameters are one group.
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: Lightning's name of it, ``32-true`` or ``bf16-mixed``.
        deterministic: Ask for deterministic kernels on a GPU.
        listeners: Told of every step.
        probe: Called after every epoch.
        checkpoints: Where to keep the state; a state that is there is continued. None: keep none.

    Returns:
        Where training ended.

    Raises:
        TrainingError: If the loss is not finite; no update was made from it.
        Interrupted: If SIGINT or SIGTERM arrived; the state is saved at the end of the step it arrived in. A run that
            keeps checkpoints and had taken its last step by then returns instead.
    """
    objective.train()  # Lightning keeps each module's mode, and the encoder of a loaded model is in evaluation mode
    sender = Sender(device)
    module = _Module(objective, pipeline, optimizer, num_steps, layers, sender)
    watch = _Watch(listeners, probe, loader)
    keeper = _Keeper(checkpoints)
    started = time.monotonic()
    with _quiet_lightning(), SignalWatch() as signals:
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device, device),
            devices=1,
            precision=precision,
            deterministic=deterministic,
            max_steps=num_steps,
            max_epochs=-1,
            callbacks=[_AfterStep(), watch, _StopOnSignal(signals), keeper],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        resume_from = checkpoints.path if checkpoints is not None and checkpoints.path.exists() else None
        try:
            with Prefetch(loader, num_steps=num_steps, send=sender.send) as batches:
                trainer.fit(module, train_dataloaders=batches, ckpt_path=resume_from, weights_only=True)
        except SIGTERMException as error:  # it came between Lightning's start and ours
            raise Interrupted(signal.SIGTERM, trainer.global_step) from error
    if signals.received is not None and (checkpoints is None or trainer.global_step < num_steps):
        raise Interrupted(signals.received, trainer.global_step)
    epochs = math.ceil(trainer.global_step / len(loader))
    seconds = time.monotonic() - started
    return FitResult(trainer.global_step, epochs, watch.last_metrics, seconds, watch.wait_share())


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's hints about its own features out of the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Its advice on worker processes, which our loader does without, and on a missing validation step.
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Module(lightning.LightningModule):
    """Hands batches to the pipeline and views to the objective."""

    def __init__(
        self,
        objective: Objective,
        pipeline: ViewPipeline,
        optimizer: OptimizerConfig,
        num_steps: int,
        layers: Sequence[Sequence[nn.Parameter]] | None,
        sender: Sender,
    ) -> None:
        super().__init__()
        self.objective = objective
        self._pipeline = pipeline
        self._optimizer = optimizer
        self._num_steps = num_steps
        self._layers = layers if layers is not None else [list(objective.parameters())]
        self._sender = sender
        self.metrics: dict[str, Tensor | float] = {}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Take the batch that was sent ahead; what was not, the pipeline moves as it needs it."""
        return self._sender.receive(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        step = self.global_step
        views = self._pipeline(batch, step, self.device)
        result = self.objective(views, step)
        if not bool(torch.isfinite(result.loss)):
            raise TrainingError(
                f"the loss at step {step} is {result.loss.item()}: no update was made; the batch holds rows "
                f"{', '.join(map(str, batch.row_ids[:8]))}, ... of the training data; try a lower learning rate"
            )
        self.metrics = {"loss": result.loss.detach(), **result.metrics}
        loss: Tensor = result.loss
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, a function of the step alone."""
        chosen = build_optimizer(self._optimizer, self._layers)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            chosen, lambda step: learning_rate_factor(step, self._num_steps, self._optimizer)
        )
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def after_step(self, step: int) -> None:
        """Let the objective move what moves without gradients, after the optimiser step."""
        self.metrics = {**self.metrics, **self.objective.after_step(step, self._num_steps)}


class _AfterStep(Callback):
    """Ends the step; the first callback, so that the others report and save it whole.

    Lightning calls the module's own ``on_train_batch_end`` after those of all callbacks.
    """

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        pl_module.after_step(trainer.global_step)


class _Watch(Callback):
    """Measures the pace, runs the probe and tells the listeners."""

    def __init__(self, listeners: Sequence[Listener], probe: EpochProbe | None, loader: Loader) -> None:
        self._listeners = listeners
        self._probe = probe
        self._steps_per_epoch = len(loader)
        self._pace = Pace()
        self._learning_rate = math.nan
        self.last_metrics: dict[str, float] = {}

    def wait_share(self) -> float:
        """Return the share of the time of the steps that they waited for their batch."""
        return self._pace.overall_wait_share()

    def state_dict(self) -> dict[str, Any]:
        """Return the last value of everything logged, which a run continued after its last step reports."""
        return {"last_metrics": self.last_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_metrics = state_dict["last_metrics"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._pace = Pace()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        self._pace.data_arrived()
        # Before the step: after it the schedule has moved on.
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        step = trainer.global_step
        self._pace.step_done(batch.size)
        epoch, within = divmod(step - 1, self._steps_per_epoch)
        metrics = {name: float(value) for name, value in pl_module.metrics.items()}
        metrics["learning_rate"] = self._learning_rate
        if self._probe is not None and within == self._steps_per_epoch - 1:
            metrics.update(self._probe(epoch + 1))
            self._pace.pause()
        self.last_metrics = {**self.last_metrics, **metrics}
        info = StepInfo(step, pl_module._num_steps, epoch, metrics, self._pace.rate(), self._pace.wait_share())
        for listener in self._listeners:
            listener.on_step(info)


class _Keeper(Callback):
    """Saves the state every few steps, when asked to stop, and at the end; a file is replaced only by a whole one."""

    def __init__(self, checkpoints: Checkpoints | None) -> None:
        self._checkpoints = checkpoints

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self._checkpoints is not None:
            checkpoint[CARD_KEY] = self._checkpoints.card(trainer.global_step).model_dump_json()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        # Always here: once Lightning has left the epoch for a stop, it takes the rest of it for done.
        is_last = trainer.should_stop or trainer.global_step == trainer.max_steps
        if self._checkpoints is not None and (is_last or trainer.global_step % self._checkpoints.every_steps == 0):
            self._save(trainer, self._checkpoints)

    def _save(self, trainer: Any, checkpoints: Checkpoints) -> None:
        """Write the state to a new file and put it in place of the old one."""
        partial = checkpoints.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        os.replace(partial, checkpoints.path)  # noqa: PTH105 - the atomic replacement is the point


class _StopOnSignal(Callback):
    """Turns a noted signal into a stop at the end of the step."""

    def __init__(self, watch: SignalWatch) -> None:
        self._watch = watch

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._watch.watch_all()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self._watch.received is not None:
            trainer.should_stop = True


def steps_of(loader: Loader, max_epochs: int | None, max_steps: int | None) -> int:
    """Return the length of a run in optimiser steps: the first of its two limits."""
    limits = [
        math.inf if max_steps is None else max_steps,
        math.inf if max_epochs is None else max_epochs * len(loader),
    ]
    return int(min(limits))
