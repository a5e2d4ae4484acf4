"""What a galaxy is before any telescope: its morphology, shape, colours and distance, and how they are drawn."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

__all__ = ["Galaxy", "GalaxyMorphology", "sample_galaxy"]

GalaxyMorphology = Literal["elliptical", "spiral", "edge-on", "merger"]

HUBBLE_DISTANCE_MPC = 4283.0
"""c / H0 for H0 = 70 km/s/Mpc."""


@dataclass(frozen=True)
class Galaxy:
    """A galaxy on the sky.

    Attributes:
        morphology: Class of the galaxy.
        redshift: Its redshift, which reddens its colours and sets its apparent size and magnitude.
        magnitude: Total r magnitude (AB).
        half_light_radius_arcsec: Semi-major half-light radius.
        axis_ratio: Minor over major axis as projected on the sky.
        position_angle_deg: Direction of the major axis, from North through East.
        bulge_fraction: Part of the r flux in the bulge; 1 for an elliptical.
        sersic_index: Of the bulge (or of the whole elliptical).
        boxiness: 0 for an elliptical bulge, 1 for a boxy one; seen edge-on only.
        bar_strength: 0 (no bar) to 1 (strong).
        ring_strength: 0 (no ring) to 1.
        num_arms: Number of spiral arms, 0 for a disk without arms.
        arm_strength: Contrast of the arms, 0 to 1.
        pitch_deg: Angle between the arms and a circle: small is tightly wound.
        winds_clockwise: Whether trailing arms say that it turns clockwise ("Z-wise"), seen North up, East left.
        dust: Optical depth of the dust lane in r; seen edge-on only.
        disturbance: 0 (settled) to 1 (strong tidal tails).
        companion_ratio: Flux of the second nucleus over that of the first; 0 unless a merger.
        companion_separation: Distance of the second nucleus in half-light radii.
        colour_old: Rest g - r of bulge and bar.
        colour_young: Rest g - r of arms and rings.
    """

    morphology: GalaxyMorphology
    redshift: float
    magnitude: float
    half_light_radius_arcsec: float
    axis_ratio: float
    position_angle_deg: float
    bulge_fraction: float = 1.0
    sersic_index: float = 4.0
    boxiness: float = 0.0
    bar_strength: float = 0.0
    ring_strength: float = 0.0
    num_arms: int = 0
    arm_strength: float = 0.0
    pitch_deg: float = 15.0
    winds_clockwise: bool = True
    dust: float = 0.0
    disturbance: float = 0.0
    companion_ratio: float = 0.0
    companion_separation: float = 0.0
    colour_old: float = 0.72
    colour_young: float = 0.3


def sample_galaxy(rng: np.random.Generator, morphology: str | None = None) -> Galaxy:
    """Draw one galaxy as a flux-limited survey of the nearby Universe would list it.

    Args:
        rng: Source of randomness.
        morphology: The class to draw, or None for a mixture of all four.

    Raises:
        ValueError: If there is no such morphology.
    """
    names = get_args(GalaxyMorphology)
    if morphology is not None and morphology not in names:
        raise ValueError(f"no galaxy morphology named {morphology!r}; known: {', '.join(names)}")
    drawn = str(rng.choice(names, p=(0.4, 0.4, 0.13, 0.07)))
    chosen = drawn if morphology is None else morphology
    redshift = float(np.clip(rng.lognormal(np.log(0.08), 0.45), 0.015, 0.4))
    distance_mpc = HUBBLE_DISTANCE_MPC * redshift * (1.0 - 0.22 * redshift)
    modulus = 25.0 + 5.0 * np.log10(distance_mpc * (1.0 + redshift))
    magnitude = float(np.clip(rng.normal(-21.6, 0.6) + modulus, 13.0, 19.0))
    arcsec_per_kpc = 206.265 * (1.0 + redshift) / distance_mpc
    radius_arcsec = float(np.clip(rng.lognormal(np.log(6.0), 0.3) * arcsec_per_kpc, 2.0, 15.0))
    return _SAMPLERS[chosen](rng, redshift, magnitude, radius_arcsec)


def _sample_elliptical(rng: np.random.Generator, redshift: float, magnitude: float, radius_arcsec: float) -> Galaxy:
    return Galaxy(
        "elliptical",
        redshift,
        magnitude,
        radius_arcsec,
        axis_ratio=float(1.0 - 0.6 * rng.beta(1.4, 2.2)),
        position_angle_deg=float(rng.uniform(0.0, 180.0)),
        sersic_index=float(np.clip(rng.normal(3.8, 0.8), 2.0, 6.0)),
        disturbance=float(rng.beta(1.0, 15.0)),
        colour_old=float(rng.normal(0.74, 0.03)),
        colour_young=float(rng.normal(0.68, 0.03)),
    )


def _sample_spiral(rng: np.random.Generator, redshift: float, magnitude: float, radius_arcsec: float) -> Galaxy:
    bulge_fraction = float(rng.beta(1.8, 6.0))
    is_barred, is_ringed = rng.random() < 0.45, rng.random() < 0.2
    pitch_deg = 26.0 - 30.0 * bulge_fraction + rng.normal(0.0, 5.0)  # early types wind more tightly
    return Galaxy(
        "spiral",
        redshift,
        magnitude,
        1.25 * radius_arcsec,
        axis_ratio=float(rng.uniform(0.4, 1.0)),
        position_angle_deg=float(rng.uniform(0.0, 180.0)),
        bulge_fraction=bulge_fraction,
        sersic_index=float(rng.uniform(1.5, 3.5)),
        bar_strength=float(rng.uniform(0.35, 1.0)) if is_barred else 0.0,
        ring_strength=float(rng.uniform(0.4, 1.0)) if is_ringed else 0.0,
        num_arms=int(rng.choice([1, 2, 3, 4, 5], p=[0.04, 0.62, 0.14, 0.12, 0.08])),
        arm_strength=float(rng.uniform(0.15, 0.5) if is_ringed else rng.uniform(0.35, 1.0)),
        pitch_deg=float(np.clip(pitch_deg, 8.0, 36.0)),
        winds_clockwise=bool(rng.random() < 0.5),
        disturbance=float(rng.beta(1.0, 10.0)),
        colour_old=float(rng.normal(0.7, 0.04)),
        colour_young=float(rng.normal(0.3, 0.06)),
    )


def _sample_edge_on(rng: np.random.Generator, redshift: float, magnitude: float, radius_arcsec: float) -> Galaxy:
    return Galaxy(
        "edge-on",
        redshift,
        magnitude,
        1.6 * radius_arcsec,
        axis_ratio=float(rng.uniform(0.12, 0.28)),
        position_angle_deg=float(rng.uniform(0.0, 180.0)),
        bulge_fraction=float(rng.beta(1.3, 5.0)),
        sersic_index=float(rng.uniform(1.2, 2.5)),
        boxiness=float(rng.beta(0.6, 1.4)),
        dust=float(rng.choice([0.0, rng.uniform(1.0, 4.0)], p=[0.3, 0.7])),
        disturbance=float(rng.beta(1.0, 12.0)),
        colour_old=float(rng.normal(0.7, 0.04)),
        colour_young=float(rng.normal(0.42, 0.08)),
    )


def _sample_merger(rng: np.random.Generator, redshift: float, magnitude: float, radius_arcsec: float) -> Galaxy:
    return Galaxy(
        "merger",
        redshift,
        magnitude,
        1.1 * radius_arcsec,
        axis_ratio=float(rng.uniform(0.45, 0.95)),
        position_angle_deg=float(rng.uniform(0.0, 180.0)),
        bulge_fraction=float(rng.uniform(0.3, 0.9)),
        sersic_index=float(rng.uniform(1.8, 3.5)),
        disturbance=float(rng.uniform(0.35, 1.0)),
        companion_ratio=float(rng.uniform(0.35, 1.0)),
        companion_separation=float(rng.uniform(1.0, 2.6)),
        colour_old=float(rng.normal(0.7, 0.05)),
        colour_young=float(rng.normal(0.38, 0.12)),
    )


_SAMPLERS = {
    "elliptical": _sample_elliptical,
    "spiral": _sample_spiral,
    "edge-on": _sample_edge_on,
    "merger": _sample_merger,
}
