"""What a transfer found: one row for each way to use an encoder, and the file it goes into."""

from __future__ import annotations

__all__ = ["TransferReport", "TransferRow", "write_report"]

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class TransferRow:
    """Error of one way to use an encoder.

    Attributes:
        init: Where the encoder's weights come from.
        mode: ``linear``, ``knn`` or ``finetune``.
        error_mean: Share of test objects classified wrongly, mean over seeds.
        error_sem: Standard error of that mean over seeds; None with one seed.
        error_ci95: 95% interval, bootstrapped over seeds and test objects.
        n_test: Number of test objects.
        difference_to_random: Error minus that of the same mode from random weights; None for the random rows.
        difference_ci95: Its 95% interval, from the same resamples of both.
        errors: Error of each seed.
    """

    init: Literal["pretrained", "random"]
    mode: str
    error_mean: float
    error_sem: float | None
    error_ci95: tuple[float, float]
    n_test: int
    difference_to_random: float | None
    difference_ci95: tuple[float, float] | None
    errors: tuple[float, ...]


@dataclass(frozen=True)
class TransferReport:
    """Outcome of a transfer; fractions, not percent."""

    survey: str
    train_survey: str
    task: str
    classes: tuple[str, ...]
    labels: int
    seeds: int
    orientations: int
    """That embeddings and class probabilities were averaged over."""
    model: str | None
    model_step: int | None
    mock: bool
    overrides: tuple[str, ...]
    """What was accepted against the input contract, and by whom."""
    left_out: int
    """Training rows of another survey that were left out because a test source lies at the same place."""
    commonest_class: str
    """Of the training rows that labels are drawn from."""
    commonest_class_error: float
    """Test error of whoever always answers with that class: what must be undercut to have learnt anything."""
    rows: tuple[TransferRow, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)


def write_report(report: TransferReport, out: Path) -> Path:
    """Write the report as ``transfer.json`` in a folder, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "transfer.json"
    file.write_text(json.dumps(report.to_json(), indent=2) + "\n")
    return file
