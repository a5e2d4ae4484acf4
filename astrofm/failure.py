"""What a run leaves of a step that failed: all that is needed to take the step again, nothing of it a pickle to run.

The folder ``failure/`` of a run holds ``failure.json`` (the step, its loss, the rows by name), a ``batch-N.npz`` for
each process (pixels, masks, labels, rows), ``state.ckpt`` (weights and optimiser as they were before the step),
``recipe.yaml``, ``versions.json`` and ``plan.json`` (how pixels become input). It is there whole or not at all.
"""

from __future__ import annotations

__all__ = ["FailedStep", "FailureFolder", "describe_plan", "load_batch", "read_plan", "save_batch"]

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter
from torch import Tensor

from astrofm.data.batch import Batch, Share
from astrofm.data.supervision import Labels
from astrofm.distributed import any_rank
from astrofm.model import ModelCard
from astrofm.optimizer import Precision
from astrofm.plan import Plan
from astrofm.views.stretch import InputPlan

STEP_FILE, STATE_FILE, PLAN_FILE = "failure.json", "state.ckpt", "plan.json"
_INPUTS = TypeAdapter(dict[str, InputPlan])


class FailedStep(BaseModel):
    """A step whose loss or gradient was not finite, and what it takes to compute it again bit for bit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    """Optimiser steps taken before it."""
    loss: str
    """As :meth:`float.hex` writes it, which is exact."""
    gradient_norm: str
    """Likewise, before clipping."""
    embedding_sha256: str
    """Of the embedding of the first view, all rows of this process; empty where the objective gives none."""
    device: str
    precision: Precision
    num_threads: int
    """Of torch on the CPU: more of them add up in another order."""
    accumulate_batches: int
    world_size: int
    rows: tuple[str, ...]
    """Names of the rows of the first process, in the order of the batch."""


@dataclass(frozen=True)
class FailureFolder:
    """Where a step that failed is written down.

    Attributes:
        path: The folder; an older failure there is replaced.
        card: Makes the model's card as it is at a step.
        files: Name and text of further files.
    """

    path: Path
    card: Callable[[int], ModelCard]
    files: Mapping[str, str]

    def write(self, failed: FailedStep, batch: Batch, state: Mapping[str, Any], rank: int) -> None:
        """Write the folder; every process calls it, and where one cannot write, none waits for it.

        Args:
            failed: What failed.
            batch: Rows of this process.
            state: Weights and optimiser before the step; that of the first process is written.
            rank: Number of this process.

        Raises:
            OSError: If this process or another one could not write.
        """
        partial = self.path.with_name(self.path.name + ".partial")
        with _together():
            if rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
        with _together():
            save_batch(batch, partial / f"batch-{rank}.npz")
        with _together():
            if rank == 0:
                torch.save(dict(state), partial / STATE_FILE)
                for name, text in {**self.files, STEP_FILE: failed.model_dump_json(indent=2) + "\n"}.items():
                    (partial / name).write_text(text)
                shutil.rmtree(self.path, ignore_errors=True)
                os.replace(partial, self.path)  # noqa: PTH105 - Path.replace says nothing about folders


@contextmanager
def _together() -> Iterator[None]:
    """End when all processes have ended the block, and fail where any has failed.

    Raises:
        OSError: If the block failed on this process or on another one.
    """
    own: OSError | None = None
    try:
        yield
    except OSError as error:
        own = error
    if any_rank(own is not None):
        raise own or OSError("another process could not write its part")


def save_batch(batch: Batch, path: Path) -> None:
    """Write a batch as a numpy archive without pickles."""
    arrays: dict[str, NDArray[Any]] = {
        "row_ids": batch.row_ids,
        "place": np.array([batch.first, batch.global_size]),
        **{f"labels/{name}": column for name, column in batch.labels.items()},
    }
    for number, share in enumerate(batch.shares):
        own = {"survey": np.array(share.survey), "places": share.places, "images": _on_cpu(share.images)}
        if share.mask is not None:
            own["mask"] = _on_cpu(share.mask)
        own |= {f"meta/{name}": values for name, values in share.meta.items()}
        arrays |= {f"share-{number:04d}/{name}": values for name, values in own.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its stubs take the arrays for other arguments


def _on_cpu(pixels: NDArray[np.generic] | Tensor) -> NDArray[np.generic]:
    return pixels.cpu().numpy() if isinstance(pixels, Tensor) else pixels


def load_batch(path: Path) -> Batch:
    """Read what :func:`save_batch` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    prefixes = sorted({name.split("/")[0] for name in arrays if name.startswith("share-")})
    first, global_size = arrays["place"].tolist()
    shares = tuple(_share(_under(arrays, prefix)) for prefix in prefixes)
    return Batch(shares, arrays["row_ids"], first, global_size, _under(arrays, "labels"))


def _share(own: Mapping[str, NDArray[Any]]) -> Share:
    return Share(str(own["survey"]), own["images"], own.get("mask"), own["places"], _under(own, "meta"))


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the arrays whose name begins with ``prefix/``, without it."""
    return {name.removeprefix(f"{prefix}/"): values for name, values in arrays.items() if name.startswith(f"{prefix}/")}


def describe_plan(plan: Plan) -> str:
    """Return as JSON what a plan says of the way from pixels and labels to the objective."""
    labels = None
    if plan.labels is not None:
        questions = [[question.start, question.stop] for question in plan.labels.questions]
        labels = {"kind": plan.labels.kind, "names": plan.labels.names, "questions": questions}
    inputs = _INPUTS.dump_python(dict(plan.inputs), mode="json")
    return json.dumps({"inputs": inputs, "labels": labels}, indent=2) + "\n"


def read_plan(text: str) -> tuple[dict[str, InputPlan], Labels | None]:
    """Return the inputs by survey, and what the labels are, as :func:`describe_plan` wrote them."""
    given = json.loads(text)
    inputs = {
        name: replace(own, stretch=tuple(own.stretch)) for name, own in _INPUTS.validate_python(given["inputs"]).items()
    }
    labels = given["labels"]
    if labels is None:
        return inputs, None
    questions = tuple(slice(*question) for question in labels["questions"])
    return inputs, Labels(labels["kind"], tuple(labels["names"]), questions)
