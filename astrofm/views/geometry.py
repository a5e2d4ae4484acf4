"""Views that move pixels: rotation, flip, zoom, size and shift, each as a matrix for the one resampling.

Matrices act on (x, y, 1) with the origin at the centre of the field of view and 1 at its edge, and say where a pixel
of the result lies in the image before the view.
"""

from __future__ import annotations

__all__ = [
    "Flip",
    "FlipConfig",
    "Rotate",
    "RotateConfig",
    "Shift",
    "ShiftConfig",
    "Size",
    "SizeConfig",
    "Zoom",
    "ZoomConfig",
]

from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from astrofm.views.base import GeometryView, Stage

TRIES = 10
"""Draws of area and ratio before :class:`Zoom` falls back to the largest crop."""


class RotateConfig(BaseModel):
    """Rotation by any angle; the sky has no up."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rotate(GeometryView):
    """Rotate by an angle drawn uniformly from the full circle."""

    stage: ClassVar[Stage] = Stage.GEOMETRY
    invariance: ClassVar[str] = "position angle"

    def __init__(self, config: RotateConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw angles in radians. Shape: (num, 1)."""
        return rng.uniform(0.0, 2.0 * np.pi, (num, 1)).astype(np.float32)

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return rotation matrices. Shape: (batch, 3, 3)."""
        angle = parameters[:, 0].double()
        cos, sin = torch.cos(angle), torch.sin(angle)
        zero = torch.zeros_like(cos)
        return _matrix(cos, -sin, zero, sin, cos, zero)


class FlipConfig(BaseModel):
    """Mirror images; parity carries no information on a source's nature."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p: float = Field(default=0.5, ge=0, le=1)
    """Probability of a flip, of each axis by itself."""


class Flip(GeometryView):
    """Mirror x and y, each with probability ``p``."""

    stage: ClassVar[Stage] = Stage.GEOMETRY
    invariance: ClassVar[str] = "handedness"

    def __init__(self, config: FlipConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw -1 where the axis is mirrored, else 1, for x and y. Shape: (num, 2)."""
        return np.where(rng.random((num, 2)) < self.config.p, -1.0, 1.0).astype(np.float32)

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return mirror matrices. Shape: (batch, 3, 3)."""
        x, y = parameters.double().unbind(dim=1)
        zero = torch.zeros_like(x)
        return _matrix(x, zero, zero, zero, y, zero)


class ZoomConfig(BaseModel):
    """Random resized crop (Szegedy et al. 2015, arXiv 1409.4842); defaults of Slijepcevic et al. 2024."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: tuple[float, float] = (0.8, 1.0)
    """Range of the share of the field's area that is kept."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Range of width over height of what is kept, uniform in its logarithm."""

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale is a range of areas within (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio is a range of positive numbers, got {self.ratio}")
        return self


class Zoom(GeometryView):
    """Enlarge a random rectangle inside the field of view to the whole of it.

    Area and ratio are drawn together until the rectangle fits, ten times at most, which favours smaller areas as the
    ratio allows; where none fits, the largest centred rectangle of the nearest allowed ratio to 1 is taken.
    """

    stage: ClassVar[Stage] = Stage.GEOMETRY
    invariance: ClassVar[str] = "angular size"

    def __init__(self, config: ZoomConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw width, height and centre (x, y) of the rectangle, the field being 1 wide. Shape: (num, 4)."""
        area = rng.uniform(*self.config.scale, (num, TRIES))
        ratio = np.exp(rng.uniform(np.log(self.config.ratio[0]), np.log(self.config.ratio[1]), (num, TRIES)))
        place = rng.uniform(-1.0, 1.0, (num, 2))
        sides = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=2)
        fits = np.max(sides, axis=2) <= 1.0
        chosen = sides[np.arange(num), fits.argmax(axis=1)]
        nearest = float(np.clip(1.0, *self.config.ratio))
        largest = np.array([min(1.0, nearest), min(1.0, 1.0 / nearest)])
        chosen = np.where(fits.any(axis=1)[:, None], chosen, largest)
        return np.concatenate([chosen, place * (1.0 - chosen)], axis=1).astype(np.float32)

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return scalings with an offset. Shape: (batch, 3, 3)."""
        width, height, x, y = parameters.double().unbind(dim=1)
        zero = torch.zeros_like(width)
        return _matrix(width, zero, x, zero, height, y)


class SizeConfig(BaseModel):
    """Larger and smaller sources; the default is that of Stein et al. 2021 (arXiv 2110.00023)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: tuple[float, float] = (0.9, 1.1)
    """Range of the factor by which a source grows; below 1 the field shows sky from beyond its edges."""

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if not 0 < self.factor[0] <= self.factor[1]:
            raise ValueError(f"factor is a range of positive numbers, got {self.factor}")
        return self


class Size(GeometryView):
    """Scale about the centre of the field of view, by a factor drawn uniformly; surface brightness stays."""

    stage: ClassVar[Stage] = Stage.GEOMETRY
    invariance: ClassVar[str] = "angular size"

    def __init__(self, config: SizeConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw factors. Shape: (num, 1)."""
        return rng.uniform(*self.config.factor, (num, 1)).astype(np.float32)

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return scalings by the inverse of the factor. Shape: (batch, 3, 3)."""
        scale = 1.0 / parameters[:, 0].double()
        zero = torch.zeros_like(scale)
        return _matrix(scale, zero, zero, zero, scale, zero)


class ShiftConfig(BaseModel):
    """Off-centre pointing: catalogue positions are not the centres of extended sources."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_fraction: float = Field(default=0.05, ge=0, le=0.5)
    """Largest shift along each axis, as a share of the field of view.

    The jitter crop of Hayat et al. 2021 (arXiv 2101.04293), 7 of 64 pixels either way, is 7 / 64 = 0.109375.
    """


class Shift(GeometryView):
    """Shift along each axis by a share of the field of view drawn uniformly up to ``max_fraction``."""

    stage: ClassVar[Stage] = Stage.GEOMETRY
    invariance: ClassVar[str] = "centring"

    def __init__(self, config: ShiftConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw shifts of the field's centre (x, y), as shares of its side. Shape: (num, 2)."""
        return rng.uniform(-self.config.max_fraction, self.config.max_fraction, (num, 2)).astype(np.float32)

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return offsets; the field spans 2 in these coordinates. Shape: (batch, 3, 3)."""
        x, y = (2.0 * parameters.double()).unbind(dim=1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        return _matrix(one, zero, x, zero, one, y)


def _matrix(xx: Tensor, xy: Tensor, x0: Tensor, yx: Tensor, yy: Tensor, y0: Tensor) -> Tensor:
    """Return the matrices of x' = xx x + xy y + x0, y' = yx x + yy y + y0."""
    zero, one = torch.zeros_like(xx), torch.ones_like(xx)
    return torch.stack([xx, xy, x0, yx, yy, y0, zero, zero, one], dim=1).reshape(-1, 3, 3)
