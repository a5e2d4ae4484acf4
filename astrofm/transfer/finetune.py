"""Fine-tuning: the whole encoder and a new head, trained on a few labels.

The protocol follows arXiv 2305.16127 (AdamW, cosine, label smoothing 0.1, BatchNorm and Linear as head, rotation,
flips and a mild crop) with two differences: the loss takes logits where the published code takes a softmax twice, and
every layer is trained, the stem included. Pretrained and random encoders are trained by the same protocol.
"""

from __future__ import annotations

__all__ = ["FinetuneConfig", "LabelledData", "finetune"]

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from astrofm.contract import InputContract
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.encoders.build import embed_dim_of, initialised
from astrofm.encoders.orientations import OrientationMean
from astrofm.errors import DataError, RecipeError, in_one_line
from astrofm.heads.classes import ClassHead
from astrofm.objectives.supervised import Supervised
from astrofm.optimizer import OptimizerConfig, Precision
from astrofm.parts import build_view
from astrofm.plan import input_plan, make_pipeline
from astrofm.processor import precision_on
from astrofm.recipe import NamedPart, apply_change
from astrofm.retrieval.embed import embed
from astrofm.training import fit, layers_of, steps_of
from astrofm.transfer.linear import LinearProbe, fit_linear_probe
from astrofm.views.pipeline import ViewPipeline

DEFAULT_VIEWS = (
    NamedPart(name="rotate"),
    NamedPart(name="flip"),
    NamedPart(name="zoom", settings={"scale": [0.9, 1.0]}),
)


class FinetuneConfig(BaseModel):
    """Settings of fine-tuning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=60, gt=0)
    batch_size: int = Field(default=32, gt=1)
    """Labels a step; where there are fewer, all of them."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-3, weight_decay=0.05, layer_decay=1.0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    head: Literal["untrained", "probe"] = "untrained"
    """``probe``: the head starts as the linear probe of the encoder and the same labels, which spares the encoder the
    gradients of a head that knows nothing (Kumar et al. 2022, arXiv 2202.10054)."""
    precision: Precision | Literal["auto"] = "32-true"
    """Of training, ``auto`` as in a recipe; the test rows are always classified in float32."""
    views: tuple[NamedPart, ...] = DEFAULT_VIEWS

    @classmethod
    def with_changes(cls, changes: Sequence[str]) -> Self:
        """Return the defaults with some settings changed, each as ``optimizer.learning_rate=3e-4``.

        Raises:
            RecipeError: If a key is misspelt or a value of the wrong kind.
        """
        given = cls().model_dump(mode="json")
        for change in changes:
            apply_change(given, change)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise RecipeError(f"fine-tuning settings: {in_one_line(error)}") from error


@dataclass(frozen=True)
class LabelledData:
    """Rows of a store and the class of each.

    Attributes:
        store: The store.
        rows: Shape: (n,).
        labels: Class of each row. Shape: (n,).
    """

    store: CutoutStore
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def survey(self) -> str:
        """Name of the survey."""
        return self.store.card.name

    def take(self, chosen: NDArray[np.int64]) -> LabelledData:
        """Return some of the rows, by place."""
        return LabelledData(self.store, self.rows[chosen], self.labels[chosen])

    def in_order(self, batch_size: int = 256) -> Loader:
        """Return a loader over the rows in their order."""
        return Loader((Feed(self.survey, self.store, self.rows),), batch_size, 0, shuffle=False, drop_last=False)

    def plain_pipeline(self, contract: InputContract) -> ViewPipeline:
        """Return the pipeline without augmentation that leads to a contract's input."""
        return make_pipeline(contract, {self.survey: input_plan(self.store)}, (), 1, 0)


def finetune(
    encoder: nn.Module,
    contract: InputContract,
    train: LabelledData,
    test: LabelledData,
    *,
    num_classes: int,
    config: FinetuneConfig,
    seed: int,
    device: str = "cpu",
    orientations: int = 1,
) -> NDArray[np.int64]:
    """Train an encoder and a head on labels, and classify the test rows.

    Args:
        encoder: Trained in place.
        contract: What the encoder may be fed.
        train: Labelled training rows.
        test: Test rows; their labels are not looked at.
        num_classes: Number of classes.
        config: Protocol.
        seed: Seed of the head, the order and the views.
        device: ``cpu``, ``cuda`` or ``mps``.
        orientations: Orientations of a test row, 1, 4 or 8, whose class probabilities are averaged.

    Returns:
        Predicted class of each test row. Shape: (n,).

    Raises:
        DataError: If there is a single label, over which batch norm has no spread.
    """
    if len(train.rows) < 2:
        raise DataError(f"fine-tuning was asked for with {len(train.rows)} label and needs 2 at least")
    head = initialised(lambda: ClassHead(embed_dim_of(encoder), num_classes, config.label_smoothing), seed)
    if config.head == "probe":
        features = embed(encoder.to(device), train.in_order(), train.plain_pipeline(contract), device)
        _start_as(head, fit_linear_probe(features, train.labels, num_classes=num_classes, seed=seed))
    objective = Supervised(encoder, head)
    batch_size = min(config.batch_size, len(train.rows))
    labels: Mapping[str, NDArray[np.int64]] = {"label": train.labels}
    loader = Loader((Feed(train.survey, train.store, train.rows, labels),), batch_size, seed)
    views = [build_view(part) for part in config.views]
    inputs = {train.survey: input_plan(train.store)}
    fit(
        objective,
        make_pipeline(contract, inputs, views, 1, seed),
        loader,
        config.optimizer,
        num_steps=steps_of(loader, config.epochs, None),
        layers=partial(layers_of, objective),
        device=device,
        precision=precision_on(device, config.precision),
    )
    predicted = _predict(objective, contract, test, device, orientations)
    gc.collect()  # trainer and network point at each other: without this, many fits pile up in memory
    return predicted


def _start_as(head: ClassHead, probe: LinearProbe) -> None:
    """Give a head the weights of a probe: in evaluation mode it has the probe's logits.

    A class without a label has a probability of 0 in the probe, which no loss can learn from; here it begins as the
    least probable class does that has one.
    """
    norm, linear = head.layers
    assert isinstance(norm, nn.BatchNorm1d)
    assert isinstance(linear, nn.Linear)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance = np.divide(1.0, probe.inverse_std**2, out=np.ones_like(probe.mean), where=probe.inverse_std > 0)
    bias = np.where(np.isfinite(probe.bias), probe.bias, probe.bias[np.isfinite(probe.bias)].min())
    with torch.no_grad():
        norm.running_mean.copy_(torch.from_numpy(probe.mean))
        norm.running_var.copy_(torch.from_numpy(variance))
        linear.weight.copy_(torch.from_numpy(probe.weights.T))
        linear.bias.copy_(torch.from_numpy(bias))


def _predict(
    objective: Supervised, contract: InputContract, data: LabelledData, device: str, orientations: int
) -> NDArray[np.int64]:
    pipeline = data.plain_pipeline(contract)
    probabilities = nn.Sequential(objective.encoder, objective.head, nn.Softmax(dim=1))
    classifier = OrientationMean(probabilities, orientations).eval().to(device)
    classes: NDArray[np.int64] = embed(classifier, data.in_order(), pipeline, device).argmax(axis=1)
    return classes
