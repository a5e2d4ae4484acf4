"""Pictures of made-up galaxies as Galaxy Zoo shows them: scaled to the galaxy, in Lupton colours, as JPEG files."""

from __future__ import annotations

__all__ = ["Camera", "galaxy_jpeg"]

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from astrofm.mock.optical import Galaxy, render_galaxy, to_rgb

SDSS_PIXEL_ARCSEC = 0.396
NOISE_NANOMAGGY = 0.02
"""Rms of a pixel of that size, a round number for a shallow ground-based survey."""


@dataclass(frozen=True)
class Camera:
    """How galaxies look through one telescope."""

    bands: tuple[str, str, str]
    """Blue, green, red."""
    psf_fwhm_arcsec: float
    depth: float = 1.0
    """How much fainter its noise is than that of a shallow ground-based survey."""


def galaxy_jpeg(
    galaxy: Galaxy, camera: Camera, rng: np.random.Generator, *, size_pix: int, pixels_per_radius: float
) -> bytes:
    """Return the picture of a galaxy, North up, East left.

    Args:
        galaxy: What to show.
        camera: Through which telescope.
        rng: Source of noise and neighbours.
        size_pix: Side of the picture.
        pixels_per_radius: Half-light radius of the galaxy in pixels, whatever it is on the sky.

    Returns:
        Content of a JPEG file.
    """
    pixel_scale_arcsec = galaxy.half_light_radius_arcsec / pixels_per_radius
    area = (SDSS_PIXEL_ARCSEC / pixel_scale_arcsec) ** 2
    image = render_galaxy(
        galaxy,
        rng,
        size_pix=size_pix,
        pixel_scale_arcsec=pixel_scale_arcsec,
        psf_fwhm_arcsec=camera.psf_fwhm_arcsec,
        bands=camera.bands,
        noise=NOISE_NANOMAGGY / area**0.5 / camera.depth,
    )
    buffer = BytesIO()
    Image.fromarray(to_rgb(image * area)[::-1]).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()
