"""Which tile a position lies on, and at which pixel."""

from __future__ import annotations

__all__ = ["nearest_pixels", "place_on_tiles"]

from collections.abc import Iterable

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from numpy.typing import NDArray

from astrofm.data.forms.mosaic_image import Mosaic

FAR_PIX = 100
"""Positions further outside a tile than this and a tenth of it are not followed through its distortion."""

NUM_ON_BORDER = 9
"""Points on each side of a tile that its extent on the sky is taken from."""

WIDE_RAD = 1.0
"""Radius of a tile beyond which it is not worth a circle."""

MARGIN_RAD = 1e-4


def nearest_pixels(
    mosaic: Mosaic, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixel (y, x) of a mosaic that each position falls into, -1 outside. Shape of each: (n,)."""
    y, x = _pixel_positions(mosaic, ra_deg, dec_deg)
    is_inside = _depth_pix(mosaic, y, x) > 0
    return (
        np.where(is_inside, np.floor(np.where(is_inside, y, 0.0) + 0.5), -1).astype(np.int64),
        np.where(is_inside, np.floor(np.where(is_inside, x, 0.0) + 0.5), -1).astype(np.int64),
    )


def place_on_tiles(
    tiles: Iterable[Mosaic], ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return which tile each position lies on, -1 for none: of several, the one where it is farthest from the edge.

    Args:
        tiles: Each is used once, so that they may be opened one by one.
        ra_deg: ICRS; may be NaN. Shape: (n,).
        dec_deg: Shape: (n,).
    """
    tile = np.full(len(ra_deg), -1, np.int64)
    depth_arcsec = np.zeros(len(ra_deg))
    directions = _directions(ra_deg, dec_deg)
    for number, mosaic in enumerate(tiles):
        rows = np.flatnonzero(_may_lie_on(mosaic, directions))
        scale = mosaic.pixel_scale_arcsec
        own = _depth_pix(mosaic, *_pixel_positions(mosaic, ra_deg[rows], dec_deg[rows]))
        own *= scale if np.isfinite(scale) else 1.0
        deeper = own > depth_arcsec[rows]
        tile[rows[deeper]], depth_arcsec[rows[deeper]] = number, own[deeper]
    return tile


def _directions(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors. Shape: (n, 3)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _may_lie_on(mosaic: Mosaic, directions: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which directions lie in a circle about a tile: a product each, where the WCS takes far longer."""
    num_y, num_x = mosaic.image.shape[1:]
    y, x = (np.linspace(-0.5, num - 0.5, NUM_ON_BORDER) for num in (num_y, num_x))
    grid_y, grid_x = (grid.ravel() for grid in np.meshgrid(y, x, indexing="ij"))
    world = mosaic.wcs.all_pix2world(grid_x, grid_y, 0)
    lon, lat = world if mosaic.wcs.wcs.lng < mosaic.wcs.wcs.lat else world[::-1]
    known = np.isfinite(directions[:, 0])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return known  # a projection of the whole sky, whose corners are not on it
    sky = SkyCoord(lon * u.deg, lat * u.deg, frame=mosaic.frame).icrs
    points = _directions(sky.ra.deg, sky.dec.deg)
    centre = points.mean(axis=0)
    length = np.linalg.norm(centre)
    reach = np.arccos(np.clip(points @ centre / max(length, 1e-9), -1.0, 1.0)).max()
    if length < 0.5 or reach > WIDE_RAD:
        return known
    # Between the points of the border the sky bulges by less than a tenth of the way from the centre.
    return np.asarray(known & (directions @ (centre / length) >= np.cos(1.1 * reach + MARGIN_RAD)))


def _pixel_positions(
    mosaic: Mosaic, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (y, x) counted from 0 at the middle of the first pixel, NaN where the projection does not reach."""
    positions = np.full((2, len(ra_deg)), np.nan)
    known = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    if not known.any():
        return positions[1], positions[0]
    wcs = mosaic.wcs
    world = _in_frame(mosaic, ra_deg[known], dec_deg[known])
    world = world if wcs.wcs.lng < wcs.wcs.lat else world[::-1]
    found = np.array(wcs.wcs_world2pix(*world, 0))
    if wcs.has_distortion:
        reach = np.array([[0.1 * length + FAR_PIX] for length in mosaic.image.shape[:0:-1]])
        last = np.array([[length] for length in mosaic.image.shape[:0:-1]])
        near = ((found > -reach) & (found < last + reach)).all(axis=0)
        if near.any():
            found[:, near] = wcs.all_world2pix(world[0][near], world[1][near], 0, quiet=True)
    positions[:, known] = found
    return positions[1], positions[0]


def _in_frame(
    mosaic: Mosaic, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude, in degrees, in the frame of the mosaic."""
    if isinstance(mosaic.frame, ICRS):
        return ra_deg, dec_deg
    moved = SkyCoord(ra_deg, dec_deg, unit="deg", frame="icrs").transform_to(mosaic.frame)
    return moved.spherical.lon.deg, moved.spherical.lat.deg


def _depth_pix(mosaic: Mosaic, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of positions from the nearest edge of a mosaic, not positive outside."""
    num_y, num_x = mosaic.image.shape[1:]
    depth = np.minimum.reduce([y + 0.5, num_y - 0.5 - y, x + 0.5, num_x - 0.5 - x])
    return np.where(np.isfinite(depth), depth, -np.inf)
