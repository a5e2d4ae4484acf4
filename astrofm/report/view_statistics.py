"""Numbers of what a network will see: of the cutouts as they are, and of their views."""

from __future__ import annotations

__all__ = ["PixelStatistics", "SurveyStatistics", "before_normalisation", "facts_of", "measure_views"]

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astrofm.report.view_picture import Facts

# B = batch, V = views, C = channels, S = side of the input in pixels.

PERCENTILES = (0.5, 99.5)
"""Of the pixels of a survey: what is shown darkest, and of those that are not zero: what is shown brightest."""
NUM_BINS = 100


@dataclass(frozen=True)
class PixelStatistics:
    """Of the pixels of some cutouts, after the stretch and before the normalisation, where not said otherwise.

    Attributes:
        min: Least value.
        max: Greatest value.
        mean: Mean value.
        std: Standard deviation.
        zero_share: Share of the pixels that are exactly zero.
        missing_share: Share of the pixels that are not a number; a network must never see one.
        input_mean: Mean after the normalisation, as the network sees it; it should be near 0.
        input_std: Standard deviation after the normalisation; it should be near 1.
    """

    min: float
    max: float
    mean: float
    std: float
    zero_share: float
    missing_share: float
    input_mean: float
    input_std: float


@dataclass(frozen=True)
class SurveyStatistics:
    """What is measured of one survey.

    Attributes:
        num_cutouts: Cutouts that were measured.
        plain: Of the cutouts as they are.
        views: Of their views.
        difference: Root mean square of the difference of the first two views, over the standard deviation of the plain
            cutouts; None where the objective takes one view.
        black: Value shown darkest.
        white: Value shown brightest.
    """

    num_cutouts: int
    plain: PixelStatistics
    views: PixelStatistics
    difference: float | None
    black: float
    white: float


def measure_views(plain: Tensor, views: Tensor, mean: Tensor, std: Tensor) -> SurveyStatistics:
    """Return the numbers of some cutouts of a survey.

    Args:
        plain: The cutouts without augmentation, normalised. Shape: (B, C, S, S).
        views: Their views, for each draw, normalised. Shape: (draws, V, B, C, S, S).
        mean: Of the normalisation. Shape: (C, 1, 1).
        std: Of the normalisation. Shape: (C, 1, 1).
    """
    values = before_normalisation(plain, mean, std)
    black, white = _limits(values[np.isfinite(values)])
    of_plain = _statistics(plain, mean, std)
    apart = None if views.shape[1] < 2 else (views[:, 0] - views[:, 1]).double().square().mean().sqrt().item()
    return SurveyStatistics(
        num_cutouts=len(plain),
        plain=of_plain,
        views=_statistics(views.flatten(0, 2), mean, std),
        difference=None if apart is None else apart / max(of_plain.input_std, 1e-12),
        black=black,
        white=white,
    )


def facts_of(survey: str, bands: str, found: SurveyStatistics, values: NDArray[np.float64]) -> Facts:
    """Return the numbers of a survey in words, with a histogram.

    Args:
        survey: Its name.
        bands: Which bands are shown, in words.
        found: The numbers.
        values: Of all pixels of the cutouts as they are, before the normalisation; NaN is left out.
    """
    low, high = PERCENTILES
    lines = [
        f"{survey}: {bands}; after the stretch and before the normalisation. Black is {found.black:.4g}, percentile "
        f"{low:g} of the pixels of {found.num_cutouts} cutouts as they are; white is {found.white:.4g}, percentile "
        f"{high:g} of those that are not zero.",
        _in_words("as they are", found.plain),
        _in_words("their views", found.views),
    ]
    if found.difference is not None:
        lines.append(
            f"The first two views of a cutout differ by {found.difference:.2f} standard deviations (root mean square)."
        )
    known = values[np.isfinite(values)]
    counts, edges = np.histogram(known, bins=NUM_BINS) if known.size else (np.zeros(1, np.int64), np.zeros(2))
    lines.append("Pixels of the cutouts as they are, by value; the height is logarithmic:")
    return Facts(lines, counts, (float(edges[0]), float(edges[-1])))


def before_normalisation(images: Tensor, mean: Tensor, std: Tensor) -> NDArray[np.float64]:
    """Return what normalised images were before.

    Args:
        images: Shape: (B, C, S, S).
        mean: Of the normalisation. Shape: (C, 1, 1).
        std: Of the normalisation. Shape: (C, 1, 1).
    """
    values = images.double() * std + mean
    # What was zero is known by its bits, by the same arithmetic as that of the pipeline, and rounding does not move it.
    return values.masked_fill(images == (torch.zeros(()) - mean) / std, 0.0).numpy()


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return what is shown darkest and brightest; where nearly all pixels are zero, the others set the bright end."""
    if not values.any():
        return 0.0, 1.0
    low, high = PERCENTILES
    return float(np.percentile(values, low)), float(np.percentile(values[values != 0], high))


def _statistics(images: Tensor, mean: Tensor, std: Tensor) -> PixelStatistics:
    """Return the numbers of normalised images. Shape: (B, C, S, S)."""
    values = before_normalisation(images, mean, std)
    known = np.isfinite(values)
    nothing = np.zeros(1)
    found, inputs = (of[known] if known.any() else nothing for of in (values, images.double().numpy()))
    return PixelStatistics(
        min=float(found.min()),
        max=float(found.max()),
        mean=float(found.mean()),
        std=float(found.std()),
        zero_share=float((values == 0).mean()),
        missing_share=float(1.0 - known.mean()),
        input_mean=float(inputs.mean()),
        input_std=float(inputs.std()),
    )


def _in_words(what: str, found: PixelStatistics) -> str:
    return (
        f"{what}: min {found.min:.4g}, max {found.max:.4g}, mean {found.mean:.4g}, std {found.std:.4g}, "
        f"{100 * found.zero_share:.1f}% exactly zero, {100 * found.missing_share:.1f}% missing; after the "
        f"normalisation mean {found.input_mean:.3f}, std {found.input_std:.3f}."
    )
