"""Made-up radio images in the FITS files that real ones come in."""

from __future__ import annotations

__all__ = ["random_position", "resolution", "write_mock_fits"]

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrofm import SurveyCard
from astrofm.card import Beam
from astrofm.errors import DataError
from astrofm.mock.radio import RadioSource, render_radio


def random_position(
    rng: np.random.Generator, ra_deg: tuple[float, float], dec_deg: tuple[float, float]
) -> tuple[float, float]:
    """Draw a position in a box on the sky, uniform in area. Returns (ra, dec) in degrees."""
    low, high = np.sin(np.radians(dec_deg))
    return float(rng.uniform(*ra_deg)), float(np.degrees(np.arcsin(rng.uniform(low, high))))


def resolution(card: SurveyCard) -> tuple[Beam, float]:
    """Return a card's beam and pixel scale (arcsec).

    Raises:
        DataError: If the card does not know them.
    """
    beam = None if card.beam is None else card.beam.value
    pixel_scale_arcsec = card.pixel_scale_arcsec.value
    if beam is None or pixel_scale_arcsec is None:
        raise DataError(f"the card of {card.name!r} gives no beam or no pixel scale, which mock images need")
    return beam, pixel_scale_arcsec


def render(
    source: RadioSource, rng: np.random.Generator, card: SurveyCard, size_pix: int, noise_jy_per_beam: float
) -> NDArray[np.float32]:
    """Return a source as a survey would see it, under the beam and on the pixels of its card.

    Args:
        source: What is drawn.
        rng: Of the noise and of what else is in the field.
        card: Gives beam and pixel scale.
        size_pix: Side of the image.
        noise_jy_per_beam: Standard deviation of the noise.

    Returns:
        Brightness in Jy/beam. Shape: (y, x).

    Raises:
        DataError: If the card does not know its beam or pixel scale.
    """
    beam, pixel_scale_arcsec = resolution(card)
    return render_radio(
        source,
        rng,
        size_pix=size_pix,
        pixel_scale_arcsec=pixel_scale_arcsec,
        bmaj_arcsec=beam.bmaj_arcsec,
        bmin_arcsec=beam.bmin_arcsec,
        bpa_deg=beam.bpa_deg,
        noise_jy_per_beam=noise_jy_per_beam,
    )


def write_mock_fits(
    path: Path,
    image: NDArray[np.float32],
    card: SurveyCard,
    *,
    position: tuple[float, float],
    pixel_scale_arcsec: float,
    beam: Beam,
) -> None:
    """Write one image as an interferometer's imager does: with frequency and Stokes axes of length one.

    Args:
        path: File to write.
        image: Brightness in Jy/beam. Shape: (y, x), North up, East left.
        card: The survey's card, for its name and frequency.
        position: Centre of the image, (ra, dec) in degrees.
        pixel_scale_arcsec: Side of a pixel.
        beam: The beam of the image.
    """
    from astropy.io import fits

    hdu = fits.PrimaryHDU(image[None, None])
    ny, nx = image.shape
    axes = (
        ("RA---SIN", position[0], nx // 2 + 1, -pixel_scale_arcsec / 3600.0),
        ("DEC--SIN", position[1], ny // 2 + 1, pixel_scale_arcsec / 3600.0),
        ("FREQ", float(card.bands[0].frequency_hz or 0.0), 1, 1e8),
        ("STOKES", 1.0, 1, 1.0),
    )
    for number, (kind, value, pixel, step) in enumerate(axes, start=1):
        hdu.header[f"CTYPE{number}"] = kind
        hdu.header[f"CRVAL{number}"] = value
        hdu.header[f"CRPIX{number}"] = float(pixel)
        hdu.header[f"CDELT{number}"] = step
    hdu.header["CUNIT1"] = hdu.header["CUNIT2"] = "deg"
    hdu.header["CUNIT3"] = "Hz"
    hdu.header["RADESYS"] = "FK5"
    hdu.header["EQUINOX"] = 2000.0
    hdu.header["BUNIT"] = "JY/BEAM"
    hdu.header["BMAJ"] = beam.bmaj_arcsec / 3600.0
    hdu.header["BMIN"] = beam.bmin_arcsec / 3600.0
    hdu.header["BPA"] = beam.bpa_deg
    hdu.header["SURVEY"] = card.name
    hdu.header["MOCK"] = (True, "made-up data, no observation")
    hdu.writeto(path, overwrite=True)
