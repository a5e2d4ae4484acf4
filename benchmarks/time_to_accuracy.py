"""Error of a linear probe with 145 labels against the time of pretraining: BYOL of ours and of lightly, on MiraBest.

Usage: ``python benchmarks/time_to_accuracy.py [--epochs 40] [--seed 0] [--json]``

Both train the same ResNet-18 with the same heads, optimiser, batch and tau on the centre 70 px (126 arcsec) of the
training images, on two cores: ours as the recipes for two cores do (views; bf16-mixed where the processor multiplies
bfloat16), lightly as it documents (see ``lightly_byol.py``; float32). Now and then each stops its clock, and the
encoder is judged: from each of ten draws of 145 labels among the Confident training sources a linear probe is fitted,
and the other Confident *training* sources are classified; the test set stays shut. The time to an error is that of the
first of two judgements in a row at or below it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightly_byol import LightlyBYOL, Pictures, batches, seconds_of_steps
from real_pictures import SETS
from torch import nn

from astrofm.data.labels import draw_labels, task_labels
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.encoders.build import EncoderConfig, build_encoder, embed_dim_of
from astrofm.listener import StepInfo
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.optimizer import OptimizerConfig, build_optimizer
from astrofm.parts import build_view
from astrofm.plan import input_plan, rows_of_splits
from astrofm.processor import has_bfloat16
from astrofm.recipe import NamedPart
from astrofm.retrieval.embed import embed
from astrofm.training import fit
from astrofm.transfer.linear import fit_linear_probe
from astrofm.transfer.tasks import find_task
from astrofm.views.pipeline import CoarseStart, ViewPipeline

SIZE_PIX, WINDOW_PIX, FIELD_OF_VIEW_ARCSEC = 64, 70, 126.0
COARSE_PIX, COARSE_FRACTION = 32, 0.6
BATCH, TAU = 64, 0.99
HEADS = BYOLConfig(hidden_dim=1024, out_dim=256, tau_start=TAU, tau_schedule="constant")
OPTIMIZER = OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.01, schedule="constant")
VIEWS = (
    NamedPart(name="rotate"),
    NamedPart(name="flip"),
    NamedPart(name="zoom", settings={"scale": [0.6, 1.0]}),
    NamedPart(name="jitter", settings={"brightness": 0.4, "contrast": 0.4, "p": 0.8}),
)
NUM_LABELS, NUM_DRAWS = 145, 10

Curve = list[tuple[float, float]]
"""Seconds of training, and error."""


class Judge:
    """Judges an encoder now and then, while the clock stands still.

    Args:
        store: With the task.
        every_steps: Steps from one judgement to the next.
    """

    def __init__(self, store: CutoutStore, every_steps: int) -> None:
        labels = task_labels(store.catalog, find_task(store.card, None))
        train = rows_of_splits(store, ("train",))
        self.rows = train[labels[train] >= 0]
        self.labels = labels[self.rows]
        self.store = store
        self.every_steps = every_steps
        self.pipeline = pipeline_of(store, ())
        self.curve: Curve = []

    def error(self, encoder: nn.Module) -> float:
        """Return the mean error over the draws."""
        feed = Feed(self.store.card.name, self.store, self.rows)
        loader = Loader((feed,), 256, 0, shuffle=False, drop_last=False)
        features = embed(encoder, loader, self.pipeline, "cpu")
        errors = []
        for seed in range(NUM_DRAWS):
            drawn = draw_labels(self.labels, NUM_LABELS, seed, of="the training split")
            others = np.setdiff1d(np.arange(len(self.rows)), drawn)
            probe = fit_linear_probe(features[drawn], self.labels[drawn], num_classes=2, seed=seed)
            errors.append(float((probe.predict(features[others]) != self.labels[others]).mean()))
        return float(np.mean(errors))


def main() -> None:
    """Run both and print their curves, and the times to reach the same error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--every-epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        store = SETS["radio"].store(Path(folder))
        rows = rows_of_splits(store, ("train",))
        steps = len(rows) // BATCH
        curves = {}
        for name, train in (("ours, coarse start", train_coarse), ("ours", train_ours), ("lightly", train_lightly)):
            judge = Judge(store, asked.every_epochs * steps)
            train(store, rows, asked.epochs * steps, asked.seed, judge)
            curves[name] = judge.curve
    result = compared(curves)
    if asked.json:
        print(json.dumps(result))
        return
    for name, curve in curves.items():
        print(name, *(f"{seconds:.0f} s {error:.1%}" for seconds, error in curve), sep="   ")
    for row in result["same error"]:
        print(row)


def pipeline_of(
    store: CutoutStore,
    views: tuple[NamedPart, ...],
    num_views: int = 1,
    seed: int = 0,
    coarse: CoarseStart | None = None,
) -> ViewPipeline:
    """Return the pipeline of the centre of the images."""
    return ViewPipeline(
        {store.card.name: input_plan(store)},
        [build_view(part) for part in views],
        num_views=num_views,
        size_pix=SIZE_PIX,
        field_of_view_arcsec=FIELD_OF_VIEW_ARCSEC,
        seed=seed,
        coarse=coarse,
    )


class _Clock:
    """Listens to our steps; the time of a judgement does not count."""

    def __init__(self, judge: Judge, encoder: nn.Module) -> None:
        self.judge, self.encoder = judge, encoder
        self.start, self.paused = time.perf_counter(), 0.0

    def on_step(self, info: StepInfo) -> None:
        now = time.perf_counter()
        if info.step % self.judge.every_steps == 0:
            self.judge.curve.append((now - self.start - self.paused, self.judge.error(self.encoder)))
            self.paused += time.perf_counter() - now


def train_coarse(store: CutoutStore, rows: np.ndarray[Any, Any], num_steps: int, seed: int, judge: Judge) -> None:
    """Train with our loop, the first steps on fewer pixels."""
    train_ours(store, rows, num_steps, seed, judge, CoarseStart(COARSE_PIX, round(COARSE_FRACTION * num_steps)))


def train_ours(
    store: CutoutStore,
    rows: np.ndarray[Any, Any],
    num_steps: int,
    seed: int,
    judge: Judge,
    coarse: CoarseStart | None = None,
) -> None:
    """Train with our loop."""
    torch.manual_seed(seed)
    encoder = build_encoder(EncoderConfig(name="resnet18"), 1, seed=seed)
    objective = BYOL(HEADS, encoder, embed_dim_of(encoder))
    fit(
        objective,
        pipeline_of(store, VIEWS, objective.num_views, seed, coarse),
        Loader((Feed(store.card.name, store, rows),), BATCH, seed),
        OPTIMIZER,
        num_steps=num_steps,
        precision="bf16-mixed" if has_bfloat16() else "32-true",
        listeners=[_Clock(judge, encoder)],
    )


def train_lightly(store: CutoutStore, rows: np.ndarray[Any, Any], num_steps: int, seed: int, judge: Judge) -> None:
    """Train with lightly's parts."""
    torch.manual_seed(seed)
    encoder = build_encoder(EncoderConfig(name="resnet18"), 1, seed=seed)
    model = LightlyBYOL(encoder, embed_dim_of(encoder), HEADS.hidden_dim, HEADS.out_dim)
    margin = (store.shape[-1] - WINDOW_PIX) // 2
    centre = np.ascontiguousarray(store.read(rows)[:, 0, margin : margin + WINDOW_PIX, margin : margin + WINDOW_PIX])
    plan = input_plan(store)
    ends: list[float] = []

    def after_step(step: int) -> None:
        if step % judge.every_steps == 0:
            judge.curve.append((0.0, judge.error(encoder)))

    ends = seconds_of_steps(
        model,
        batches(Pictures(centre, SIZE_PIX, plan.mean[0], plan.std[0]), BATCH),
        build_optimizer(OPTIMIZER, [[p for p in model.parameters() if p.requires_grad]]),
        num_steps,
        device="cpu",
        is_bf16=False,
        tau=TAU,
        after_step=after_step,
    )
    seconds = ends[judge.every_steps - 1 :: judge.every_steps]
    judge.curve[:] = [(end, error) for end, (_, error) in zip(seconds, judge.curve, strict=True)]


def compared(curves: dict[str, Curve]) -> dict[str, Any]:
    """Return the curves, and the times to each error that lightly and one of ours reach."""
    levels = sorted({round(error, 2) for curve in curves.values() for _, error in curve}, reverse=True)
    rows = []
    for level in levels:
        times = {name: time_to(curve, level) for name, curve in curves.items()}
        other = times["lightly"]
        if other is None:
            continue
        row: dict[str, Any] = {"error": level, "lightly_s": round(other)}
        for name, reached in times.items():
            if name != "lightly" and reached is not None:
                row |= {f"{name}_s": round(reached), f"ratio of {name}": round(other / reached, 2)}
        rows.append(row)
    return {"curves": curves, "same error": rows}


def time_to(curve: Curve, level: float) -> float | None:
    """Return when two judgements in a row first were at or below an error; None: never."""
    for (seconds, error), (_, after) in pairwise(curve):
        if error <= level and after <= level:
            return seconds
    return None


if __name__ == "__main__":
    main()
