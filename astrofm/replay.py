"""Take a step that failed again, and show where the first value appears that is not finite."""

from __future__ import annotations

__all__ = ["Replayed", "replay"]

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import ValidationError

from astrofm.accumulation import take_step
from astrofm.data.batch import Batch, Share
from astrofm.encoders.arrange import arrange
from astrofm.errors import RunError, in_one_line
from astrofm.failure import PLAN_FILE, STATE_FILE, STEP_FILE, FailedStep, load_batch, read_plan
from astrofm.guards import digest, gradient_norm
from astrofm.model import ModelCard
from astrofm.objectives.base import Objective
from astrofm.parts import NamedEncoder, build_view
from astrofm.plan import make_pipeline
from astrofm.pretrain import build_objective, coarse_start
from astrofm.recipe import Recipe
from astrofm.run import CARD_KEY, OBJECTIVE_KEY, VERSIONS_FILE, Run
from astrofm.trace import Trace
from astrofm.views.pipeline import ViewPipeline


@dataclass(frozen=True)
class Replayed:
    """What came out when a failed step was taken again.

    Attributes:
        folder: Where the step was read from.
        step: Optimiser steps taken before it.
        device: Where it was taken now.
        loss: Now.
        recorded_loss: Then.
        gradient_norm: Now, before clipping.
        recorded_gradient_norm: Then.
        is_reproduced: Whether all of it is the same to the last bit.
        may_differ_because: What is not as it was then; empty where all is.
        first_non_finite: Where the first value appeared that is not finite; empty where there was none.
        rows: Names of the rows that had it, as far as rows could be told apart there.
    """

    folder: str
    step: int
    device: str
    loss: float
    recorded_loss: float
    gradient_norm: float
    recorded_gradient_norm: float
    is_reproduced: bool
    may_differ_because: tuple[str, ...]
    first_non_finite: str
    rows: tuple[str, ...]


def replay(path: Path, device: str = "cpu") -> Replayed:
    """Take the failed step of a run again.

    The parts of several processes are taken as one batch, as the gradient of all of them was.

    Args:
        path: Folder of the run, or its ``failure`` folder.
        device: ``cpu``, ``cuda`` or ``mps``; the result is the same to the last bit on the one it failed on.

    Raises:
        RunError: If no step of the run failed, or what was written down of it is damaged.
    """
    folder = path if (path / STEP_FILE).exists() else Run(path).failure_folder
    failed = _read_failed(path, folder)
    batch = _joined([load_batch(folder / f"batch-{rank}.npz") for rank in range(failed.world_size)])
    objective, pipeline = _rebuilt(folder, device)
    trace = Trace()
    trace.look_at_batch(batch)
    with _threads(failed.num_threads), trace.watching(objective):
        make_views = trace.watched(pipeline)
        with _precision(failed, device):
            result = take_step(
                objective,
                make_views,
                batch,
                failed.step,
                torch.device(device),
                failed.accumulate_batches,
                seed=pipeline.seed,
            )
        trace.look("the loss, from values that are all finite", result.loss)
        torch.autograd.backward(result.loss)
        norm = gradient_norm(objective.parameters())
    trace.look("the norm of the gradient, whose values are all finite", norm)
    of_first = None if result.embedding is None else result.embedding[: len(failed.rows)]  # as it was recorded
    seen = (float(result.loss.detach()), float(norm), digest(of_first))
    recorded = (float.fromhex(failed.loss), float.fromhex(failed.gradient_norm), failed.embedding_sha256)
    return Replayed(
        folder=str(folder),
        step=failed.step,
        device=device,
        loss=seen[0],
        recorded_loss=recorded[0],
        gradient_norm=seen[1],
        recorded_gradient_norm=recorded[1],
        is_reproduced=str(seen) == str(recorded),  # as text, in which NaN is the same as NaN and each bit is told
        may_differ_because=tuple(_differences(folder, failed, device)),
        first_non_finite=trace.first,
        rows=_names(failed, batch, trace),
    )


def _read_failed(path: Path, folder: Path) -> FailedStep:
    if not (folder / STEP_FILE).exists():
        raise RunError(f"no step of the run in {path} failed: there is no {folder / STEP_FILE} to replay")
    try:
        return FailedStep.model_validate_json((folder / STEP_FILE).read_text())
    except ValidationError as error:
        raise RunError(f"{folder / STEP_FILE} is damaged: {in_one_line(error)}") from error


def _rebuilt(folder: Path, device: str) -> tuple[Objective, ViewPipeline]:
    """Return objective and views as they were before the step."""
    recipe = Recipe.parse(yaml.safe_load((folder / "recipe.yaml").read_text()), str(folder / "recipe.yaml"))
    state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    card = ModelCard.model_validate_json(state[CARD_KEY])
    inputs, labels = read_plan((folder / PLAN_FILE).read_text())
    encoder = NamedEncoder.from_facts(card.encoder).build(card.contract.num_channels)
    objective = build_objective(recipe.objective, encoder, card.seed, labels)
    weights = {name.removeprefix(OBJECTIVE_KEY): value for name, value in state["state_dict"].items()}
    objective.load_state_dict(weights)
    arrange(objective.train(), device)
    objective.to(device)
    views = [build_view(part) for part in recipe.views]
    coarse = coarse_start(recipe, card.num_steps)
    return objective, make_pipeline(card.contract, inputs, views, objective.num_views, card.seed, coarse)


def _joined(parts: Sequence[Batch]) -> Batch:
    """Return the batch that several processes shared."""
    if len(parts) == 1:
        return parts[0]
    shares: list[Share] = []
    for part in parts:
        shares += [replace(share, places=share.places + part.first) for share in part.shares]
    return Batch(
        tuple(shares),
        np.concatenate([part.row_ids for part in parts]),
        0,
        parts[0].global_size,
        {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels},
    )


@contextmanager
def _threads(num: int) -> Iterator[None]:
    """Compute on as many threads as then: another number adds up in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _precision(failed: FailedStep, device: str) -> Any:
    if failed.precision == "32-true":
        return nullcontext()
    return torch.autocast(device, torch.bfloat16, cache_enabled=False)  # as Lightning asks for it


def _differences(folder: Path, failed: FailedStep, device: str) -> Iterator[str]:
    """Yield what is not as it was then, and may make another result."""
    if device != failed.device:
        yield f"the step was taken on {failed.device}, now on {device}"
    if failed.world_size > 1:
        yield f"the step was shared by {failed.world_size} processes, now it is taken by one"
        if failed.accumulate_batches > 1:
            yield "small batches held a part of the rows of each process, now they hold rows that follow each other"
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    if recipe["training"].get("compile", False):  # a run of an older version has no such key
        yield "the networks were compiled, now they are computed as they are"
    if device != "cpu" and not recipe["training"]["deterministic"]:
        yield "without training.deterministic a GPU adds up in any order"
    recorded = json.loads((folder / VERSIONS_FILE).read_text())
    for name in ("torch", "astrofm"):
        if recorded.get(name) != version(name):
            yield f"{name} was {recorded.get(name)}, now it is {version(name)}"


def _names(failed: FailedStep, batch: Batch, trace: Trace) -> tuple[str, ...]:
    names = dict(zip(batch.row_ids.tolist(), failed.rows, strict=False))
    return tuple(names.get(row_id, f"row {row_id}") for row_id in trace.row_ids)
