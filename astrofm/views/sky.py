"""What is known of the observations in a batch, for the physical views."""

from __future__ import annotations

__all__ = ["require_beam", "require_flux", "require_known", "require_laws", "sky_of"]

from collections.abc import Collection

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astrofm.data.batch import Share
from astrofm.data.units import is_flux_per_pixel
from astrofm.errors import RecipeError
from astrofm.views.base import Sky
from astrofm.views.stretch import InputPlan

# n = cutouts of one share, C = channels.


def sky_of(
    share: Share,
    plan: InputPlan,
    pixel_scale_arcsec: NDArray[np.float64],
    device: torch.device | str,
    num_views: int = 1,
) -> Sky:
    """Return what is known of the cutouts of one store: by their own columns, else by their survey's card.

    Dust that the stretch removes is gone before the first physical view: then ``ebv`` is 0, and the noise of each band
    has grown with its flux.

    Args:
        share: The cutouts.
        plan: Bands, unit and beam of the survey.
        pixel_scale_arcsec: Of each cutout, NaN where unknown. Shape: (n,).
        device: Where it is needed.
        num_views: How often the cutouts are repeated, as a whole.
    """
    num_channels = share.images.shape[1]
    rms = np.broadcast_to(_column(share, "rms").reshape(len(share.places), -1), (len(share.places), num_channels))
    ebv = _column(share, "ebv")
    if plan.steps.dereddening is not None:
        rms = rms * plan.steps.dereddening.factors(torch.from_numpy(ebv)).numpy()
        ebv = np.zeros_like(ebv)
    fwhm_arcsec, angle_deg = _beams(share, plan)

    def tensor(values: NDArray[np.float64]) -> Tensor:
        repeated = np.concatenate([values.astype(np.float32)] * num_views)
        return torch.from_numpy(repeated).to(device, non_blocking=True)

    return Sky(
        bands=tuple(band.name for band in plan.bands) or ("unknown",) * num_channels,
        unit=plan.unit,
        pixel_scale_arcsec=tensor(pixel_scale_arcsec),
        rms=tensor(rms),
        fwhm_arcsec=tensor(np.repeat(fwhm_arcsec[:, None], num_channels, axis=1)),
        position_angle_deg=tensor(np.repeat(angle_deg[:, None], num_channels, axis=1)),
        ebv=tensor(ebv),
        wavelengths_nm=tuple(band.wavelength_nm for band in plan.bands) or (None,) * num_channels,
    )


def require_known(values: Tensor, view: str, what: str, remedy: str) -> None:
    """Refuse a view that needs what is unknown of some cutout.

    Args:
        values: NaN where unknown. Shape: (n, ...).
        view: Name of the view.
        what: The quantity, in words.
        remedy: What would work.

    Raises:
        RecipeError: If any is unknown.
    """
    unknown = torch.isnan(values).flatten(1).any(dim=1) if values.ndim > 1 else torch.isnan(values)
    num_unknown = int(unknown.sum())
    if num_unknown:
        raise RecipeError(
            f"the view {view!r} needs the {what}, unknown of {num_unknown} of {len(values)} cutouts: {remedy}"
        )


def require_beam(sky: Sky, view: str, remedy: str) -> None:
    """Refuse a view that needs beam or PSF in pixels, of which the size in arcsec or the pixel scale is unknown.

    Raises:
        RecipeError: If any is unknown.
    """
    require_known(sky.fwhm_arcsec, view, "beam or PSF", remedy)
    require_known(sky.pixel_scale_arcsec, view, "pixel scale", remedy)


def require_laws(laws: Collection[str], sky: Sky, view: str, what: str, instead: str) -> None:
    """Refuse a view that has laws by band, and none for a band of the images.

    Args:
        laws: The bands that have one; empty where the view goes by something else.
        sky: Of the images.
        view: Name of the view.
        what: What the laws are of, in words.
        instead: Settings that go without laws, in words.

    Raises:
        RecipeError: If a band has none.
    """
    missing = [band for band in sky.bands if band not in laws]
    if laws and missing:
        raise RecipeError(
            f"the view {view!r} has {what} for {', '.join(laws)} and the images have {', '.join(missing)}: give a law "
            f"for each band, or {instead} instead"
        )


def require_flux(sky: Sky, view: str) -> None:
    """Refuse a view that multiplies or mixes flux on pixels that are not proportional to it.

    Raises:
        RecipeError: If the unit is none of flux, brightness or counts, as that of a picture.
    """
    if is_flux_per_pixel(sky.unit) is None:
        raise RecipeError(
            f"the view {view!r} acts on pixels that are proportional to flux, and those of {', '.join(sky.bands)} are "
            f"in {sky.unit or 'no unit'!r}: ingest a product in a physical unit, or leave the view out"
        )


def _column(share: Share, name: str) -> NDArray[np.float64]:
    """Return a column of the cutouts, NaN where there is none. Shape: (n,)."""
    return share.meta[name] if name in share.meta else np.full(len(share.places), np.nan)


def _beams(share: Share, plan: InputPlan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return major and minor axis in arcsec, and the angle of the major axis. Shapes: (n, 2) and (n,)."""
    axes = np.stack([_column(share, "bmaj"), _column(share, "bmin")], axis=1)
    angle_deg = np.nan_to_num(_column(share, "bpa"))
    has_own = (axes[:, 0] > 0) & (axes[:, 1] > 0)
    beam = plan.beam
    of_card = (np.nan, np.nan, 0.0) if beam is None else (beam.bmaj_arcsec, beam.bmin_arcsec, beam.bpa_deg)
    axes = np.where(has_own[:, None], axes, of_card[:2])
    turn_deg = np.nan_to_num(_column(share, "orientation_deg"))
    return axes, np.where(has_own, angle_deg, of_card[2]) - turn_deg
