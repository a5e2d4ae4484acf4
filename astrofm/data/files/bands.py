"""A file for each band: the bands brought onto one grid.

The grid is that of the first band. A band on the same grid keeps its pixels to the bit; any other is resampled by the
area in which old and new pixels overlap (``reproject_exact``), so that what a source sends is conserved wherever it
falls between the pixels. Measured on a Gaussian of 2 pixels: flux to 1e-6, position to 1e-4 pixels, width 2.04 pixels
after a turn and 2.06 after a shift by half a pixel; 20 ms for 64x64 pixels. The adaptive kernel of reproject widens it
to 2.10, and its edge loses four pixels.
"""

from __future__ import annotations

__all__ = ["read_bands"]

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.noise import clipped_std, noise_column
from astrofm.data.files.placement import Position
from astrofm.data.fits import read_cutout
from astrofm.data.units import is_flux_per_pixel
from astrofm.forms import Extensions

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

SAME_GRID_PIX = 1e-3
"""How far the corners of two grids may lie apart for the grids to be one."""

LEAST_COVERED = 0.5
"""Part of a pixel's area that a band must cover; other pixels were not observed in it."""

_GRID_KEYWORDS = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[12]$|(CD|PC)[12]_[12]$|PV[12]_\d+$|[AB]P?_(\d_\d|ORDER)$"
    r"|(LONPOLE|LATPOLE|RADESYS|EQUINOX|EPOCH)$|(CPDIS|CQDIS|D2IMDIS)[12]$|DP[12]"
)

_BEAM = ("bmaj", "bmin", "bpa")
_SAME_BEAM = 1e-3


def read_bands(
    paths: Sequence[Path],
    *,
    unit: str,
    extensions: Extensions,
    position: Position | None = None,
    names: Sequence[str] = (),
) -> Cutout | Rejected:
    """Read a file for each band into one cutout on the grid of the first.

    Args:
        paths: One file a band, in order.
        unit: Unit wanted of all, see :func:`astrofm.data.fits.read_cutout`.
        extensions: Which HDUs are read.
        position: Where the catalogue has the source; it must lie in the first band.
        names: Names of the bands, under which the noise of each is told; none: it is not measured.

    Returns:
        The cutout, NaN where a band has no pixels, with the header and ``meta`` of the first band; the beam only where
        all bands have it; ``rms_BAND`` for each band, that of its error extension where it has one and was not
        resampled, else measured on the unmasked pixels. Or the reason why there is none: that of the first band that
        has one, ``wrong number of bands`` (a file of several planes), ``bands on different grids`` (of other sizes, and
        without a celestial WCS that would tell how they lie).
    """
    bands: list[Cutout] = []
    for path in paths:
        band = _read_band(path, bands, unit, extensions, position, measure_rms=bool(names))
        if isinstance(band, Rejected):
            return band
        bands.append(band)
    masks = [band.mask for band in bands if band.mask is not None]
    mask = np.logical_or.reduce(masks) if masks else None
    known = zip(names, bands, strict=True) if names else ()
    noise = {noise_column(name): band.meta["rms"] for name, band in known if isfinite(band.meta.get("rms", nan))}
    meta = {**_common_meta(bands), **noise}
    return replace(bands[0], image=np.concatenate([band.image for band in bands]), mask=mask, meta=meta)


def _read_band(
    path: Path,
    before: Sequence[Cutout],
    unit: str,
    extensions: Extensions,
    position: Position | None,
    *,
    measure_rms: bool,
) -> Cutout | Rejected:
    band = read_cutout(path, unit=unit, measure_rms=measure_rms, extensions=extensions, position=position)
    if isinstance(band, Rejected):
        return band
    if len(band.image) != 1:
        return Rejected("wrong number of bands", f"{path.name} is for one band and has {len(band.image)}", path.name)
    return _aligned(band, before[0], path.name) if before else band


def _aligned(band: Cutout, reference: Cutout, name: str) -> Cutout | Rejected:
    """Return a band on the grid of the reference, itself where it lies there."""
    same_size = band.image.shape == reference.image.shape
    if same_size and _grid(band.header) == _grid(reference.header):
        return band
    own, wanted = _celestial(band), _celestial(reference)
    if own is None or wanted is None:
        if same_size:
            return band
        sizes = f"{band.image.shape[1:]} pixels, the first band {reference.image.shape[1:]}"
        return Rejected("bands on different grids", f"{name} has {sizes}, and no WCS says how they lie", name)
    if same_size and _corners_agree(own, wanted, band.image.shape[1:]):
        return band
    image = np.where(band.mask, np.nan, band.image[0]) if band.mask is not None else band.image[0]
    moved = _resampled(image, own, wanted, reference.image.shape[1:], per_pixel=is_flux_per_pixel(band.unit) is True)
    meta = {**band.meta, **({"rms": clipped_std(moved)} if "rms" in band.meta else {})}
    return replace(band, image=moved[None], mask=None, meta=meta)


def _grid(header: Header | None) -> Mapping[str, Any]:
    """Return the keywords that say where the pixels lie."""
    return {} if header is None else {key: header[key] for key in header if _GRID_KEYWORDS.match(key)}


def _celestial(cutout: Cutout) -> WCS | None:
    try:
        wcs = cutout.wcs
    except ValueError:  # a header that astropy cannot write, as with letters that are not ASCII
        return None
    return wcs if wcs is not None and wcs.has_celestial else None


def _corners_agree(own: WCS, wanted: WCS, size: tuple[int, ...]) -> bool:
    from astropy.wcs import NoConvergence

    corners = np.array([(x, y) for x in (0, size[1] - 1) for y in (0, size[0] - 1)], dtype=np.float64)
    try:
        there = own.all_world2pix(wanted.all_pix2world(corners, 0), 0)
    except NoConvergence:
        return False
    return bool((np.abs(there - corners) < SAME_GRID_PIX).all())  # NaN, off the projection, is apart


def _resampled(
    image: NDArray[np.float32], own: WCS, wanted: WCS, size: tuple[int, ...], *, per_pixel: bool
) -> NDArray[np.float32]:
    """Return the mean of an image over each pixel of a grid, or what falls into the pixel. Shape: (y, x)."""
    from astropy.wcs.utils import proj_plane_pixel_area
    from reproject import reproject_exact

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels of which nothing is covered
        mean, covered = reproject_exact((image.astype(np.float64), own), wanted, shape_out=size, parallel=False)
    moved = mean * (proj_plane_pixel_area(wanted) / proj_plane_pixel_area(own)) if per_pixel else mean
    return np.where(covered >= LEAST_COVERED, moved, np.nan).astype(np.float32)


def _common_meta(bands: Sequence[Cutout]) -> Mapping[str, float]:
    """Return what is known of the first band but its noise, without the beam where another band has another one."""
    first = {key: value for key, value in bands[0].meta.items() if key != "rms"}
    beams = [[band.meta.get(key, np.nan) for key in _BEAM] for band in bands]
    if all(np.allclose(beam, beams[0], rtol=_SAME_BEAM, equal_nan=True) for beam in beams):
        return first
    return {key: value for key, value in first.items() if key not in _BEAM}
