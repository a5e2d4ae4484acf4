"""The only training loop: a thin Lightning module; :mod:`astrofm.callbacks` watch, checkpoint and stop it.

The loop owns device, precision, schedules, checkpoints and interruption; an objective sees views and a step number.
"""

from __future__ import annotations

__all__ = ["FitResult", "fit", "layers_of", "steps_of"]

import logging
import math
import os
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, distributed, nn

from astrofm.accumulation import take_step
from astrofm.callbacks import AfterStep, Checkpoints, EpochProbe, Keeper, StopOnSignal, Watch
from astrofm.capture import CapturedObjective
from astrofm.data.batch import Batch
from astrofm.data.feeding.prefetch import Prefetch
from astrofm.data.loader import Loader
from astrofm.encoders.arrange import arrange
from astrofm.encoders.build import layer_groups
from astrofm.encoders.compiled import compile_networks, compile_views
from astrofm.encoders.sync_batch_norm import synchronise_batch_norm
from astrofm.errors import RunError, TrainingError, UsageError
from astrofm.failure import FailureFolder
from astrofm.guards import CollapseRule, CollapseWatch, UpdateGuard
from astrofm.interruption import Interrupted, SignalWatch
from astrofm.listener import Listener
from astrofm.objectives.base import Objective, StepResult
from astrofm.optimizer import OptimizerConfig, Precision, build_optimizer, learning_rate_factor
from astrofm.processes import ONE_PROCESS, Processes
from astrofm.sharding import shard
from astrofm.views.device import Sender, SentBatch
from astrofm.views.pipeline import ViewPipeline

DDP_NAMES = ("broadcast_buffers", "find_unused_parameters")
"""Options of DDP that are chosen on purpose, see :mod:`astrofm.processes`, and that torch warns of."""


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


def fit(
    objective: Objective,
    pipeline: ViewPipeline,
    loader: Loader,
    optimizer: OptimizerConfig,
    *,
    num_steps: int,
    layers: Callable[[], Sequence[Sequence[nn.Parameter]]] | None = None,
    device: str = "cpu",
    processes: Processes = ONE_PROCESS,
    precision: Precision = "32-true",
    deterministic: bool = False,
    gradient_clip_norm: float | None = None,
    accumulate_batches: int = 1,
    compiles: bool = False,
    captures: bool = False,
    collapse: CollapseRule | None = None,
    failures: FailureFolder | None = None,
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
        layers: Gives the layer groups from input to output, for layer-wise decay, once the networks are where they are
            trained; None: all parameters are one group.
        device: ``cpu``, ``cuda`` or ``mps``.
        processes: Those that train together, each with its part of the batches of its ``loader``; the first one alone
            tells listeners, probes and saves.
        precision: Lightning's name of it, ``32-true`` or ``bf16-mixed``.
        deterministic: Ask for deterministic kernels on a GPU.
        gradient_clip_norm: Largest norm of the gradient of a step, see :mod:`astrofm.guards`; None: as it comes.
        accumulate_batches: Small batches that each batch is made of, see :mod:`astrofm.accumulation`.
        compiles: Compile the networks, see :mod:`astrofm.encoders.compiled`.
        captures: Record the step as a CUDA graph, see :mod:`astrofm.capture`; without a GPU it makes no difference.
        collapse: When a representation counts as collapsed, which ends the run; None: never.
        failures: Where a step whose loss or gradient is not finite is written down; None: nowhere.
        listeners: Told of every step.
        probe: Called after every epoch.
        checkpoints: Where to keep the state; a state that is there is continued. None: keep none.

    Returns:
        Where training ended.

    Raises:
        TrainingError: If loss or gradient are not finite, and no update was made from them; or if the representation
            collapsed, and the state is saved.
        UsageError: If the batch cannot be shared equally by its small batches, if sharded networks are to be compiled,
            or if a step of several processes is to be recorded.
        RunError: If a checkpoint cannot be written or is none of such a run, or another process ended.
        Interrupted: If SIGINT or SIGTERM arrived; the state is saved at the end of the step it arrived in. A run that
            keeps checkpoints and had taken its last step by then returns instead.
    """
    if compiles and processes.is_sharded:
        raise UsageError("training.compile and --sharded do not go together: leave one of them out")
    if captures and processes.world_size > 1:
        raise UsageError("training.capture and several processes do not go together: leave one of them out")
    objective.train()  # Lightning keeps each module's mode, and the encoder of a loaded model is in evaluation mode
    if not processes.is_sharded:  # a part of the weights has no channels that could lie last
        arrange(objective, device)
    if processes.world_size > 1:
        synchronise_batch_norm(objective, device)
    if compiles:
        compile_networks(objective)
        if device == "cuda":
            compile_views(pipeline.views)
        if probe is not None:  # its batches and mode are others, for which all would be compiled again
            probe = torch.compiler.set_stance("force_eager")(probe)
    if processes.rank > 0:
        listeners = ()
        if not processes.is_sharded:  # else the first one alone has no whole encoder to probe
            probe = None
    # Of small batches, which are there to save memory, only one has its views in it.
    sender = Sender(processes.device_of(device), pipeline if accumulate_batches == 1 else None)
    _check_parts(loader, accumulate_batches)
    captured = CapturedObjective(objective, sender.lock) if captures and device == "cuda" else None
    module = _Module(objective, captured, pipeline, optimizer, num_steps, layers, sender, accumulate_batches)
    guard = UpdateGuard(loader, gradient_clip_norm, failures)
    collapse_watch = CollapseWatch(collapse)
    batches = Prefetch(loader, num_steps=num_steps, send=sender.send)
    watch = Watch(listeners, probe, batches)
    keeper = Keeper(checkpoints)
    started = time.monotonic()
    with _quiet_lightning(), _generators_kept(device), SignalWatch() as signals:
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device, device),
            **processes.trainer_options(device),
            # Lightning looks here for states that it saved itself under SLURM, and would begin with one.
            default_root_dir=os.devnull if checkpoints is None else checkpoints.path.parent,
            precision=precision,
            deterministic=deterministic,
            max_steps=num_steps,
            max_epochs=-1,
            callbacks=[guard, AfterStep(), collapse_watch, watch, StopOnSignal(signals), keeper],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        resume_from = None if checkpoints is None else checkpoints.to_continue(is_sharded=processes.is_sharded)
        try:
            with batches, _ending_all(trainer):
                trainer.fit(module, train_dataloaders=batches, ckpt_path=resume_from, weights_only=True)
        except RuntimeError as error:
            if not _has_lost_another(error, processes):
                raise
            raise RunError(
                "another process of the run has ended, and its own message tells why: mend that and continue the run "
                "with --resume"
            ) from error
        except SIGTERMException as error:  # it came between Lightning's start and ours
            raise Interrupted(signal.SIGTERM, trainer.global_step) from error
    if collapse_watch.verdict is not None:
        raise TrainingError(collapse_watch.verdict)
    stopped_by = signals.agreed or signals.received
    if stopped_by is not None and (checkpoints is None or trainer.global_step < num_steps):
        raise Interrupted(stopped_by, trainer.global_step)
    epochs = math.ceil(trainer.global_step / len(loader))
    seconds = time.monotonic() - started
    return FitResult(trainer.global_step, epochs, watch.last_metrics, seconds, watch.wait_share())


def _generators_kept(device: str) -> AbstractContextManager[None]:
    """Leave torch's global generators as they were: each step seeds them."""
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()) if device == "cuda" else ())


@contextmanager
def _ending_all(trainer: lightning.Trainer) -> Iterator[None]:
    """End the processes that this one has started when it fails; on a GPU they would wait for it."""
    try:
        yield
    except BaseException:
        launcher = trainer.strategy.launcher
        started: list[subprocess.Popen[bytes]] = []
        if isinstance(launcher, _SubprocessScriptLauncher):
            started = list(launcher.procs)
            launcher.procs.clear()  # its observer would end this process too when it sees one of them killed
        for process in started:
            process.kill()
            process.wait()
        raise


def _has_lost_another(error: RuntimeError, processes: Processes) -> bool:
    """Return whether a process failed because another one ended."""
    return processes.world_size > 1 and (isinstance(error, distributed.DistError) or "gloo" in str(error))


def _check_parts(loader: Loader, num_parts: int) -> None:
    """Refuse small batches that are not equal, or of one row, over which batch norm has no spread."""
    of_process = loader.batch_size // loader.world_size
    if of_process % num_parts or of_process // num_parts < min(2, of_process):
        raise UsageError(
            f"a batch of {of_process} cutouts a process cannot be made of {num_parts} equal small batches of 2 cutouts "
            "or more: change training.batch_size or training.accumulate_batches"
        )


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
            # An encoder ends in a view of its pooled features, which no objective here changes in place.
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
            for name in DDP_NAMES:
                warnings.filterwarnings("ignore", message=f".*{name}")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Module(lightning.LightningModule):
    """Hands batches to the pipeline and views to the objective."""

    def __init__(
        self,
        objective: Objective,
        captured: CapturedObjective | None,
        pipeline: ViewPipeline,
        optimizer: OptimizerConfig,
        num_steps: int,
        layers: Callable[[], Sequence[Sequence[nn.Parameter]]] | None,
        sender: Sender,
        num_parts: int,
    ) -> None:
        super().__init__()
        self.objective = objective
        self._captured = captured
        self._pipeline = pipeline
        self._optimizer = optimizer
        self.num_steps = num_steps
        self.num_parts = num_parts
        self._layers = layers
        self._sender = sender
        self.result: StepResult
        self.metrics: dict[str, Tensor | float] = {}

    def configure_model(self) -> None:
        """Divide the networks among the processes, where that was asked for."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            assert self.device_mesh is not None
            shard(self.objective, self.device_mesh["data_parallel"])

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Take the batch that was sent ahead; what was not, the pipeline moves as it needs it."""
        return self._sender.receive(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        self.trainer.optimizers[0].zero_grad()
        made = batch.views if isinstance(batch, SentBatch) else None
        result = take_step(
            self._captured or self.objective,
            self._pipeline if made is None else lambda batch, step, device: made,
            batch,
            self.global_step,
            self.device,
            self.num_parts,
            seed=self._pipeline.seed,
        )
        self.result = replace(result, loss=result.loss.detach())
        self.metrics = {"loss": self.result.loss, **result.metrics}
        loss: Tensor = result.loss
        return loss

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Do nothing: Lightning asks for it between the last forward pass of a step and its backward pass."""

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, a function of the step alone."""
        layers = [list(self.objective.parameters())] if self._layers is None else self._layers()
        chosen = build_optimizer(self._optimizer, layers)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            chosen, lambda step: learning_rate_factor(step, self.num_steps, self._optimizer)
        )
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def after_step(self, step: int) -> None:
        """Let the objective move what moves without gradients, after the optimiser step."""
        self.metrics = {**self.metrics, **self.objective.after_step(step, self.num_steps)}


def layers_of(objective: Objective) -> list[list[nn.Parameter]]:
    """Return the parameters of the encoder from input to output, and as the last group all others of the objective."""
    layers = layer_groups(objective.encoder)
    of_encoder = {parameter for layer in layers for parameter in layer}
    return [*layers, [parameter for parameter in objective.parameters() if parameter not in of_encoder]]


def steps_of(loader: Loader, max_epochs: int | None, max_steps: int | None) -> int:
    """Return the length of a run in optimiser steps: the first of its two limits."""
    limits = [
        math.inf if max_steps is None else max_steps,
        math.inf if max_epochs is None else max_epochs * len(loader),
    ]
    return int(min(limits))
