"""What a curve is: one row for each model, mode and number of labels."""

from __future__ import annotations

__all__ = ["CurveReport", "CurveRow"]

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class CurveRow:
    """Error of one model, or of random weights, in one mode with one number of labels; fractions, not percent.

    Attributes:
        model: Its name; of random weights that of the model with the same encoder and input.
        init: ``pretrained`` or ``random``.
        mode: ``linear``, ``knn`` or ``finetune``.
        labels: Number of training labels.
        error_mean: Mean over seeds and test objects.
        error_sem: Standard error over seeds; None with one seed.
        error_ci95: 95% interval, bootstrapped over seeds and test objects.
        n_test: Number of test objects.
        seeds: Number of seeds.
        difference_to_random: Error minus that of random weights with the same labels; None for these themselves.
        difference_ci95: Its 95% interval, from the same resamples of both.
        cutouts_seen: That the pretraining saw; 0 for random weights, None where unknown.
        encoder_flop: Floating-point operations of one forward pass of the encoder for one cutout.
    """

    model: str
    init: Literal["pretrained", "random"]
    mode: str
    labels: int
    error_mean: float
    error_sem: float | None
    error_ci95: tuple[float, float]
    n_test: int
    seeds: int
    difference_to_random: float | None
    difference_ci95: tuple[float, float] | None
    cutouts_seen: int | None
    encoder_flop: int

    @property
    def pretraining_flop(self) -> float | None:
        """Cutouts seen times one forward pass; an objective makes several passes for each, BYOL about eight."""
        return None if self.cutouts_seen is None else float(self.cutouts_seen) * self.encoder_flop


@dataclass(frozen=True)
class CurveReport:
    """A curve.

    Attributes:
        survey: Tested on.
        train_survey: That gave the labels.
        task: Of the tested survey.
        classes: Its classes.
        folds: Folds of the training split that were tested on in turn; 0: the test split was.
        orientations: That embeddings and class probabilities were averaged over.
        mock: Whether any of it is made up.
        overrides: What was accepted against an input contract, and by whom.
        left_out: Training rows of another survey that were left out because a test source lies at the same place.
        rows: In the order of models, modes and labels, pretrained before random.
    """

    survey: str
    train_survey: str
    task: str
    classes: tuple[str, ...]
    folds: int
    orientations: int
    mock: bool
    overrides: tuple[str, ...]
    left_out: int
    rows: tuple[CurveRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)
