"""A sky of radio galaxies: what they are (:class:`RadioSource`) and how an interferometer sees them.

The two classes are those of Fanaroff & Riley (1974, https://doi.org/10.1093/mnras/167.1.31P): FR I sources are
brightest near the core and fade outwards, FR II sources are brightest in hot spots at their ends. Wide-angle and
narrow-angle tails (Owen & Rudnick 1976) make up ``bent``.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astrofm.mock.fourier import Components, gaussian_taper, padded_size, to_image, to_pixels, transform
from astrofm.mock.ridges import ridge_components

__all__ = ["RadioMorphology", "RadioSource", "render_radio", "sample_radio_source"]

RadioMorphology = Literal["fr1", "fr2", "bent", "compact"]

FIELD_SOURCES_PER_DEG2 = 90.0
"""Density of 1.4 GHz sources brighter than 1 mJy (Becker, White & Helfand 1995, https://doi.org/10.1086/176166)."""

FAINTEST_FIELD_SOURCE_JY = 1e-3
BRIGHTEST_FIELD_SOURCE_JY = 5e-2


@dataclass(frozen=True)
class RadioSource:
    """A radio galaxy as it is on the sky, before any telescope.

    Attributes:
        morphology: Class of the source.
        angular_size_arcsec: Largest separation of two points on the ridge line.
        position_angle_deg: Direction of the first jet where it leaves the core, from North through East.
        flux_jy: Flux density of the whole source.
        core_fraction: Part of the flux in the unresolved core.
        arm_ratio: Length of the second jet over that of the first.
        flux_ratio: Flux of the second jet over that of the first.
        bend_deg: Angle by which each jet turns away from its first direction, both to the same side.
        turn_length: Part of a jet over which it turns into its tail.
        wiggle: Amplitude of the sideways swing of the jets, in units of their length.
        width: Transverse sigma of the widest part, in units of the length of a jet.
        peak_position: Where along a jet it is brightest, 0 (core) to 1 (end). Hot spots lie at 1.
        hotspot_fraction: Part of the flux of each jet that is in its hot spot.
    """

    morphology: RadioMorphology
    angular_size_arcsec: float
    position_angle_deg: float
    flux_jy: float
    core_fraction: float = 0.0
    arm_ratio: float = 1.0
    flux_ratio: float = 1.0
    bend_deg: float = 0.0
    turn_length: float = 0.3
    wiggle: float = 0.0
    width: float = 0.08
    peak_position: float = 0.2
    hotspot_fraction: float = 0.0


def sample_radio_source(rng: np.random.Generator, morphology: str | None = None) -> RadioSource:
    """Draw one radio galaxy as a flux-limited survey at 1.4 GHz would list it.

    The sizes and fluxes spread like those of the 1256 sources of Miraghaei & Best (2017,
    https://doi.org/10.1093/mnras/stx007): medians near 50 arcsec and 65 mJy.

    Args:
        rng: Source of randomness.
        morphology: The class to draw, or None for a mixture of all four.

    Raises:
        ValueError: If there is no such morphology.
    """
    names = get_args(RadioMorphology)
    if morphology is not None and morphology not in names:
        raise ValueError(f"no radio morphology named {morphology!r}; known: {', '.join(names)}")
    drawn = str(rng.choice(names, p=(0.3, 0.4, 0.2, 0.1)))
    chosen = drawn if morphology is None else morphology
    size_arcsec = float(np.clip(rng.lognormal(np.log(_MEDIAN_SIZE_ARCSEC[chosen]), 0.55), 20.0, 250.0))
    # Larger sources of the same flux fall below the surface brightness at which they would be noticed.
    flux_jy = float(np.clip(rng.lognormal(np.log(0.065), 0.9) * (size_arcsec / 50.0) ** 0.7, 5e-3, 1.0))
    position_angle_deg = float(rng.uniform(0.0, 360.0))
    return _SAMPLERS[chosen](rng, size_arcsec, position_angle_deg, flux_jy)


def render_radio(
    source: RadioSource,
    rng: np.random.Generator,
    *,
    size_pix: int,
    pixel_scale_arcsec: float,
    bmaj_arcsec: float,
    bmin_arcsec: float,
    bpa_deg: float,
    noise_jy_per_beam: float,
    field_sources_per_deg2: float = FIELD_SOURCES_PER_DEG2,
) -> NDArray[np.float32]:
    """Observe a source with an elliptical Gaussian beam and noise that is correlated on that beam.

    A point source of S Jy peaks at S Jy/beam. The noise is white noise seen through the beam, scaled to the stated rms.

    Args:
        source: What to observe, at pixel ``(size_pix // 2, size_pix // 2)``.
        rng: Source of randomness: knots in the jets, noise, unrelated sources in the field.
        size_pix: Side of the square image.
        pixel_scale_arcsec: Side of a pixel.
        bmaj_arcsec: Major axis (FWHM) of the beam, at least two pixels or the image is undersampled.
        bmin_arcsec: Minor axis (FWHM) of the beam.
        bpa_deg: Position angle of the major axis, from North (+y) through East (-x).
        noise_jy_per_beam: Rms of the noise.
        field_sources_per_deg2: Density of unrelated point sources brighter than 1 mJy.

    Returns:
        Image in Jy/beam. Shape: (y, x), North up, East left.

    Raises:
        ValueError: If the minor axis of the beam is longer than the major one or shorter than a pixel.
    """
    if not pixel_scale_arcsec <= bmin_arcsec <= bmaj_arcsec:
        raise ValueError(
            f"a beam of {bmaj_arcsec} x {bmin_arcsec} arcsec on pixels of {pixel_scale_arcsec} arcsec cannot be drawn; "
            "give bmaj >= bmin >= the pixel scale"
        )
    bmaj_pix, bmin_pix = bmaj_arcsec / pixel_scale_arcsec, bmin_arcsec / pixel_scale_arcsec
    grid_pix = padded_size(size_pix, max(2.0 * bmaj_pix, 0.1 * size_pix))
    taper = gaussian_taper(grid_pix, bmaj_pix, bmin_pix, bpa_deg)
    beam_area_pix = np.pi * bmaj_pix * bmin_pix / (4.0 * np.log(2.0))
    components = _in_grid(_sky(source, rng, size_pix, pixel_scale_arcsec, field_sources_per_deg2), size_pix, grid_pix)
    spectrum = transform(components, grid_pix) * beam_area_pix
    # Parseval: white noise of unit variance has rms sqrt(mean |taper|^2) once it is convolved.
    white = fft.rfft2(rng.standard_normal((grid_pix, grid_pix)))
    spectrum += white * (noise_jy_per_beam / np.sqrt(_mean_square(taper, grid_pix)))
    return to_image(spectrum * taper, grid_pix, size_pix).astype(np.float32)


def _sky(
    source: RadioSource, rng: np.random.Generator, size_pix: int, pixel_scale_arcsec: float, density_per_deg2: float
) -> Components:
    """Return the source and its unrelated neighbours as Gaussian components in pixels and Jy."""
    along, across, flux_jy, sigma_arcsec = ridge_components(source, rng)
    angle = np.radians(source.position_angle_deg)
    east = along * np.sin(angle) + across * np.cos(angle)
    north = along * np.cos(angle) - across * np.sin(angle)
    x_pix, y_pix = to_pixels(east, north, size_pix=size_pix, pixel_scale_arcsec=pixel_scale_arcsec)
    num_field = rng.poisson(density_per_deg2 * (size_pix * pixel_scale_arcsec / 3600.0) ** 2)
    # Euclidean counts flatten below 0.1 Jy: N(>S) falls roughly as 1/S.
    field_jy = np.minimum(FAINTEST_FIELD_SOURCE_JY / rng.uniform(1e-3, 1.0, num_field), BRIGHTEST_FIELD_SOURCE_JY)
    field_x, field_y = rng.uniform(0.0, size_pix - 1.0, (2, num_field))
    return (
        np.concatenate([x_pix, field_x]),
        np.concatenate([y_pix, field_y]),
        np.concatenate([flux_jy, field_jy]),
        np.concatenate([sigma_arcsec / pixel_scale_arcsec, np.zeros(num_field)]),
    )


def _in_grid(components: Components, size_pix: int, grid_pix: int) -> Components:
    """Drop what lies so far outside the image that it would wrap around into it."""
    margin = (grid_pix - size_pix) / 2.0
    x_pix, y_pix, flux, sigma_pix = components
    near = (np.abs(x_pix - size_pix / 2.0) < size_pix / 2.0 + margin) & (
        np.abs(y_pix - size_pix / 2.0) < size_pix / 2.0 + margin
    )
    return x_pix[near], y_pix[near], flux[near], sigma_pix[near]


def _mean_square(taper: NDArray[np.float64], grid_pix: int) -> float:
    """Return the mean of the squared taper over the whole Fourier plane, of which rfft2 stores one half."""
    weight = np.full(taper.shape[1], 2.0)
    weight[0] = 1.0
    if grid_pix % 2 == 0:
        weight[-1] = 1.0
    return float((taper**2 * weight).sum() / grid_pix**2)


def _sample_fr1(rng: np.random.Generator, size_arcsec: float, angle_deg: float, flux_jy: float) -> RadioSource:
    return RadioSource(
        "fr1",
        size_arcsec,
        angle_deg,
        flux_jy,
        core_fraction=float(rng.beta(2.0, 9.0)),
        arm_ratio=float(np.exp(rng.normal(0.0, 0.15))),
        flux_ratio=float(np.exp(rng.normal(0.0, 0.25))),
        bend_deg=float(rng.normal(0.0, 12.0)),
        wiggle=float(rng.gamma(2.0, 0.07)),
        width=float(rng.uniform(0.10, 0.22)),
        peak_position=float(rng.uniform(0.14, 0.28)),
    )


def _sample_fr2(rng: np.random.Generator, size_arcsec: float, angle_deg: float, flux_jy: float) -> RadioSource:
    return RadioSource(
        "fr2",
        size_arcsec,
        angle_deg,
        flux_jy,
        core_fraction=float(rng.beta(1.0, 40.0)),
        arm_ratio=float(np.exp(rng.normal(0.0, 0.2))),
        flux_ratio=float(np.exp(rng.normal(0.0, 0.5))),
        bend_deg=float(rng.normal(0.0, 4.0)),
        wiggle=0.0,
        width=float(rng.uniform(0.07, 0.13)),
        peak_position=float(rng.uniform(0.75, 0.9)),
        hotspot_fraction=float(rng.uniform(0.25, 0.6)),
    )


def _sample_bent(rng: np.random.Generator, size_arcsec: float, angle_deg: float, flux_jy: float) -> RadioSource:
    is_narrow = rng.random() < 0.4
    bend_deg = rng.uniform(78.0, 96.0) if is_narrow else rng.uniform(35.0, 70.0)
    return RadioSource(
        "bent",
        size_arcsec,
        angle_deg,
        flux_jy,
        core_fraction=float(rng.beta(2.0, 12.0)),
        arm_ratio=float(np.exp(rng.normal(0.0, 0.2))),
        flux_ratio=float(np.exp(rng.normal(0.0, 0.25))),
        bend_deg=float(bend_deg * rng.choice([-1.0, 1.0])),
        turn_length=0.1 if is_narrow else 0.3,
        wiggle=float(rng.gamma(2.0, 0.015)),
        width=float(rng.uniform(0.06, 0.11)),
        peak_position=float(rng.uniform(0.12, 0.25) if is_narrow else rng.uniform(0.2, 0.45)),
    )


def _sample_compact(rng: np.random.Generator, size_arcsec: float, angle_deg: float, flux_jy: float) -> RadioSource:
    return RadioSource(
        "compact",
        float(rng.uniform(0.0, 0.08) * size_arcsec),
        angle_deg,
        flux_jy,
        core_fraction=float(rng.uniform(0.6, 1.0)),
        flux_ratio=float(np.exp(rng.normal(0.0, 0.5))),
        width=0.2,
        peak_position=0.9,
    )


_MEDIAN_SIZE_ARCSEC = {"fr1": 65.0, "fr2": 48.0, "bent": 60.0, "compact": 30.0}

_SAMPLERS = {"fr1": _sample_fr1, "fr2": _sample_fr2, "bent": _sample_bent, "compact": _sample_compact}
