"""What an encoder is measured on: labelled rows to learn from and to classify, in one of several ways."""

from __future__ import annotations

__all__ = ["MODES", "NUM_NEIGHBOURS", "Arm", "Bench", "Features", "check_modes", "pretrained_arm", "random_arm"]

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from astrofm.contract import InputContract
from astrofm.encoders.orientations import OrientationMean
from astrofm.errors import UsageError
from astrofm.parts import NamedEncoder
from astrofm.retrieval.embed import embed
from astrofm.transfer.finetune import FinetuneConfig, LabelledData, finetune
from astrofm.transfer.knn import knn_predict
from astrofm.transfer.linear import fit_linear_probe

MODES = ("linear", "knn", "finetune")
NUM_NEIGHBOURS = 20

Features = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Embeddings of the training rows and of the test rows. Shape of each: (rows, embed_dim)."""


def check_modes(modes: Sequence[str]) -> None:
    """Refuse modes that do not exist.

    Raises:
        UsageError: If there is none, or one is not in ``MODES``.
    """
    unknown = sorted(set(modes) - set(MODES))
    if unknown or not modes:
        raise UsageError(f"no mode named {', '.join(unknown) or '(empty)'}; known: {', '.join(MODES)}, all")


@dataclass(frozen=True)
class Arm:
    """One source of encoders: the same for every seed, or a new random one for each."""

    init: Literal["pretrained", "random"]
    make: Callable[[int], nn.Module]
    is_same_for_all_seeds: bool


def pretrained_arm(encoder: nn.Module) -> Arm:
    """Return copies of an encoder, which stays as it is."""
    return Arm("pretrained", lambda seed: copy.deepcopy(encoder), True)


def random_arm(encoder: NamedEncoder, num_channels: int) -> Arm:
    """Return untrained encoders of an architecture."""
    return Arm("random", lambda seed: encoder.build(num_channels, seed), False)


@dataclass(frozen=True)
class Bench:
    """What every arm and mode is measured on.

    Attributes:
        contract: What the encoders may be fed.
        train: Labelled training rows, of which each seed takes some.
        test: Rows to classify.
        num_classes: Number of classes.
        finetune_config: Protocol of fine-tuning.
        device: ``cpu``, ``cuda`` or ``mps``.
        orientations: Orientations that are averaged over, see :class:`OrientationMean`: the embeddings of training
            and test rows, and the class probabilities of the fine-tuned networks.
    """

    contract: InputContract
    train: LabelledData
    test: LabelledData
    num_classes: int
    finetune_config: FinetuneConfig
    device: str
    orientations: int = 1

    def embed(self, encoder: nn.Module) -> Features:
        """Return what an encoder makes of the training rows and of the test rows."""
        averaged = OrientationMean(encoder, self.orientations).to(self.device)
        train, test = (
            embed(averaged, data.in_order(), data.plain_pipeline(self.contract), self.device)
            for data in (self.train, self.test)
        )
        return train, test

    def predict(
        self, arm: Arm, mode: str, features: Features | None, draw: NDArray[np.int64], seed: int
    ) -> NDArray[np.int64]:
        """Learn from some of the training rows and classify the test rows.

        Args:
            arm: Makes the encoder.
            mode: One of ``MODES``.
            features: From :meth:`embed`; not needed for ``finetune``.
            draw: Places of the labels among the training rows.
            seed: Of the encoder and of what is drawn while it learns.

        Returns:
            Class of each test row.
        """
        labels = self.train.labels[draw]
        if mode == "finetune":
            return finetune(
                arm.make(seed),
                self.contract,
                self.train.take(draw),
                self.test,
                num_classes=self.num_classes,
                config=self.finetune_config,
                seed=seed,
                device=self.device,
                orientations=self.orientations,
            )
        assert features is not None
        bank, queries = features[0][draw], features[1]
        if mode == "linear":
            return fit_linear_probe(bank, labels, num_classes=self.num_classes, seed=seed).predict(queries)
        k = min(NUM_NEIGHBOURS, len(draw))
        return knn_predict(bank, labels, queries, k=k, num_classes=self.num_classes)
