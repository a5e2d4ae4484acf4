"""What watches that training makes sense: no update from a loss or gradient that is not finite, no silent collapse."""

from __future__ import annotations

__all__ = ["CollapseRule", "CollapseWatch", "UpdateGuard"]

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from astrofm.data.batch import Batch
from astrofm.data.loader import Feed, Loader
from astrofm.distributed import any_rank, gather
from astrofm.errors import TrainingError
from astrofm.failure import FailedStep, FailureFolder
from astrofm.objectives.collapse import effective_rank, embedding_spread
from astrofm.run import CARD_KEY
from astrofm.sharding import whole

LOOK_EVERY_STEPS = 10
"""Steps from one look at the effective rank to the next: on a GPU it takes as long as some percent of a step."""
NAMED_ROWS = 4
"""Rows that a message names."""


@dataclass(frozen=True)
class CollapseRule:
    """When a representation counts as collapsed.

    Attributes:
        spread: Smallest spread of a healthy one, see :func:`astrofm.objectives.collapse.embedding_spread`; that of
            healthy runs was seen between 0.7 and 0.9, and that of collapsing ones to fall without end.
        steps: Steps that it must stay below, at each look.
    """

    spread: float
    steps: int


class CollapseWatch(Callback):
    """Measures how far apart an objective keeps the cutouts, and stops a run that tells them apart no longer.

    It measures the embedding and the projection, and judges by the projection where the objective gives one: networks
    with batch norm collapse in the projector, which leaves the encoder without gradient and its embedding as far spread
    as it ever was; and an embedding of little spread, as that of an untrained transformer, is no collapse where a
    projector can still tell its rows apart. An objective of one view learns from labels, which do not let it collapse:
    it is measured and never stopped.

    Args:
        rule: When to stop; None: never.

    Attributes:
        verdict: Why the run was stopped; None where it was not.
    """

    def __init__(self, rule: CollapseRule | None) -> None:
        self._rule = rule
        self._num_low = 0
        self.verdict: str | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return for how many steps the spread has been low; a run that is continued after a verdict counts anew."""
        return {"num_low": 0 if self.verdict is not None else self._num_low}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the count of the run that is continued."""
        self._num_low = state_dict["num_low"]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Add the measures to the metrics of the step, and judge them."""
        result, step = pl_module.result, trainer.global_step
        given = {"embedding": result.embedding, "projection": result.projection}
        seen = {name: gather(values) for name, values in given.items() if values is not None}
        spreads = {name: embedding_spread(values) for name, values in seen.items()}
        pl_module.metrics |= {f"{name}_spread": spread for name, spread in spreads.items()}
        if "embedding" not in seen or not (step % LOOK_EVERY_STEPS == 0 or step in (1, trainer.max_steps)):
            return
        rank = effective_rank(seen["embedding"])
        pl_module.metrics["effective_rank"] = rank
        if self._rule is not None and pl_module.objective.num_views > 1 and step % LOOK_EVERY_STEPS == 0:
            self._judge(trainer, self._rule, spreads, rank)

    def _judge(self, trainer: Any, rule: CollapseRule, spreads: dict[str, Tensor], rank: Tensor) -> None:
        """Count the steps of low spread, and stop where they are too many."""
        name = "projection" if "projection" in spreads else "embedding"
        is_low = any_rank(not float(spreads[name]) >= rule.spread)
        self._num_low = self._num_low + LOOK_EVERY_STEPS if is_low else 0
        if self._num_low < rule.steps:
            return
        trainer.should_stop = True
        self.verdict = (
            f"the representation has collapsed: at step {trainer.global_step} the spread of the {name} has been below "
            f"{rule.spread:g} for {self._num_low} steps (it is {float(spreads[name]):.2g}; of the embedding, effective "
            f"rank {float(rank):.1f}), so the network no longer tells cutouts apart; start a run with a lower learning "
            "rate, a tau nearer to 1, batch norm in projector and predictor or a larger batch; the state is saved, and "
            "if all is meant to be alike, training.collapse_spread=0 watches no more"
        )


class UpdateGuard(Callback):
    """Looks before each update whether loss and gradient are finite, and clips the gradient.

    The gradient is that of all trained parameters together, after all small batches and all processes; a target
    network has none. Where something is not finite, no update is made and the step is written down.

    Args:
        loader: Knows the names of the rows.
        clip_norm: Largest norm of the gradient; None: as it comes.
        folder: Where a failed step is written down; None: nowhere.
    """

    def __init__(self, loader: Loader, clip_norm: float | None = None, folder: FailureFolder | None = None) -> None:
        self._loader = loader
        self._clip_norm = clip_norm
        self._folder = folder
        self._batch: Batch | None = None
        self._buffers: dict[str, Tensor] = {}
        self._before: list[Tensor] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Find the buffers, now that they are on their device."""
        if self._folder is not None:
            self._buffers = dict(pl_module.named_buffers())
            self._before = [buffer.clone() for buffer in self._buffers.values()]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Keep what the forward pass changes: the statistics of batch norm."""
        self._batch = batch
        for kind in {buffer.dtype for buffer in self._before}:  # of one kind they are copied by one call
            pairs = [pair for pair in zip(self._before, self._buffers.values(), strict=True) if pair[0].dtype == kind]
            before, now = zip(*pairs, strict=True)
            torch._foreach_copy_(before, now)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Stop before a bad update.

        Raises:
            TrainingError: If loss or gradient are not finite, on this process or on another one.
        """
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        divided = gradient_norm(parameters)
        norm = whole(divided)
        finite = bool(torch.isfinite(norm) & torch.isfinite(pl_module.result.loss))
        if any_rank(not finite):
            raise self._failed(trainer, pl_module, norm)
        pl_module.metrics["gradient_norm"] = norm
        if self._clip_norm is not None:
            clip_grads_with_norm_(parameters, self._clip_norm, divided)

    def _failed(self, trainer: Any, pl_module: Any, norm: Tensor) -> TrainingError:
        """Write the step down and return the error that says so."""
        assert self._batch is not None
        step, loss = trainer.global_step, pl_module.result.loss
        rows = row_names(self._loader.feeds, self._batch.row_ids)
        what = f"the loss of step {step + 1} is {loss.item()}"
        if bool(torch.isfinite(loss)):
            what = f"the norm of the gradient of step {step + 1} is {norm.item()} (the loss is {loss.item():.6g})"
        held = f"the batch holds {', '.join(rows[:NAMED_ROWS])}{', ...' if len(rows) > NAMED_ROWS else ''}"
        return TrainingError(f"{what}: no update was made; {held}; {self._write(trainer, pl_module, norm, rows)}")

    def _write(self, trainer: Any, pl_module: Any, norm: Tensor, rows: tuple[str, ...]) -> str:
        """Write the step down, and return what to do next."""
        if self._folder is None:
            return "try a lower learning rate"
        assert self._batch is not None
        failed = FailedStep(
            step=trainer.global_step,
            loss=float(pl_module.result.loss).hex(),
            gradient_norm=float(norm).hex(),
            embedding_sha256=digest(pl_module.result.embedding),
            device=pl_module.device.type,
            precision=trainer.precision,
            num_threads=torch.get_num_threads(),
            accumulate_batches=pl_module.num_parts,
            world_size=trainer.world_size,
            rows=rows,
        )
        try:
            state = self._state_before(trainer, pl_module, self._folder)
            self._folder.write(failed, self._batch, state, trainer.global_rank)
        except OSError as error:
            return f"the step could not be written down in {self._folder.path} ({error})"
        return (
            f"'astrofm replay {self._folder.path.parent}' takes the step again and shows where it went wrong, and a "
            "new run with a lower learning rate or training.gradient_clip_norm may get past it"
        )

    def _state_before(self, trainer: Any, pl_module: Any, folder: FailureFolder) -> dict[str, Any]:
        """Return weights, buffers and optimiser as they were before the step."""
        weights = trainer.strategy.lightning_module_state_dict()  # of divided ones the whole, on the first process
        before = dict(zip(self._buffers, self._before, strict=True))
        return {
            "state_dict": {name: before.get(name, value) for name, value in weights.items()},
            "optimizer_states": [trainer.strategy.optimizer_state(optimizer) for optimizer in trainer.optimizers],
            "global_step": trainer.global_step,
            CARD_KEY: folder.card(trainer.global_step).model_dump_json(),
        }


def row_names(feeds: Sequence[Feed], row_ids: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the ``id_str`` of rows of the union of some feeds, in their order."""
    stops = np.cumsum([len(feed.rows) for feed in feeds])
    names = []
    for row_id in row_ids:
        number = int(np.searchsorted(stops, row_id, side="right"))
        feed = feeds[number]
        row = feed.rows[row_id - (stops[number] - len(feed.rows))]
        names.append(str(feed.store.catalog.column("id_str")[row]))
    return tuple(names)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of the gradient of all parameters together."""
    return get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


def digest(values: Tensor | None) -> str:
    """Return a hash of the bits of a tensor; empty for None."""
    if values is None:
        return ""
    return hashlib.sha256(values.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
