"""Made-up images of one source, rendered from the sky model of the card's domain, as FITS or pictures hold them."""

from __future__ import annotations

__all__ = ["beam_of", "mock_product", "observe", "picture_of", "to_uint8"]

import numpy as np
from numpy.typing import NDArray

from astrofm.card import Band, Product, SurveyCard
from astrofm.data.units import unit_factor
from astrofm.errors import DataError
from astrofm.mock.optical import render_galaxy, sample_galaxy, to_rgb
from astrofm.mock.radio import render_radio, sample_radio_source

NOISE_JY_PER_BEAM = 1.5e-4
"""Of a wide survey with an interferometer, in round numbers."""

NOISE_NANOMAGGY_PER_ARCSEC = 0.06
"""Of a wide optical survey, in a square of one arcsec; white, so it grows with the side of a pixel."""

SPECTRAL_INDEX = -0.7
MODEL_FREQUENCY_HZ = 1.4e9

_OPTICAL_BANDS_NM = {"u": 355.0, "g": 475.0, "r": 622.0, "i": 763.0, "z": 905.0}


def mock_product(card: SurveyCard) -> tuple[Product, float]:
    """Return the product that a made-up archive has, the card's first, and its pixel scale; 1 arcsec where unknown."""
    name, product = next(iter(card.products.items()))
    return product, card.pixel_scale_of(name) or 1.0


def observe(
    card: SurveyCard, product: Product, scale_arcsec: float, morphology: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Render an object in the bands of the survey.

    Args:
        card: The card.
        product: Its shape and unit are those of the image.
        scale_arcsec: Side of a pixel.
        morphology: What the object looks like, a name that the sky model of the domain knows.
        rng: Source of all that is left to chance.

    Returns:
        The image, with noise. Shape: (band, y, x).
    """
    num_bands, ny, nx = product.shape
    bands = card.bands[:num_bands]
    size_pix = max(ny, nx)
    is_radio = card.domain == "radio"
    render = _observe_radio if is_radio else _observe_optical
    image = render(card, bands, size_pix, scale_arcsec, morphology, rng)
    image *= np.float32(unit_factor("Jy/beam" if is_radio else "nanomaggy", product.unit) or 1.0)
    return image[:, (size_pix - ny) // 2 :, (size_pix - nx) // 2 :][:, :ny, :nx]


def picture_of(image: NDArray[np.float32], card: SurveyCard) -> NDArray[np.uint8]:
    """Return a grey (y, x) or colour (y, x, 3) picture, North in the top row."""
    if len(image) == 1:
        return to_uint8(image)[0, ::-1]
    if len(image) != 3 or card.domain != "optical":
        raise DataError(f"a picture has one band or three optical ones, not {len(image)} {card.domain}; use FITS")
    blue_to_red = np.argsort([band.wavelength_nm or 0.0 for band in card.bands[:3]])
    return np.ascontiguousarray(to_rgb(image[blue_to_red])[::-1])


def to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale each band from its least to its greatest value."""
    low, high = image.min(axis=(1, 2), keepdims=True), image.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.uint8] = ((image - low) / np.maximum(high - low, 1e-30) * 255).astype(np.uint8)
    return scaled


def beam_of(card: SurveyCard, scale_arcsec: float) -> tuple[float, float, float]:
    """Return the card's beam, or a round one of three pixels where it is unknown."""
    beam = None if card.beam is None else card.beam.value
    if beam is None:
        return 3.0 * scale_arcsec, 3.0 * scale_arcsec, 0.0
    return beam.bmaj_arcsec, beam.bmin_arcsec, beam.bpa_deg


def _observe_radio(
    card: SurveyCard,
    bands: tuple[Band, ...],
    size_pix: int,
    scale_arcsec: float,
    morphology: str,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    source = sample_radio_source(rng, morphology)
    bmaj_arcsec, bmin_arcsec, bpa_deg = beam_of(card, scale_arcsec)
    images = []
    for band in bands:
        image = render_radio(
            source,
            rng,
            size_pix=size_pix,
            pixel_scale_arcsec=scale_arcsec,
            bmaj_arcsec=bmaj_arcsec,
            bmin_arcsec=bmin_arcsec,
            bpa_deg=bpa_deg,
            noise_jy_per_beam=NOISE_JY_PER_BEAM,
        )
        images.append(image * ((band.frequency_hz or MODEL_FREQUENCY_HZ) / MODEL_FREQUENCY_HZ) ** SPECTRAL_INDEX)
    return np.stack(images).astype(np.float32)


def _observe_optical(
    card: SurveyCard,
    bands: tuple[Band, ...],
    size_pix: int,
    scale_arcsec: float,
    morphology: str,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    fwhm = None if card.psf_fwhm_arcsec is None else card.psf_fwhm_arcsec.value
    return render_galaxy(
        sample_galaxy(rng, morphology),
        rng,
        size_pix=size_pix,
        pixel_scale_arcsec=scale_arcsec,
        psf_fwhm_arcsec=fwhm or 3.0 * scale_arcsec,
        bands=[_nearest_band(band) for band in bands],
        noise=NOISE_NANOMAGGY_PER_ARCSEC * scale_arcsec,
    )


def _nearest_band(band: Band) -> str:
    wavelength_nm = band.wavelength_nm or 622.0
    return min(_OPTICAL_BANDS_NM, key=lambda name: abs(_OPTICAL_BANDS_NM[name] - wavelength_nm))
