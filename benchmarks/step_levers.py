"""What each lever gives one BYOL step on a batch held in memory: ResNet-18, 64 px, batch 128.

Usage: ``python benchmarks/step_levers.py [--rounds 5] [--device cuda] [--json]``

Every row is forward, backward, optimiser and target network, as the training loop makes them, with some levers pulled:
channels last, small maps as products of matrices (on a CPU), bfloat16 autocast (where the processor computes in it), a
fused optimiser, both views through the online network at once (which gives batch norm the statistics of both, so the
numbers change), the target moved by one foreach call, and compiled encoders. The rows take turns; each figure is the
median over the rounds of the ratio to the plain float32 step of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from statistics import median

import torch
from torch import Tensor, nn

from astrofm.encoders.build import EncoderConfig, build_encoder, embed_dim_of
from astrofm.encoders.small_maps import multiply_small_maps
from astrofm.objectives.byol import BYOL, BYOLConfig, byol_loss
from astrofm.processor import has_bfloat16
from astrofm.views.base import Views

STEPS = 3
"""Steps of a row in a round; the quickest counts."""


@dataclass(frozen=True)
class Levers:
    """What is pulled in one row."""

    channels_last: bool = False
    small_maps: bool = False
    bf16: bool = False
    fused_optimizer: bool = False
    one_forward: bool = False
    foreach_target: bool = False
    compiled: bool = False


ARRANGED = Levers(channels_last=True, small_maps=True)
ROWS = {
    "float32": Levers(),
    "float32, channels last": Levers(channels_last=True),
    "  and small maps as products": ARRANGED,
    "    and a fused optimiser": replace(ARRANGED, fused_optimizer=True),
    "    and one forward for both views": replace(ARRANGED, one_forward=True),
    "    and the target by foreach": replace(ARRANGED, foreach_target=True),
    "    and compiled encoders": replace(ARRANGED, compiled=True),
    "    and bfloat16": replace(ARRANGED, bf16=True),
    "    and bfloat16, compiled encoders": replace(ARRANGED, bf16=True, compiled=True),
}


def main() -> None:
    """Run the benchmark and print images a second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size-pix", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    levers = [lever.name for lever in fields(Levers)]
    parser.add_argument("--without", nargs="*", default=[], choices=levers, help="levers to leave alone")
    parser.add_argument("--bfloat16", action="store_true", help="also where the processor does not compute in it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    if asked.device == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        torch.set_num_threads(2)
    if asked.device == "cpu" and not asked.bfloat16 and not has_bfloat16():
        asked.without = [*asked.without, "bf16"]
    rows = {name: own for name, own in ROWS.items() if not any(getattr(own, lever) for lever in asked.without)}
    steps = {name: make_step(levers, asked) for name, levers in rows.items()}
    seconds: list[dict[str, float]] = []
    for number in range(asked.rounds + 1):
        taken = {name: min(_timed(step, asked.device) for _ in range(STEPS)) for name, step in steps.items()}
        if number > 0:  # the first one compiles and allocates
            seconds.append(taken)
    table = {
        name: {
            "images per second": round(median(asked.batch_size / taken[name] for taken in seconds), 1),
            "ratio": round(median(taken["float32"] / taken[name] for taken in seconds), 2),
        }
        for name in rows
    }
    if asked.json:
        print(json.dumps(table))
        return
    for name, row in table.items():
        print(f"{name:36s} {row['images per second']:8.1f} images/s   {row['ratio']:.2f}x")


def make_step(levers: Levers, asked: argparse.Namespace) -> Callable[[], None]:
    """Return a function that takes one step of a new network."""
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(name=asked.encoder), 3)
    objective = BYOL(BYOLConfig(hidden_dim=1024, out_dim=256), encoder, embed_dim_of(encoder)).to(asked.device).train()
    if levers.channels_last:
        objective.to(memory_format=torch.channels_last)
    if levers.small_maps:
        multiply_small_maps(objective)
    if levers.compiled:
        objective.encoder.compile()
        objective.target.network[0].compile()
    optimizer = torch.optim.SGD(
        [weights for weights in objective.parameters() if weights.requires_grad],
        lr=0.03,
        momentum=0.9,
        fused=levers.fused_optimizer,
    )
    shape = (asked.batch_size, 3, asked.size_pix, asked.size_pix)
    images = (torch.randn(shape, device=asked.device), torch.randn(shape, device=asked.device))
    views = Views(images, torch.arange(asked.batch_size))

    def step() -> None:
        with torch.autocast(torch.device(asked.device).type, torch.bfloat16, enabled=levers.bf16):
            loss = _both_at_once(objective, images) if levers.one_forward else objective(views, 0).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if levers.foreach_target:
            _move_by_foreach(objective)
        else:
            objective.after_step(1, 100)
        loss.item()

    return step


def _both_at_once(objective: BYOL, images: tuple[Tensor, Tensor]) -> Tensor:
    both = torch.cat(images)
    predictions = objective.predictor(objective.projector(objective.encoder(both))).chunk(2)
    targets = objective.target(both).chunk(2)
    return (byol_loss(predictions[0], targets[1]) + byol_loss(predictions[1], targets[0])) / 2.0


@torch.no_grad()
def _move_by_foreach(objective: BYOL) -> None:
    online = list(nn.Sequential(objective.encoder, objective.projector).parameters())
    torch._foreach_lerp_(list(objective.target.parameters()), online, 0.004)


def _timed(step: Callable[[], None], device: str) -> float:
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
