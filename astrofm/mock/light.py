"""Where the light of a galaxy is, and of which stars: maps of its components on the plane of the sky.

Disks are drawn in their own plane and projected; arms are logarithmic spirals. Smooth components are normalised over
the whole plane, not over the image, so that a galaxy larger than its cutout loses what lies outside.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import gamma

from astrofm.mock.galaxies import Galaxy

__all__ = ["Component", "galaxy_components"]

Array = NDArray[np.float64]

SCALE_LENGTHS_PER_HALF_LIGHT = 1.678
"""Half-light radius of an exponential disk in scale lengths."""

ARM_SHARPNESS = 2.2
PATCHINESS = 0.45
RING_WIDTH = 0.13
BAR_WIDTH = 0.2
FAINTEST_DISTURBANCE = 0.15
"""Disturbance below which nothing is drawn of it."""


@dataclass(frozen=True)
class Component:
    """One stellar population.

    Attributes:
        light: Flux per pixel of a galaxy of unit r flux. Shape: (y, x).
        youth: 0 for the old population, 1 for the young one; sets the colour.
        dust: Optical depth in r. Shape: (y, x), or 0.
    """

    light: Array
    youth: float
    dust: Array | float = 0.0


class Frame:
    """Pixel positions along the axes of a galaxy.

    Attributes:
        major: Position along the major axis. Shape: (y, x).
        minor: Position along the minor axis, 90 degrees further East. Shape: (y, x).
        radius_pix: Half-light radius of the galaxy.
    """

    def __init__(self, offset_pix: Array, position_angle_deg: float, radius_pix: float) -> None:
        self._offset_pix = offset_pix
        self._sin, self._cos = math.sin(math.radians(position_angle_deg)), math.cos(math.radians(position_angle_deg))
        x_pix, y_pix = offset_pix[None, :], offset_pix[:, None]
        self.major = self._cos * y_pix - self._sin * x_pix
        self.minor = -self._cos * x_pix - self._sin * y_pix
        self.radius_pix = radius_pix

    def blobs(self, major: Array, minor: Array, sigma_pix: Array, flux: Array) -> Array:
        """Return the sum of circular Gaussians, each a product of a function of y and one of x. Shape: (y, x)."""
        x_pix, y_pix = -self._sin * major - self._cos * minor, self._cos * major - self._sin * minor
        scale = 0.5 / sigma_pix[:, None] ** 2
        along_x = np.exp(-scale * (self._offset_pix - x_pix[:, None]) ** 2)
        along_y = np.exp(-scale * (self._offset_pix - y_pix[:, None]) ** 2) * (flux[:, None] * scale / np.pi)
        return np.asarray(along_y.T @ along_x)


def galaxy_components(
    galaxy: Galaxy, rng: np.random.Generator, offset_pix: Array, radius_pix: float
) -> list[Component]:
    """Return the components of a galaxy.

    Args:
        galaxy: The galaxy.
        rng: Source of randomness: angle of the bar, patches of star formation, course of the tails.
        offset_pix: Distance of each column (to the West) and of each row (to the North) from the centre. Shape: (n,).
        radius_pix: Half-light radius in pixels.
    """
    frame = Frame(offset_pix, galaxy.position_angle_deg, radius_pix)
    parts = _PARTS[galaxy.morphology](galaxy, rng, frame)
    if galaxy.morphology == "merger" or galaxy.disturbance < FAINTEST_DISTURBANCE:
        return parts
    share = 0.15 * galaxy.disturbance
    settled = [replace(part, light=(1.0 - share) * part.light) for part in parts]
    return [*settled, _tail(galaxy, rng, frame, share, (0.0, 0.0), rng.uniform(0.0, 2.0 * np.pi))]


def sersic(
    major: Array, minor: Array, radius_pix: float, axis_ratio: float, index: float, boxiness: float = 0.0
) -> Array:
    """Return a Sersic profile of unit flux, b_n from Ciotti & Bertin (1999, https://arxiv.org/abs/astro-ph/9911078).

    The radius is softened by a third of a pixel, since the centre of a steep profile is a cusp.
    """
    b_n = 2.0 * index - 1.0 / 3.0 + 4.0 / (405.0 * index)
    power = 2.0 + 1.5 * boxiness
    squared = (np.abs(major) ** power + np.abs(minor / axis_ratio) ** power) ** (2.0 / power)
    scaled = (squared + 0.11) / radius_pix**2
    norm = 2.0 * math.pi * index * radius_pix**2 * axis_ratio * float(gamma(2.0 * index)) / b_n ** (2.0 * index)
    return np.asarray(np.exp(-b_n * scaled ** (0.5 / index)) / norm)


def _elliptical(galaxy: Galaxy, rng: np.random.Generator, frame: Frame) -> list[Component]:
    light = sersic(frame.major, frame.minor, frame.radius_pix, galaxy.axis_ratio, galaxy.sersic_index)
    outskirts = sersic(frame.major, frame.minor, 1.5 * frame.radius_pix, galaxy.axis_ratio, 1.5)
    return [Component(0.85 * light, 0.0), Component(0.15 * outskirts, 1.0)]


def _spiral(galaxy: Galaxy, rng: np.random.Generator, frame: Frame) -> list[Component]:
    scale_pix = frame.radius_pix / SCALE_LENGTHS_PER_HALF_LIGHT
    plane_x, plane_y = frame.major, frame.minor / galaxy.axis_ratio
    radius, angle = np.hypot(plane_x, plane_y) + 1e-6, np.arctan2(plane_y, plane_x)
    bar_angle = rng.uniform(0.0, 2.0 * np.pi)
    has_bar = galaxy.bar_strength > 0.0
    bar_pix = (1.15 + 0.5 * galaxy.bar_strength) * scale_pix
    disk = np.exp(-radius / scale_pix) / (2.0 * np.pi * scale_pix**2 * galaxy.axis_ratio)
    patches = _patches(rng, disk.shape, scale_pix / 4.0)
    start_pix = bar_pix if has_bar else 0.5 * scale_pix
    arms = disk * _arm_contrast(galaxy, angle - bar_angle, radius, start_pix, scale_pix) * patches
    ring_pix = bar_pix if has_bar else 2.2 * scale_pix
    ring = np.exp(-0.5 * ((radius - ring_pix) / (RING_WIDTH * ring_pix)) ** 2) * np.sqrt(patches)
    bar = _bar(plane_x, plane_y, bar_angle, bar_pix)
    bulge_ratio = 0.5 + 0.5 * galaxy.axis_ratio
    bulge = sersic(frame.major, frame.minor, 0.35 * frame.radius_pix, bulge_ratio, galaxy.sersic_index)
    young = 1.0 - galaxy.bulge_fraction
    bar_share, ring_share = 0.22 * galaxy.bar_strength * young, 0.4 * galaxy.ring_strength * young
    arm_share = 0.55 * galaxy.arm_strength * (young - bar_share - ring_share) if galaxy.num_arms else 0.0
    disk_share = young - bar_share - ring_share - arm_share
    parts = [Component(galaxy.bulge_fraction * bulge, 0.0), Component(disk_share * disk, 0.6)]
    if has_bar:
        parts.append(Component(bar_share * bar / bar.sum(), 0.1))
    if ring_share > 0.0:
        parts.append(Component(ring_share * ring / ring.sum(), 1.0))
    if arm_share > 0.0:  # of the arms as much lies in the image as of the disk
        parts.append(Component(arm_share * arms * (disk.sum() / arms.sum()), 1.0))
    return parts


def _patches(rng: np.random.Generator, shape: tuple[int, ...], sigma_pix: float) -> Array:
    """Return star formation that is patchy on one scale: a lognormal field of median 1. Shape: (y, x)."""
    smooth = gaussian_filter(rng.standard_normal(shape), sigma_pix, mode="wrap", truncate=3.0)
    unit = smooth * 2.0 * math.sqrt(math.pi) * sigma_pix  # rms of white noise seen through a Gaussian
    return np.asarray(np.exp(PATCHINESS * np.clip(unit, -3.0, 3.0)))


def _bar(plane_x: Array, plane_y: Array, bar_angle: float, bar_pix: float) -> Array:
    along = math.cos(bar_angle) * plane_x + math.sin(bar_angle) * plane_y
    across = -math.sin(bar_angle) * plane_x + math.cos(bar_angle) * plane_y
    return np.asarray(np.exp(-((along / bar_pix) ** 4) - (across / (BAR_WIDTH * bar_pix)) ** 2))


def _arm_contrast(galaxy: Galaxy, angle: Array, radius: Array, start_pix: float, scale_pix: float) -> Array:
    """Return the relative brightness of the arms over that of the disk they lie in. Shape: (y, x)."""
    # The angle grows from North through East: anticlockwise. Trailing arms that open anticlockwise turn clockwise.
    handed = 1.0 if galaxy.winds_clockwise else -1.0
    lag = handed * np.log(radius / start_pix) / math.tan(math.radians(galaxy.pitch_deg))
    crest = np.exp(ARM_SHARPNESS * (np.cos(galaxy.num_arms * (angle - lag)) - 1.0))
    begin = 1.0 / (1.0 + np.exp(-np.clip((radius / start_pix - 0.85) / 0.12, -30.0, 30.0)))
    fade = np.exp(0.35 * np.minimum(radius / scale_pix, 4.0))  # arms fade more slowly than the disk
    return np.asarray(crest * begin * fade)


def _edge_on(galaxy: Galaxy, rng: np.random.Generator, frame: Frame) -> list[Component]:
    scale_pix = frame.radius_pix / SCALE_LENGTHS_PER_HALF_LIGHT
    height_pix = max(galaxy.axis_ratio * scale_pix, 0.5)
    length = np.abs(frame.major)
    level = np.minimum(np.abs(frame.minor) / height_pix, 30.0)
    disk = np.exp(-length / scale_pix) / np.cosh(level) ** 2 / (4.0 * scale_pix * height_pix)
    bulge_pix = 0.3 * frame.radius_pix
    bulge = sersic(frame.major, frame.minor, bulge_pix, 0.7, galaxy.sersic_index, galaxy.boxiness)
    lane = np.exp(-length / (1.5 * scale_pix) - 0.5 * (level / 0.45) ** 2)
    dust = galaxy.dust * lane
    fraction = galaxy.bulge_fraction
    return [Component(fraction * bulge, 0.0, 0.8 * dust), Component((1.0 - fraction) * disk, 0.8, dust)]


def _merger(galaxy: Galaxy, rng: np.random.Generator, frame: Frame) -> list[Component]:
    apart, where = galaxy.companion_separation * frame.radius_pix, rng.uniform(0.0, 2.0 * np.pi)
    tails = 0.3 * galaxy.disturbance
    primary = (1.0 - tails) / (1.0 + galaxy.companion_ratio)
    parts = []
    for share, side in ((primary, -0.5), (primary * galaxy.companion_ratio, 0.5)):
        nucleus = (side * apart * math.cos(where), side * apart * math.sin(where))
        size_pix = 0.7 * frame.radius_pix * math.sqrt(share / primary)
        parts += _one_of_two(galaxy, rng, frame, share, nucleus, size_pix)
        outward = where + (np.pi if side < 0.0 else 0.0)
        parts.append(_tail(galaxy, rng, frame, 0.5 * tails, nucleus, outward))
    return parts


def _one_of_two(
    galaxy: Galaxy,
    rng: np.random.Generator,
    frame: Frame,
    share: float,
    nucleus: tuple[float, float],
    size_pix: float,
) -> list[Component]:
    """Return bulge and disk of one of two merging galaxies, at its own angle."""
    major, minor = frame.major - nucleus[0], frame.minor - nucleus[1]
    turn, ratio = rng.uniform(0.0, np.pi), rng.uniform(0.5, 1.0) * galaxy.axis_ratio
    along = math.cos(turn) * major + math.sin(turn) * minor
    across = -math.sin(turn) * major + math.cos(turn) * minor
    bulge = sersic(along, across, 0.4 * size_pix, 0.5 + 0.5 * ratio, galaxy.sersic_index)
    disk = sersic(along, across, size_pix, ratio, 1.0)
    fraction = galaxy.bulge_fraction
    return [Component(share * fraction * bulge, 0.0), Component(share * (1.0 - fraction) * disk, 0.8)]


def _tail(
    galaxy: Galaxy,
    rng: np.random.Generator,
    frame: Frame,
    share: float,
    start: tuple[float, float],
    outward: float,
) -> Component:
    """Return a tidal tail: an arc that leaves a nucleus, swings sideways, widens and fades."""
    num_points = 24
    position = np.linspace(0.0, 1.0, num_points)
    swing = rng.choice([-1.0, 1.0]) * rng.uniform(1.2, 2.4)
    course = outward + swing * (position - 0.25)
    step_pix = (1.6 + 1.8 * galaxy.disturbance) * frame.radius_pix / num_points
    major = start[0] + step_pix * np.cumsum(np.cos(course))
    minor = start[1] + step_pix * np.cumsum(np.sin(course))
    sigma_pix = frame.radius_pix * (0.16 + 0.12 * position)
    flux = share * (1.1 - position) / (1.1 - position).sum()
    return Component(frame.blobs(major, minor, sigma_pix, flux), 0.9)


_PARTS = {"elliptical": _elliptical, "spiral": _spiral, "edge-on": _edge_on, "merger": _merger}
