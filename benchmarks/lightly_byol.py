"""BYOL as lightly 1.6 documents it, on the same images and encoder: what our training is measured against.

Its two transforms with blur off (as in its example for small images), a ``DataLoader`` with two workers, its heads, its
loss, its update of the momentum networks before each step. A data set decodes one picture at a time from what a user
has: JPEG files, or 8-bit images.
"""

from __future__ import annotations

__all__ = ["LightlyBYOL", "Pictures", "batches", "seconds_of_steps"]

import copy
import io
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

WORKERS = 2


class Pictures(Dataset[list[Tensor]]):
    """Two views of each picture.

    Args:
        pictures: JPEG bytes, or arrays (y, x) of uint8.
        size_pix: Side of a view.
        mean: Of one band, which ImageNet's three do not fit.
        std: Likewise.
    """

    def __init__(
        self, pictures: Sequence[bytes] | NDArray[np.uint8], size_pix: int, mean: float = 0.0, std: float = 1.0
    ) -> None:
        self.pictures = pictures
        is_grey = not isinstance(pictures[0], bytes)
        one_band = {"mean": [mean], "std": [std]}
        # One band has no colour to change.
        colour = {"cj_sat": 0.0, "cj_hue": 0.0, "random_gray_scale": 0.0, "normalize": one_band} if is_grey else {}
        self.transform = BYOLTransform(
            BYOLView1Transform(input_size=size_pix, gaussian_blur=0.0, **colour),
            BYOLView2Transform(input_size=size_pix, gaussian_blur=0.0, **colour),
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> list[Tensor]:
        picture = self.pictures[index]
        image = Image.open(io.BytesIO(picture)).convert("RGB") if isinstance(picture, bytes) else _grey(picture)
        views: list[Tensor] = self.transform(image)
        return views


def _grey(picture: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(picture)


def batches(pictures: Pictures, batch_size: int, workers: int = WORKERS) -> DataLoader[list[Tensor]]:
    """Return its loader; the workers stay from one epoch to the next, as it advises."""
    return DataLoader(pictures, batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True)


class LightlyBYOL(nn.Module):
    """Online and momentum networks out of its parts.

    Args:
        encoder: From (batch, channel, y, x) to (batch, embed_dim).
        embed_dim: Width of the embedding.
        hidden_dim: Width of the hidden layers of its heads.
        out_dim: Width of their output.
    """

    def __init__(self, encoder: nn.Module, embed_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection_head = BYOLProjectionHead(embed_dim, hidden_dim, out_dim)
        self.prediction_head = BYOLPredictionHead(out_dim, hidden_dim, out_dim)
        self.encoder_momentum = copy.deepcopy(encoder)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.encoder_momentum)
        deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Return the loss of two views, each (batch, channel, y, x)."""
        predictions = [self.prediction_head(self.projection_head(self.encoder(view).flatten(1))) for view in views]
        with torch.no_grad():
            targets = [self.projection_head_momentum(self.encoder_momentum(view).flatten(1)) for view in views]
        loss: Tensor = 0.5 * (self.criterion(predictions[0], targets[1]) + self.criterion(predictions[1], targets[0]))
        return loss

    def update_momentum(self, tau: float) -> None:
        """Move the momentum networks."""
        update_momentum(self.encoder, self.encoder_momentum, m=tau)
        update_momentum(self.projection_head, self.projection_head_momentum, m=tau)


def seconds_of_steps(
    model: LightlyBYOL,
    loader: DataLoader[list[Tensor]],
    optimizer: torch.optim.Optimizer,
    num_steps: int,
    *,
    device: str,
    is_bf16: bool,
    tau: float = 0.996,
    after_step: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Train and return when each step ended, from the first request for a batch on.

    Args:
        model: Trained in place.
        loader: Gives the views.
        optimizer: Of the model's parameters that have gradients.
        num_steps: Optimiser steps.
        device: Where the model is.
        is_bf16: Whether to compute under autocast to bfloat16.
        tau: Of the momentum networks.
        after_step: Called with the number of steps taken; its time does not count.
    """
    model.train()
    ends: list[float] = []
    paused, start = 0.0, time.perf_counter()
    for views in _endless(loader, num_steps):
        model.update_momentum(tau)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_bf16):
            loss = model([view.to(device, non_blocking=True) for view in views])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        ends.append(time.perf_counter() - start - paused)
        before = time.perf_counter()
        after_step(len(ends))
        paused += time.perf_counter() - before
    return ends


def _endless(loader: DataLoader[list[Tensor]], num_batches: int) -> Iterator[list[Tensor]]:
    done = 0
    while True:
        for views in loader:
            yield views
            done += 1
            if done == num_batches:
                return
