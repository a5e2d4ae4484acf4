"""Share of a training step that waits for its batch: BYOL with a ResNet-18 on 64 px cutouts.

Usage: ``python benchmarks/wait_share.py [--device cuda] [--json]``

The training loop of ``astrofm pretrain`` runs on a store of noise, once with the store decoded in memory and once
window by window. The overall share counts everything from the first batch, which nothing can be made ahead of; the
last steps are what a long run sees. The goal is at most 0.05.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from noise_survey import SIZE_PIX, NoiseSurvey

from astrofm.contract import Channel, InputContract
from astrofm.data.ingest import ingest
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.encoders.build import EncoderConfig, build_encoder, embed_dim_of
from astrofm.listener import StepInfo
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.optimizer import OptimizerConfig
from astrofm.parts import build_view
from astrofm.plan import input_plan, make_pipeline
from astrofm.recipe import NamedPart
from astrofm.training import FitResult, fit

VIEWS = ("rotate", "flip", "zoom")


class Last:
    """Remembers what the last step reported."""

    info: StepInfo

    def on_step(self, info: StepInfo) -> None:
        self.info = info


def main() -> None:
    """Run the benchmark and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=20_000, help="cutouts in the store")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    survey = NoiseSurvey()
    shares = {}
    with tempfile.TemporaryDirectory() as folder:
        archive = survey.mock(asked.num, 0, Path(folder) / "archive")
        ingest(survey, archive, Path(folder) / "store", workers=2)
        store = CutoutStore.open(Path(folder) / "store")
        for name, limit in (("in memory", 2**32), ("by windows", 0)):
            last = Last()
            result = train(store, asked, limit, last)
            shares[name] = {
                "overall": round(result.wait_share, 4),
                "last steps": round(last.info.wait_share, 4),
                "images per second": round(last.info.images_per_second, 1),
            }
    if asked.json:
        print(json.dumps(shares))
        return
    for name, of_run in shares.items():
        print(f"{name:12s}", *(f"{what} {value}" for what, value in of_run.items()), sep="   ")


def train(store: CutoutStore, asked: argparse.Namespace, memory_limit_bytes: int, last: Last) -> FitResult:
    """Train a new network for some steps."""
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(name="resnet18"), 1)
    objective = BYOL(BYOLConfig(), encoder, embed_dim_of(encoder))
    contract = InputContract(
        channels=(Channel(name="radio", accepts=tuple(store.card.band_names)),),
        size_pix=SIZE_PIX,
        field_of_view_arcsec=float(SIZE_PIX),
        resolution_arcsec="unknown",
    )
    views = [build_view(NamedPart(name=name)) for name in VIEWS]
    pipeline = make_pipeline(contract, {store.card.name: input_plan(store)}, views, objective.num_views, 0)
    feed = Feed(store.card.name, store, np.arange(len(store)))
    loader = Loader((feed,), asked.batch_size, 0, memory_limit_bytes=memory_limit_bytes)
    optimizer = OptimizerConfig(learning_rate=1e-3)
    return fit(objective, pipeline, loader, optimizer, num_steps=asked.steps, device=asked.device, listeners=[last])


if __name__ == "__main__":
    main()
