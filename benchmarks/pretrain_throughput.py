"""BYOL pretraining, images a second through the optimiser step, against lightly's BYOL and against the bare step.

Usage: ``python benchmarks/pretrain_throughput.py [--data galaxies radio] [--json]``, and on a GPU
``... --device cuda --size-pix 224 --encoder resnet50 --compile --capture --workers 2 16 --warm 10 --steps 30``

Three ways to train the same network (ResNet-18, 64 px, batch 128, heads of 1024 and 256) on the same real pictures:

- ``ours``: ``astrofm.pretrain`` whole, from a store in memory: loader, views, Lightning, checkpoints, metrics;
- ``lightly``: the documented BYOL recipe of lightly 1.6, see ``lightly_byol.py``, from JPEG files or 8-bit images;
- ``bare step``: our objective in a loop of forward, backward, optimiser and target, on one batch held in memory.

Each in float32 and, where the processor or GPU computes in it, under autocast to bfloat16. ``ratio_to_lightly`` is
ours in the quickest precision over lightly in float32, as it ships; the goal is 2; the ratios at equal precision are
printed beside it. ``share_of_bare_step`` is at equal precision, the smallest; the goal is 0.9. The runs take turns; the
median of the rounds counts, and each begins to count when it is warm. Progressive resolution plays no part. On a GPU
``flops_of_peak`` is the arithmetic of our training over what the same GPU reaches in one product of large matrices.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lightly_byol import LightlyBYOL, Pictures, batches, seconds_of_steps
from real_pictures import SETS, RealSet
from torch.utils.flop_counter import FlopCounterMode

from astrofm.capture import CapturedObjective
from astrofm.data.store import CutoutStore
from astrofm.encoders.arrange import arrange
from astrofm.encoders.build import EncoderConfig, build_encoder, embed_dim_of
from astrofm.encoders.compiled import compile_networks
from astrofm.listener import StepInfo
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.optimizer import OptimizerConfig, build_optimizer
from astrofm.pretrain import pretrain
from astrofm.processor import has_bfloat16
from astrofm.recipe import Recipe
from astrofm.views.base import Views

HIDDEN_DIM, OUT_DIM = 1024, 256
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
OPTIMIZER = OptimizerConfig(name="sgd", learning_rate=0.06)

Rates = dict[str, dict[str, float]]
"""Images a second, by way of training and precision."""


def main() -> None:
    """Run the benchmark and print rates and ratios."""
    asked = asked_for(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    if asked.device == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        torch.set_num_threads(2)
    if asked.precisions is None:
        asked.precisions = list(PRECISIONS) if asked.device != "cpu" or has_bfloat16() else ["float32"]
    with tempfile.TemporaryDirectory() as folder:
        results = {name: _compared(_measured(SETS[name], asked, Path(folder))) for name in asked.data}
    smallest = {
        key: min(result[key] for result in results.values()) for key in ("ratio_to_lightly", "share_of_bare_step")
    }
    for name in asked.data if asked.device.startswith("cuda") and "bfloat16" in asked.precisions else ():
        results[name]["flops_of_peak"] = _flops_of_peak(len(SETS[name].channels), results[name], asked)
    if asked.json:
        print(json.dumps({**smallest, "data": results}))
        return
    for name, result in results.items():
        print(name)
        for what, value in result.items():
            print(f"  {what}: {value}")


def asked_for(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser.add_argument("--data", nargs="+", choices=sorted(SETS), default=sorted(SETS))
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size-pix", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each run")
    parser.add_argument("--warm", type=int, default=3, help="steps of each run before them, which do not count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--workers", nargs="+", type=int, default=[2], help="of lightly's loader; the ratios are to the first"
    )
    parser.add_argument("--compile", action="store_true", help="the networks of ours and of the bare step")
    parser.add_argument("--capture", action="store_true", help="the step of ours and the bare one, as a CUDA graph")
    parser.add_argument("--no-lightly", action="store_true", help="only ours and the bare step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", choices=sorted(PRECISIONS), help="default: those it computes in")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def _measured(chosen: RealSet, asked: argparse.Namespace, folder: Path) -> list[Rates]:
    """Return the rates of every round."""
    store = chosen.store(folder)
    pictures = Pictures(chosen.pictures(store), asked.size_pix)
    ways: dict[str, Callable[[str], Iterable[float]]] = {
        "ours": lambda precision: _ours(chosen, store, precision, asked, folder),
        "lightly": partial(_lightly, pictures, len(chosen.channels), asked, asked.workers[0]),
        "bare step": lambda precision: _bare(len(chosen.channels), precision, asked),
    }
    if asked.no_lightly:
        del ways["lightly"]
    for workers in [] if asked.no_lightly else asked.workers[1:]:
        ways[f"lightly, {workers} workers"] = partial(_lightly, pictures, len(chosen.channels), asked, workers)
    rounds = []
    for _ in range(asked.rounds):
        rates: Rates = {way: {} for way in ways}
        for precision in asked.precisions:
            for way, run in ways.items():
                ends = list(run(precision))
                rates[way][precision] = asked.batch_size * asked.steps / (ends[-1] - ends[asked.warm - 1])
        rounds.append(rates)
    return rounds


def _compared(rounds: list[Rates]) -> dict[str, Any]:
    """Return the medians over the rounds of all rates, and of the ratios within a round."""

    def ratio(way: str, precision: str, other: str, of_other: str) -> float:
        if other not in rounds[0]:
            return math.nan
        return round(median(rates[way][precision] / rates[other][of_other] for rates in rounds), 3)

    precisions = list(rounds[0]["ours"])
    return {
        "ratio_to_lightly": max(ratio("ours", precision, "lightly", precisions[0]) for precision in precisions),
        "share_of_bare_step": min(ratio("ours", precision, "bare step", precision) for precision in precisions),
        "at equal precision": {precision: ratio("ours", precision, "lightly", precision) for precision in precisions},
        "share by precision": {precision: ratio("ours", precision, "bare step", precision) for precision in precisions},
        "images per second": {
            way: {precision: round(median(rates[way][precision] for rates in rounds), 1) for precision in precisions}
            for way in rounds[0]
        },
    }


class _Ends:
    """Remembers when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step(self, info: StepInfo) -> None:
        self.ends.append(time.perf_counter())


def recipe_of(chosen: RealSet, precision: str, asked: argparse.Namespace) -> Recipe:
    """Return the recipe of our way.

    Args:
        chosen: What it trains on.
        precision: A key of ``PRECISIONS``.
        asked: The options of this script.
    """
    return Recipe.parse(
        {
            "name": "throughput",
            "data": {
                "surveys": [{"name": chosen.survey, "splits": ["train", "val", "test"]}],
                "channels": [{"name": channel} for channel in chosen.channels],
                "size_pix": asked.size_pix,
                "field_of_view_arcsec": "unknown",
            },
            "views": list(chosen.views),
            "encoder": {"name": asked.encoder, "settings": {}},
            "objective": {"name": "byol", "settings": {"hidden_dim": HIDDEN_DIM, "out_dim": OUT_DIM}},
            "training": {
                "batch_size": asked.batch_size,
                "max_steps": asked.warm + asked.steps,
                "compile": asked.compile,
                "capture": asked.capture,
                "precision": PRECISIONS[precision],
                "optimizer": OPTIMIZER.model_dump(),
            },
        },
        "made for a benchmark",
    )


def _ours(chosen: RealSet, store: CutoutStore, precision: str, asked: argparse.Namespace, folder: Path) -> list[float]:
    ends = _Ends()
    recipe = recipe_of(chosen, precision, asked)
    with tempfile.TemporaryDirectory(dir=folder) as run:
        pretrain(recipe, {chosen.survey: store}, Path(run) / "run", device=asked.device, listeners=[ends])
    return ends.ends


def _lightly(
    pictures: Pictures, num_channels: int, asked: argparse.Namespace, workers: int, precision: str
) -> list[float]:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(name=asked.encoder), num_channels)
    model = LightlyBYOL(encoder, embed_dim_of(encoder), HIDDEN_DIM, OUT_DIM).to(asked.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=OPTIMIZER.learning_rate, momentum=OPTIMIZER.momentum)
    return seconds_of_steps(
        model,
        batches(pictures, asked.batch_size, workers),
        optimizer,
        asked.warm + asked.steps,
        device=asked.device,
        is_bf16=precision == "bfloat16",
    )


def _bare(num_channels: int, precision: str, asked: argparse.Namespace) -> list[float]:
    torch.manual_seed(0)
    objective, views = _byol(num_channels, asked)
    if asked.compile:
        compile_networks(objective)
    compute = CapturedObjective(objective) if asked.capture else objective
    optimizer = build_optimizer(OPTIMIZER, [list(objective.parameters())])
    is_bf16 = precision == "bfloat16"
    ends = []
    for step in range(asked.warm + asked.steps):
        with torch.autocast(torch.device(asked.device).type, torch.bfloat16, enabled=is_bf16, cache_enabled=False):
            loss = compute(views, step).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(step + 1, asked.warm + asked.steps)
        loss.item()  # waits for the device
        ends.append(time.perf_counter())
    return ends


def _byol(num_channels: int, asked: argparse.Namespace) -> tuple[BYOL, Views]:
    """Return our objective as training arranges it, and a batch for it."""
    encoder = build_encoder(EncoderConfig(name=asked.encoder), num_channels)
    objective = BYOL(BYOLConfig(hidden_dim=HIDDEN_DIM, out_dim=OUT_DIM), encoder, embed_dim_of(encoder))
    arrange(objective, asked.device)
    objective.to(asked.device).train()
    shape = (asked.batch_size, num_channels, asked.size_pix, asked.size_pix)
    images = (torch.randn(shape, device=asked.device), torch.randn(shape, device=asked.device))
    return objective, Views(images, torch.from_numpy(np.arange(asked.batch_size)))


def _flops_of_peak(num_channels: int, result: dict[str, Any], asked: argparse.Namespace) -> dict[str, float]:
    """Return 1e12 operations a second: of our training in bfloat16, of the card's matrix products, and the share."""
    objective, views = _byol(num_channels, asked)
    with FlopCounterMode(display=False) as counter:
        objective(views, 0).loss.backward()
    rate = result["images per second"]["ours"]["bfloat16"]
    reached = counter.get_total_flops() / asked.batch_size * rate / 1e12
    peak = _matrix_peak(asked.device) / 1e12
    return {"training": round(reached, 1), "peak": round(peak, 1), "share": round(reached / peak, 3)}


def _matrix_peak(device: str, size: int = 8192, repeats: int = 10) -> float:
    """Return operations a second of the product of two random square matrices in bfloat16."""
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    for repeat in range(repeats + 3):
        if repeat == 3:
            torch.cuda.synchronize()
            start = time.perf_counter()
        torch.matmul(matrix, matrix)
    torch.cuda.synchronize()
    return 2.0 * size**3 * repeats / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
