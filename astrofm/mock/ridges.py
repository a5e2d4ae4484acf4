"""The ridge line of a radio galaxy as Gaussian components: two jets, their plumes or lobes, and a core."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

if TYPE_CHECKING:
    from astrofm.mock.radio import RadioSource

__all__ = ["ridge_components"]

# T = points along one jet
POINTS_PER_JET = 64
KNOT_STRENGTH = 1.8
"""Standard deviation of log brightness from point to point, before neighbours are averaged."""

Array = NDArray[np.float64]


def ridge_components(source: "RadioSource", rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Return the Gaussian components of a source.

    Args:
        source: The radio galaxy.
        rng: Source of randomness: phase of the wiggles and strength of the knots.

    Returns:
        Offset along the axis and at 90 degrees to it (arcsec), flux (Jy) and sigma (arcsec) of each component; the
        last component is the core, a point at (0, 0). The fluxes add up to that of the source.
    """
    first, second = (_jet(source, side, rng) for side in (1.0, -1.0))
    arms = [(first, 1.0, 1.0), (second, source.arm_ratio, source.flux_ratio)]
    along = np.concatenate([jet[0] * length for jet, length, _ in arms])
    across = np.concatenate([jet[1] * length for jet, length, _ in arms])
    flux = np.concatenate([jet[2] * share for jet, _, share in arms])
    sigma = np.concatenate([jet[3] * length for jet, length, _ in arms])
    scale = source.angular_size_arcsec / _largest_separation(along, across)
    flux *= source.flux_jy * (1.0 - source.core_fraction) / flux.sum()
    return (
        np.append(along * scale, 0.0),
        np.append(across * scale, 0.0),
        np.append(flux, source.flux_jy * source.core_fraction),
        np.append(sigma * scale, 0.0),
    )


def _jet(source: "RadioSource", side: float, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Return along, across, flux and sigma of one jet of unit length and unit flux. Shape: (T,) each."""
    position = (np.arange(POINTS_PER_JET) + 1.0) / POINTS_PER_JET
    turned = np.radians(source.bend_deg) * (1.0 - np.exp(-position / source.turn_length))
    along = side * np.cumsum(np.cos(turned)) / POINTS_PER_JET
    across = np.cumsum(np.sin(turned)) / POINTS_PER_JET
    phase = rng.uniform(0.0, 2.0 * np.pi)
    across = across + source.wiggle * position * np.sin(2.0 * np.pi * rng.uniform(0.6, 1.3) * position + phase)
    if source.hotspot_fraction > 0.0:
        flux, sigma = _lobe(source, position)
    else:
        flux, sigma = _plume(source, position)
    knots = np.exp(gaussian_filter1d(rng.normal(0.0, KNOT_STRENGTH, POINTS_PER_JET), 2.5))
    flux = flux * knots
    flux *= (1.0 - source.hotspot_fraction) / flux.sum()
    flux[-1] += source.hotspot_fraction
    return along, across, flux, sigma


def _plume(source: "RadioSource", position: Array) -> tuple[Array, Array]:
    """Return flux and sigma of a jet that flares, is brightest at its peak position and fades into a plume."""
    reduced = position / source.peak_position
    flux = reduced * np.exp(1.0 - reduced) + 0.16
    sigma = 0.015 + source.width * position**1.2
    return flux, sigma


def _lobe(source: "RadioSource", position: Array) -> tuple[Array, Array]:
    """Return flux and sigma of a lobe that flows back from its hot spot, with a faint bridge to the core."""
    flux = np.exp(-0.5 * ((position - source.peak_position) / 0.16) ** 2) + 0.04
    sigma = source.width * np.sqrt(np.clip(1.0 - ((position - 0.7) / 0.75) ** 2, 0.0, None))
    # The hot spot, last of the points, is compact; the lobe narrows to it.
    sigma = sigma * np.where(position > 0.85, np.sqrt((1.0 - position) / 0.15), 1.0) + 0.012
    return flux, sigma


def _largest_separation(along: Array, across: Array) -> float:
    distance = np.hypot(along[:, None] - along[None, :], across[:, None] - across[None, :])
    return float(distance.max())
