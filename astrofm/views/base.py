"""What a view is, and what goes into an objective."""

from __future__ import annotations

__all__ = ["GeometryView", "PhysicalView", "PixelView", "Sky", "Stage", "View", "ViewPart", "Views"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """One or more views of the same cutouts.

    Attributes:
        images: One tensor for each view. Shape of each: (batch, channel, y, x).
        row_ids: Row of each cutout in the union of the stores. Shape: (batch,).
        mask: True where a pixel is to be ignored, one for each view, or None. Shape of each: (batch, y, x).
        labels: Label columns, by name. Shape of each: (batch, ...).
        meta: Further per-cutout values, by name.
    """

    images: tuple[Tensor, ...]
    row_ids: Tensor
    mask: tuple[Tensor, ...] | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    meta: Mapping[str, Tensor] = field(default_factory=dict)


class Stage(IntEnum):
    """When a view is applied; see the order in :mod:`astrofm.views.pipeline`."""

    PHYSICAL = 0
    """On the cutout in its product's unit, before the stretch."""
    GEOMETRY = 1
    """In the one resampling."""
    PHOTOMETRY = 2
    """On the stretched image, before the normalisation."""


class View(ABC):
    """One augmentation: how its parameters are drawn, and what they do."""

    stage: ClassVar[Stage]
    invariance: ClassVar[str]
    """What a network trained with this view learns to ignore, in the astronomer's words."""
    destroys: ClassVar[frozenset[str]] = frozenset()
    """What of it some measurement needs, so that its recipes are refused: ``colour`` for redshifts."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw the parameters of ``num`` cutouts.

        Args:
            rng: Generator, a function of (seed, step, view); the only source of randomness.
            num: Number of cutouts, that of the global batch.

        Returns:
            Shape: (num, parameters).
        """


class PixelView(View):
    """A view that changes pixel values of the stretched image where they are."""

    _compiled: Callable[[Tensor, Tensor], Tensor] | None = None

    def compile(self, backend: Callable[..., Any]) -> None:
        """Let :meth:`apply` be compiled when it is next called.

        Args:
            backend: As ``torch.compile`` takes it.
        """
        self._compiled = torch.compile(self.apply, backend=backend, dynamic=True)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return the images, those that the view changes changed; the input is left as it was.

        Args:
            images: Shape: (batch, channel, y, x).
            parameters: Rows of :meth:`draw`, on the CPU: which images to change is found there, without waiting for
                the device. Shape: (batch, parameters).
        """
        self.check_channels(images.shape[1])
        is_changed = self.changes(parameters)
        apply = self._compiled or self.apply
        if bool(is_changed.all()):
            return apply(images, parameters.to(images.device))
        changed = images.clone()
        if bool(is_changed.any()):
            rows = is_changed.nonzero()[:, 0]
            places = rows.to(images.device)
            changed[places] = apply(images[places], parameters[rows].to(images.device))
        return changed

    def check_channels(self, num_channels: int) -> None:
        """Refuse images with other bands than the view is for; asked for each batch, whether or not it changes any.

        Raises:
            RecipeError: If the view cannot act on so many channels.
        """

    def changes(self, parameters: Tensor) -> Tensor:
        """Return which images :meth:`apply` is to change; the others are not handed to it and stay as they are.

        Args:
            parameters: Rows of :meth:`draw`, on the CPU. Shape: (batch, parameters).

        Returns:
            All of them, unless a view says otherwise. Shape: (batch,), bool.
        """
        return torch.ones(len(parameters), dtype=torch.bool)

    @abstractmethod
    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return the changed images; the input is left as it was.

        Args:
            images: Shape: (batch, channel, y, x).
            parameters: Rows of :meth:`draw`, on the device of the images. Shape: (batch, parameters).
        """


@dataclass(frozen=True)
class Sky:
    """What is known of the observations that a physical view changes; all on the device of the images.

    Attributes:
        bands: Band of each channel, as the survey's card names them.
        unit: Unit of the pixels, as astropy writes it.
        pixel_scale_arcsec: NaN where unknown. Shape: (batch,).
        rms: Noise in the unit of the pixels, NaN where unknown. Shape: (batch, channel).
        fwhm_arcsec: Beam or PSF: major and minor full width at half maximum, NaN where unknown. Shape: (batch, channel,
            2).
        position_angle_deg: Of the major axis, from +y towards -x: from north through east in an upright image, and a
            turned one's own turn is already taken off; 0 where round. Shape: (batch, channel).
        ebv: Reddening E(B-V) of the Galaxy that is still in the pixels; 0 where it was corrected for, NaN where
            unknown. Shape: (batch,).
        wavelengths_nm: Of each band; None of a band that its card places by frequency.
    """

    bands: tuple[str, ...]
    unit: str
    pixel_scale_arcsec: Tensor
    rms: Tensor
    fwhm_arcsec: Tensor
    position_angle_deg: Tensor
    ebv: Tensor
    wavelengths_nm: tuple[float | None, ...] = ()


class PhysicalView(View):
    """A view that acts on the cutout in its product's unit, as another observation would."""

    stage: ClassVar[Stage] = Stage.PHYSICAL

    def check(self, sky: Sky) -> None:
        """Refuse cutouts of which something is unknown that the view needs; asked of all of them before a run begins.

        Raises:
            RecipeError: If the view needs what is unknown of any.
        """

    @abstractmethod
    def apply(self, images: Tensor, parameters: Tensor, sky: Sky) -> tuple[Tensor, Sky]:
        """Return the changed images and what is known of them now; the input is left as it was.

        What a row becomes may depend on that row alone: batches are put together differently on other ranks.

        Args:
            images: 0 where nothing was observed, which is restored after the last physical view. Shape: (batch,
                channel, y, x).
            parameters: Rows of :meth:`draw`, on the device of the images. Shape: (batch, parameters).
            sky: What is known of the images.

        Raises:
            RecipeError: If the view needs what is unknown.
        """


class GeometryView(View):
    """A view that moves pixels: it gives a matrix, and one resampling applies the product of all."""

    @abstractmethod
    def matrix(self, parameters: Tensor) -> Tensor:
        """Return where each output position lies in the input.

        Args:
            parameters: Rows of :meth:`draw`. Shape: (batch, parameters).

        Returns:
            Homogeneous matrices acting on (x, y, 1) with the origin at the centre and 1 at the edge of the field of
            view. Shape: (batch, 3, 3).
        """


@dataclass(frozen=True)
class ViewPart:
    """What a plugin registers: a view's name, its settings and how it is built from them."""

    name: str
    config: type[BaseModel]
    build: Callable[[Any], View]
