"""Stretches: from the brightness of a product to what a network sees, as named steps on batches.

A stretch is a sequence of pure functions on ``(images, rms)``, run on the device the images are on. Each step is a
class whose fields are its settings. Missing pixels become 0 in one place, :func:`fill_missing`. The step
``deredden``, which comes first, has a module of its own, :mod:`astrofm.views.deredden`.
"""

from __future__ import annotations

__all__ = ["STEPS", "InputPlan", "Stretch", "StretchStep", "fill_missing"]

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from astrofm.card import Band, Beam, Step
from astrofm.errors import ContractError, DataError, RecipeError, in_one_line, one_of
from astrofm.views.deredden import DEREDDEN, Deredden

S = TypeVar("S", bound=BaseModel)

# B = batch, C = channels. Sizes are (ny, nx).


def fill_missing(images: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Put 0 where nothing was observed, and say where that was.

    Args:
        images: NaN where nothing was observed. Shape: (B, C, y, x).
        mask: True where a pixel is to be ignored. Shape: (B, y, x).

    Returns:
        The filled images, and True where a pixel was filled. Shape of both: (B, C, y, x).
    """
    missing = torch.isnan(images)
    if mask is not None:
        missing = missing | mask[:, None]
    return images.masked_fill(missing, 0.0), missing


class StretchStep(BaseModel):
    """One step: its settings are the fields, its effect is the call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_pointwise: ClassVar[bool] = True
    """Whether a pixel's result depends on no other pixel, so that the image may be cropped beforehand."""
    needs_rms: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Return the stretched images; the input is left as it was.

        Args:
            images: Shape: (B, C, y, x).
            rms: Noise of each cutout in the unit of the product. Shape: (B,) or, of each channel, (B, C).
        """


class SigmaClipFloor(StretchStep):
    """Set pixels at or below ``k`` times the rms to 0."""

    needs_rms: ClassVar[bool] = True

    k: float = Field(default=3.0, gt=0)

    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Compare in the dtype of the images: the product with float64 rms is rounded once, as numpy does it."""
        threshold = (self.k * rms).to(images.device, images.dtype).reshape(len(rms), -1, 1, 1)
        return torch.where(images <= threshold, 0.0, images)


class CenterCrop(StretchStep):
    """Keep the central square; of an odd surplus the larger part is cut at the far end."""

    is_pointwise: ClassVar[bool] = False

    size_pix: int = Field(gt=0)

    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Return a view of the images.

        Raises:
            DataError: If the images are smaller than the crop.
        """
        ny, nx = images.shape[-2:]
        if min(ny, nx) < self.size_pix:
            raise DataError(f"center_crop to {self.size_pix} px was asked of images of {ny} x {nx} px")
        y, x = (ny - self.size_pix) // 2, (nx - self.size_pix) // 2
        return images[..., y : y + self.size_pix, x : x + self.size_pix]


class CircularMask(StretchStep):
    """Set pixels further than ``radius_pix`` from pixel (ny // 2, nx // 2) to 0."""

    is_pointwise: ClassVar[bool] = False

    radius_pix: float = Field(gt=0)

    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Return the masked images; a pixel exactly at the radius is kept."""
        ny, nx = images.shape[-2:]
        y = torch.arange(ny, device=images.device)[:, None] - ny // 2
        x = torch.arange(nx, device=images.device)[None, :] - nx // 2
        return images.masked_fill(y**2 + x**2 > self.radius_pix**2, 0.0)


class MinMax(StretchStep):
    """Scale each cutout, over all its bands, to [0, 1]; a constant one becomes 0."""

    is_pointwise: ClassVar[bool] = False

    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Return the scaled images."""
        low = images.amin(dim=(1, 2, 3), keepdim=True)
        spread = images.amax(dim=(1, 2, 3), keepdim=True) - low
        return (images - low) / torch.where(spread == 0, 1.0, spread)


class Asinh(StretchStep):
    """Take asinh(x / scale): linear below ``scale``, logarithmic above."""

    scale: float = Field(gt=0)
    """In the unit of the product."""

    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Return the stretched images."""
        return torch.asinh(images / self.scale)


class LuptonRGB(StretchStep):
    """Stretch the mean of the bands and keep their ratios (Lupton et al. 2004, astro-ph/0312483).

    Constants as in ``astropy.visualization.make_lupton_rgb`` with ``minimum=0``; the result lies in [0, 1].
    """

    stretch: float = Field(default=5.0, gt=0)
    """In the unit of the product."""
    Q: float = Field(default=8.0, gt=0)

    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Return the stretched images; bands stay in their order."""
        intensity = images.mean(dim=1, keepdim=True)
        slope = 0.1 / torch.asinh(torch.tensor(0.1 * self.Q)).item()
        stretched = slope * torch.asinh(intensity * (self.Q / self.stretch))
        factor = torch.where(intensity > 0, stretched / torch.where(intensity > 0, intensity, 1.0), 0.0)
        bands = (images * factor).clamp(min=0.0)
        return bands / bands.amax(dim=1, keepdim=True).clamp(min=1.0)


class UInt8(StretchStep):
    """Quantise [0, 1] to the 256 values of an 8-bit image: times 255, truncated, kept as float."""

    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Return whole numbers from 0 to 255; values outside [0, 1] end at the nearest of the two."""
        return (images * 255.0).clamp(0.0, 255.0).trunc()


class Scale(StretchStep):
    """Multiply by a constant, for example 1/255 for 8-bit products."""

    factor: float

    def __call__(self, images: Tensor, rms: Tensor) -> Tensor:
        """Return the scaled images."""
        return images * self.factor


STEPS: dict[str, type[StretchStep]] = {
    "asinh": Asinh,
    "center_crop": CenterCrop,
    "circular_mask": CircularMask,
    "lupton_rgb": LuptonRGB,
    "minmax": MinMax,
    "scale": Scale,
    "sigma_clip_floor": SigmaClipFloor,
    "uint8": UInt8,
}


class Stretch:
    """The steps of a stretch, checked once and run on batches.

    Args:
        steps: As a survey card names them.

    Attributes:
        dereddening: The step ``deredden``, None where the stretch has none.

    Raises:
        UnknownNameError: If there is no step of a name.
        RecipeError: If a step's settings are misspelt, missing or out of range, or steps do not go together.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        first = 1 if steps and steps[0].name == DEREDDEN else 0
        self.dereddening = _checked(Deredden, steps[0]) if first else None
        self.steps = tuple(_parse(step) for step in steps[first:])
        self.is_pointwise = all(step.is_pointwise for step in self.steps)
        self.needs_rms = any(step.needs_rms for step in self.steps)
        if self.dereddening is not None and self.needs_rms:
            raise RecipeError(
                f"the stretch has the steps {DEREDDEN} and sigma_clip_floor, and without dust each band has a noise of "
                "its own: leave out one of them"
            )

    def __call__(
        self, images: Tensor, rms: Tensor | None = None, mask: Tensor | None = None, ebv: Tensor | None = None
    ) -> Tensor:
        """Return the stretched images: :meth:`deredden`, then :meth:`stretch`."""
        return self.stretch(self.deredden(images, ebv), rms, mask)

    def deredden(self, images: Tensor, ebv: Tensor | None = None) -> Tensor:
        """Return the images without the Galaxy's dust, or as they are if the stretch has no such step.

        Args:
            images: In the unit of the product. Shape: (B, C, y, x).
            ebv: E(B-V) of each cutout, NaN where unknown. Shape: (B,).

        Returns:
            Shape: (B, C, y, x).

        Raises:
            DataError: If the step needs the E(B-V) of a cutout and it is unknown.
        """
        if self.dereddening is None:
            return images
        unknown = torch.full((len(images),), torch.nan)
        return self.dereddening(images, unknown if ebv is None else ebv)

    def stretch(self, images: Tensor, rms: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return what the steps after ``deredden`` make of images, missing pixels taken as 0 before the first.

        Args:
            images: In the unit of the product. Shape: (B, C, y, x).
            rms: Noise of each cutout in the same unit, NaN where unknown. Shape: (B,) or, of each channel, (B, C).
            mask: True where a pixel is to be ignored. Shape: (B, y, x).

        Returns:
            Float32. Shape: (B, C, y', x').

        Raises:
            DataError: If a step needs the rms of a cutout and it is unknown.
        """
        rms = torch.full((len(images),), torch.nan, dtype=torch.float64) if rms is None else rms
        unknown = int(torch.isnan(rms.reshape(len(rms), -1)).any(dim=1).sum()) if self.needs_rms else 0
        if unknown:
            raise DataError(
                f"the stretch has a step sigma_clip_floor and {unknown} of {len(rms)} cutouts have no rms: "
                "readers of FITS measure it; else give the catalogue a column rms in the unit of the pixels, or each "
                "cutout meta={'rms': ...}, or choose a stretch without that step"
            )
        if mask is not None or images.is_floating_point():
            images, _ = fill_missing(images.float(), mask)
        stretched = images.float()
        for step in self.steps:
            stretched = step(stretched, rms)
        return stretched


def _parse(step: Step) -> StretchStep:
    if step.name == DEREDDEN:
        raise RecipeError(f"stretch step {DEREDDEN!r} comes first, before all others, and once")
    if step.name not in STEPS:
        raise one_of("stretch step", step.name, (DEREDDEN, *STEPS))
    return _checked(STEPS[step.name], step)


def _checked(kind: type[S], step: Step) -> S:
    try:
        return kind.model_validate(step.settings)
    except ValidationError as error:
        raise RecipeError(f"stretch step {step.name!r}: {in_one_line(error)}") from error


@dataclass(frozen=True)
class InputPlan:
    """How the cutouts of one survey become network input.

    Attributes:
        survey: Name of the survey.
        stretch: Steps, as the card names them.
        mean: Subtracted after the stretch; one value for each band, or one for all.
        std: Divided by after that; as ``mean``.
        pixel_scale_arcsec: Of the cutouts that do not bring their own; None where unknown.
        bands: Of the channels, in order; physical views need them.
        unit: Of the product's pixels; empty where unknown.
        beam: Beam, or PSF as a round one, of the cutouts that do not bring their own; None where unknown.
        has_one_scale: Whether no cutout of the survey has a pixel scale that differs from that one.
    """

    survey: str
    stretch: Sequence[Step]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pixel_scale_arcsec: float | None = None
    bands: tuple[Band, ...] = ()
    unit: str = ""
    beam: Beam | None = None
    has_one_scale: bool = False

    @cached_property
    def steps(self) -> Stretch:
        """The stretch, checked."""
        return Stretch(self.stretch)

    def constants(self, num_channels: int) -> Tensor:
        """Return mean and standard deviation of each channel. Shape: (2, num_channels).

        Raises:
            ContractError: If there are neither one nor as many values as channels.
        """
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, num_channels):
                raise ContractError(
                    f"the input of {self.survey!r} has {len(values)} values of {name} for {num_channels} channels: "
                    "give one for each, or one for all"
                )
        return torch.stack([torch.tensor(values).expand(num_channels) for values in (self.mean, self.std)])
