"""From a batch of cutouts to views: stretch, one resampling, photometry, normalisation, on the device.

The order is: physical views in the product's unit, stretch, **one** bilinear resampling that composes all geometry
views with the field of view and the size of the input, photometric views, ``(x - mean) / std``.

Every cutout has random parameters of its own. They are drawn on the CPU for the global batch, as a function of (seed,
step, view), and sliced for the rank: no generator state needs saving, and the result does not depend on the ranks.
"""

from __future__ import annotations

__all__ = ["CoarseStart", "ViewPipeline"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astrofm.data.batch import Batch, Share
from astrofm.errors import PluginError, one_of
from astrofm.views.base import GeometryView, PhysicalView, PixelView, Stage, View, Views
from astrofm.views.resample import SCALE_TOLERANCE, block_factors, resample
from astrofm.views.sky import sky_of
from astrofm.views.stretch import InputPlan, fill_missing

PIECE_BYTES = 1 << 21
"""Images that are worked on together on a CPU: about what a core's own cache holds."""

# B = batch, n = cutouts of one share, V = views, C = channels, S = size of the input in pixels.


@dataclass(frozen=True)
class _Parameters:
    """What was drawn for one batch.

    Attributes:
        pixels: For each view and each physical or pixel view its parameters, of this rank. Shape of each: (B,
            parameters).
        matrices: Where each position of a view's field lies in the cutout's. Shape: (B, V, 3, 3).
        reach: Largest coordinate that any row of the global batch looks at; the edge of the field is 1.
    """

    pixels: tuple[Mapping[int, Tensor], ...]
    matrices: NDArray[np.float64]
    reach: float


@dataclass(frozen=True)
class CoarseStart:
    """The first steps of a run see the same field of view in fewer pixels.

    Attributes:
        size_pix: Side of the input in pixels.
        num_steps: Optimiser steps that see it.
    """

    size_pix: int
    num_steps: int


class ViewPipeline:
    """Makes the input of a network from batches of one or several surveys.

    Args:
        inputs: Stretch and normalisation, by survey.
        views: Augmentations; those of a stage act in this order.
        num_views: Augmented views of each cutout.
        size_pix: Side of the input in pixels.
        field_of_view_arcsec: Side of the input on the sky; None: the whole cutout, as where a cutout's pixel scale is
            unknown. Of a cutout that is not square, the longer side.
        seed: Of all random parameters.
        coarse: Smaller input while training begins; None: none.

    Raises:
        PluginError: If a view's class does not go with its stage.
    """

    def __init__(
        self,
        inputs: Mapping[str, InputPlan],
        views: Sequence[View],
        *,
        num_views: int,
        size_pix: int,
        field_of_view_arcsec: float | None,
        seed: int,
        coarse: CoarseStart | None = None,
    ) -> None:
        self.inputs = dict(inputs)
        self.views = tuple(views)
        self.num_views = num_views
        self.size_pix = size_pix
        self.field_of_view_arcsec = field_of_view_arcsec
        self.seed = seed
        self._coarse = coarse
        self._has_physical = any(isinstance(view, PhysicalView) for view in self.views)
        for view in self.views:
            if (view.stage is Stage.PHYSICAL) != isinstance(view, PhysicalView):
                raise PluginError(
                    f"the view {type(view).__name__} has the stage {view.stage.name}: a PhysicalView, and no other, "
                    "acts in the stage PHYSICAL"
                )

    @torch.no_grad()
    def __call__(self, batch: Batch, step: int, device: torch.device | str) -> Views:
        """Return augmented views of a batch.

        Args:
            batch: Cutouts in their products' units.
            step: Optimiser steps taken so far; another step gives other views.
            device: Where the work is done.

        Returns:
            ``num_views`` images of each cutout; ``mask`` is None.

        Raises:
            UnknownNameError: If the batch holds a survey without an input plan.
            ContractError: If a normalisation does not fit the number of channels.
            DataError: If a cutout lacks what its stretch needs.
        """
        drawn = self._draw(batch, step)
        with torch.autocast(torch.device(device).type, enabled=False):  # pixels are float32, whatever the networks are
            images = self._finished(batch, self._resampled(batch, drawn, self._size_at(step), device), drawn.pixels)
        return Views(
            images=tuple(images.unbind(0)),
            row_ids=_tensor(batch.row_ids, device),
            labels={name: _tensor(column, device) for name, column in batch.labels.items()},
        )

    @torch.no_grad()
    def plain(self, batch: Batch, device: torch.device | str) -> Tensor:
        """Return the cutouts without augmentation: stretched, centred, resampled, standardised.

        Args:
            batch: Cutouts in their products' units.
            device: Where the work is done.

        Returns:
            Shape: (B, C, S, S).

        Raises:
            UnknownNameError: If the batch holds a survey without an input plan.
            ContractError: If a normalisation does not fit the number of channels.
            DataError: If a cutout lacks what its stretch needs.
        """
        unchanged = _Parameters(({},), np.tile(np.eye(3), (batch.size, 1, 1, 1)), 1.0)
        return self._finished(batch, self._resampled(batch, unchanged, self.size_pix, device), unchanged.pixels)[0]

    def _size_at(self, step: int) -> int:
        """Return the side of the input of a step in pixels."""
        return self.size_pix if self._coarse is None or step >= self._coarse.num_steps else self._coarse.size_pix

    def _draw(self, batch: Batch, step: int) -> _Parameters:
        mine = slice(batch.first, batch.first + batch.size)
        pixels: list[dict[int, Tensor]] = []
        matrices = np.tile(np.eye(3), (batch.global_size, self.num_views, 1, 1))
        for branch in range(self.num_views):
            pixels.append({})
            for index, view in enumerate(self.views):
                rng = np.random.default_rng([self.seed, step, branch, index])
                parameters = torch.from_numpy(view.draw(rng, batch.global_size))
                if isinstance(view, GeometryView):
                    matrices[:, branch] = matrices[:, branch] @ view.matrix(parameters).double().numpy()
                else:
                    pixels[branch][index] = parameters[mine]
        reach = float(np.abs(matrices[..., :2, :]).sum(axis=-1).max())
        return _Parameters(tuple(pixels), matrices[mine], reach)

    def _finished(self, batch: Batch, images: Tensor, pixels: Sequence[Mapping[int, Tensor]]) -> Tensor:
        """Apply the views of the stretched images and the normalisation, in place. Shape: (V, B, C, S, S)."""
        views = {index: view for index, view in enumerate(self.views) if isinstance(view, PixelView) and pixels[0]}
        drawn = {index: torch.cat([of_branch[index] for of_branch in pixels]) for index in views}
        constants = self._constants(batch, images.shape[2]).repeat(len(pixels), 1, 1)
        mean, std = constants[..., None, None].to(images.device).unbind(dim=1)
        flat = images.reshape(-1, *images.shape[2:])
        for rows in _pieces(len(flat), flat[0].nbytes, at_once=images.device.type != "cpu"):
            piece = flat[rows]
            for index, view in views.items():
                piece = view(piece, drawn[index][rows])
            torch.div(piece - mean[rows], std[rows], out=flat[rows])
        return images

    def _constants(self, batch: Batch, num_channels: int) -> Tensor:
        """Return mean and standard deviation of each cutout. Shape: (B, 2, C)."""
        constants = torch.empty(batch.size, 2, num_channels)
        for share in batch.shares:
            constants[torch.from_numpy(share.places)] = self._plan(share.survey).constants(num_channels)
        return constants

    def _resampled(self, batch: Batch, drawn: _Parameters, size_pix: int, device: torch.device | str) -> Tensor:
        """Return stretched and resampled views, contiguous in memory. Shape: (V, B, C, S, S)."""
        images: Tensor | None = None
        for share in batch.shares:
            for piece in self._parts_of(share, size_pix, device):
                part = self._share(piece, drawn, size_pix, device)
                if images is None:
                    images = part.new_empty(len(part), batch.size, *part.shape[2:])
                images[:, _slice_or_tensor(piece.places, device)] = part
        assert images is not None
        return images

    def _parts_of(self, share: Share, size_pix: int, device: torch.device | str) -> Iterator[Share]:
        """Yield a share in parts of which a cache holds the views; physical views get the whole of it."""
        num_channels, *sides = share.images.shape[1:]
        num_bytes = 4 * num_channels * max(math.prod(sides), self.num_views * size_pix**2)
        at_once = self._has_physical or torch.device(device).type != "cpu"
        for rows in _pieces(len(share.places), num_bytes, at_once=at_once):
            yield Share(
                share.survey,
                share.images[rows],
                None if share.mask is None else share.mask[rows],
                share.places[rows],
                {name: values[rows] for name, values in share.meta.items()},
            )

    def _share(self, share: Share, drawn: _Parameters, size_pix: int, device: torch.device | str) -> Tensor:
        """Return the resampled views of one store's cutouts. Shape: (V, n, C, S, S)."""
        plan = self._plan(share.survey)
        matrices = drawn.matrices[share.places]
        rms, ebv = (_tensor(share.meta[name], "cpu") if name in share.meta else None for name in ("rms", "ebv"))
        pixels, mask = self._needed(share, plan, drawn.reach, size_pix)
        images = _tensor(pixels, device)
        missing = None if mask is None else _tensor(mask, device)
        if not self._has_physical or not any(drawn.pixels):
            stretched = plan.steps(images, rms, missing, ebv)
            return resample(stretched, self._windows(share, plan, stretched), matrices, size_pix)
        images, is_missing = fill_missing(images.float(), missing)
        # Dust that the stretch removes is removed here, once: physical views change images without it.
        images, rms = self._observed(share, plan, plan.steps.deredden(images, ebv), is_missing, drawn.pixels)
        stretched = plan.steps.stretch(images, rms)
        stretched = stretched.reshape(self.num_views, -1, *stretched.shape[1:])
        windows = self._windows(share, plan, stretched[0])
        return torch.cat(
            [resample(stretched[v], windows, matrices[:, v : v + 1], size_pix) for v in range(self.num_views)]
        )

    def _observed(
        self, share: Share, plan: InputPlan, images: Tensor, missing: Tensor, pixels: Sequence[Mapping[int, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Return what other observations would have seen, and the noise in it.

        Args:
            share: What the images come from.
            plan: Facts of their survey.
            images: In the product's unit. Shape: (n, C, y, x).
            missing: True where nothing was observed. Shape: (n, C, y, x).
            pixels: Parameters of each view.

        Returns:
            Shapes: (V * n, C, y, x) and (V * n, C).
        """
        sky = sky_of(share, plan, _pixel_scales(share, plan), images.device, self.num_views)
        images = images.repeat(self.num_views, 1, 1, 1)
        places = torch.from_numpy(share.places)
        for index, view in enumerate(self.views):
            if isinstance(view, PhysicalView):
                parameters = torch.cat([of_branch[index][places] for of_branch in pixels]).to(images.device)
                images, sky = view.apply(images, parameters, sky)
        return images.masked_fill(missing.repeat(self.num_views, 1, 1, 1), 0.0), sky.rms

    def _plan(self, survey: str) -> InputPlan:
        if survey not in self.inputs:
            raise one_of("survey with an input plan", survey, self.inputs)
        return self.inputs[survey]

    def _needed(
        self, share: Share, plan: InputPlan, reach: float, size_pix: int
    ) -> tuple[NDArray[np.generic] | Tensor, NDArray[np.bool_] | Tensor | None]:
        """Return the central part of the cutouts that any view looks at, with its mask.

        Only where the survey has one pixel scale: then the part is the same on every rank, and so is each bit of the
        result. It begins with a block of those that are averaged, so that it has the blocks of the whole image. A
        stretch that looks at the whole image, or a physical view, gets the whole image.
        """
        scale = plan.pixel_scale_arcsec if plan.has_one_scale else None
        wanted = None if self._has_physical or not plan.steps.is_pointwise else self.field_of_view_arcsec
        if wanted is None or scale is None:
            return share.images, share.mask
        window = wanted / scale
        factor = int(block_factors(np.array([window]), size_pix)[0])
        side = reach * window + 2 * (2 * factor + 1)
        ny, nx = share.images.shape[-2:]
        y, x = (factor * max(0, int((size - side) // 2) // factor) for size in (ny, nx))
        part = (..., slice(y, ny - y), slice(x, nx - x))
        return share.images[part], None if share.mask is None else share.mask[part]

    def _windows(self, share: Share, plan: InputPlan, stretched: Tensor) -> NDArray[np.float64]:
        """Return the side of the field of view of each cutout, in its pixels. Shape: (n,)."""
        whole = float(max(stretched.shape[-2:]))
        if self.field_of_view_arcsec is None:
            return np.full(len(stretched), whole)
        windows = self.field_of_view_arcsec / _pixel_scales(share, plan)
        return np.where(np.isnan(windows), whole, windows)


def _pieces(num: int, num_bytes: int, *, at_once: bool) -> Iterator[slice]:
    """Yield ranges of images that a cache of the processor holds, or one range: a GPU has no use for small ones.

    Args:
        num: Number of images.
        num_bytes: Of one image.
        at_once: Whether to take all of them together.
    """
    step = max(1, num if at_once else PIECE_BYTES // num_bytes)
    for first in range(0, num, step):
        yield slice(first, min(first + step, num))


def _slice_or_tensor(places: NDArray[np.int64], device: torch.device | str) -> slice | Tensor:
    """Return places as an index: as a slice where they follow each other, which is much quicker to write to."""
    if (np.diff(places) == 1).all():
        return slice(int(places[0]), int(places[-1]) + 1)
    return _tensor(places, device)


def _pixel_scales(share: Share, plan: InputPlan) -> NDArray[np.float64]:
    """Return the pixel scale of each cutout in arcsec, its own or else its survey's; NaN where unknown. Shape: (n,).

    One that is its survey's but for the rounding of a header is taken for it.
    """
    of_survey = np.nan if plan.pixel_scale_arcsec is None else plan.pixel_scale_arcsec
    own = share.meta.get("pixel_scale")
    if own is None:
        return np.full(len(share.places), of_survey)
    is_of_survey = np.isnan(own) | np.isclose(own, of_survey, rtol=SCALE_TOLERANCE, atol=0.0)
    return np.where(is_of_survey, of_survey, own)


def _tensor(values: NDArray[Any] | Tensor, device: torch.device | str) -> Tensor:
    """Return an array on the device; torch takes only writable ones of native byte order."""
    if isinstance(values, Tensor):
        return values.to(device, non_blocking=True)
    native = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C", "W"])
    return torch.from_numpy(native).to(device, non_blocking=True)
