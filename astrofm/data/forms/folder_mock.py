"""A made-up folder of images and a table for a survey that has only a card."""

from __future__ import annotations

__all__ = ["write_folder"]

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from PIL import Image

from astrofm.card import Band, ClassTask, Product, SurveyCard, VoteTask
from astrofm.data.forms.fits_mock import write_fits
from astrofm.data.forms.folder_files import band_files
from astrofm.data.images import PICTURE_SUFFIXES
from astrofm.data.splits import split_of
from astrofm.data.tables import write_table
from astrofm.data.units import unit_factor
from astrofm.errors import DataError
from astrofm.forms import Extensions, FolderLayout
from astrofm.mock.optical import render_galaxy, sample_galaxy, to_rgb
from astrofm.mock.radio import render_radio, sample_radio_source
from astrofm.mock.seeding import object_rng

NOISE_JY_PER_BEAM = 1.5e-4
"""Of a wide survey with an interferometer, in round numbers."""

NOISE_NANOMAGGY_PER_ARCSEC = 0.06
"""Of a wide optical survey, in a square of one arcsec; white, so it grows with the side of a pixel."""

SPECTRAL_INDEX = -0.7
MODEL_FREQUENCY_HZ = 1.4e9

_IMAGE, _ROW = 0, 1
"""Independent random streams of an object."""

_MORPHOLOGIES = {"radio": ("fr1", "fr2", "bent", "compact"), "optical": ("elliptical", "spiral", "edge-on", "merger")}
_OPTICAL_BANDS_NM = {"u": 355.0, "g": 475.0, "r": 622.0, "i": 763.0, "z": 905.0}
_MOCK_CARD = ("MOCK", True, "made-up source: not an observation")


def write_folder(card: SurveyCard, layout: FolderLayout, n: int, seed: int, out: Path) -> Path:
    """Write images, table and ``MOCK.json``; see :func:`astrofm.data.forms.folder.folder_mock`."""
    if n < 1:
        raise DataError(f"asked for {n} mock objects; ask for at least 1")
    product_name, product = next(iter(card.products.items()))
    scale_arcsec = card.pixel_scale_of(product_name) or 1.0
    rows = []
    for index in range(n):
        row = _row(card, index, seed)
        image = _observe(card, product, scale_arcsec, _morphology(card, index), object_rng(seed, index, _IMAGE))
        files = _files_of(layout, product, row["id_str"])
        for file, planes in zip(files, image[:, None] if layout.bands else [image], strict=True):
            path = out / file
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_image(path, planes, card, product, scale_arcsec, row, layout.extensions)
        rows.append(row | ({"file_loc": files[0]} if "file_loc" in layout.columns else {}))
    table = Table(rows=[list(row.values()) for row in rows], names=[layout.columns.get(name, name) for name in rows[0]])
    table.meta["MOCK"] = True
    write_table(table, out / layout.table)
    (out / "MOCK.json").write_text(json.dumps({"survey": card.name, "n": n, "seed": seed}) + "\n", encoding="utf-8")
    return out


def _files_of(layout: FolderLayout, product: Product, id_str: str) -> list[str]:
    """Return the files of an object, relative to the folder: one, or one for each band."""
    if layout.bands:
        return band_files(layout, id_str)
    return [str(PurePosixPath((layout.images or product.pattern).replace("**/", "").replace("*", id_str)))]


def _row(card: SurveyCard, index: int, seed: int) -> dict[str, Any]:
    """Return the table row of an object: id, position, the columns of the tasks, the split."""
    rng = object_rng(seed, index, _ROW)
    id_str = f"mock-{index:06d}"
    ra_deg, dec_deg = rng.uniform(0.0, 360.0), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0)))
    row: dict[str, Any] = {"id_str": id_str, "ra": float(ra_deg), "dec": float(dec_deg)}
    for task in card.tasks:
        name = list(task.classes)[index % len(task.classes)]
        if isinstance(task, ClassTask):
            row.setdefault(task.column, task.classes[name][0])
        else:
            row |= _votes(task, name, rng)
    if card.splits.scheme == "published":
        row["split"] = split_of(id_str, card.splits.test_fraction)
    return row


def _votes(task: VoteTask, name: str, rng: np.random.Generator) -> dict[str, int]:
    """Return volunteers' counts, most of them for one class."""
    answers = [answer for own in task.classes.values() for answer in own]
    shares = np.array([4.0 if answer in task.classes[name] else 0.5 for answer in answers])
    counts = rng.multinomial(rng.integers(max(10, task.min_votes), 41 + task.min_votes), shares / shares.sum())
    return {f"{task.question}_{answer}": int(count) for answer, count in zip(answers, counts, strict=True)}


def _morphology(card: SurveyCard, index: int) -> str:
    """Return what an object looks like: one morphology for each class of the first task, by its name or in turn."""
    known = _MORPHOLOGIES[card.domain]
    classes = list(card.tasks[0].classes) if card.tasks else list(known)
    place = index % len(classes)
    plain = classes[place].lower().replace("-", "").replace("_", "").replace(" ", "")
    plain = plain.replace("frii", "fr2").replace("fri", "fr1")
    by_name = [name for name in known if name.replace("-", "") in plain]
    return by_name[0] if by_name else known[place % len(known)]


def _observe(
    card: SurveyCard, product: Product, scale_arcsec: float, morphology: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Render an object in the bands of the survey. Shape: (band, y, x)."""
    num_bands, ny, nx = product.shape
    bands = card.bands[:num_bands]
    size_pix = max(ny, nx)
    radio = card.domain == "radio"
    render = _observe_radio if radio else _observe_optical
    image = render(card, bands, size_pix, scale_arcsec, morphology, rng)
    image *= np.float32(unit_factor("Jy/beam" if radio else "nanomaggy", product.unit) or 1.0)
    return image[:, (size_pix - ny) // 2 :, (size_pix - nx) // 2 :][:, :ny, :nx]


def _observe_radio(
    card: SurveyCard,
    bands: tuple[Band, ...],
    size_pix: int,
    scale_arcsec: float,
    morphology: str,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    source = sample_radio_source(rng, morphology)
    bmaj_arcsec, bmin_arcsec, bpa_deg = _beam_of(card, scale_arcsec)
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


def _beam_of(card: SurveyCard, scale_arcsec: float) -> tuple[float, float, float]:
    """Return the card's beam, or a round one of three pixels where it is unknown."""
    beam = None if card.beam is None else card.beam.value
    if beam is None:
        return 3.0 * scale_arcsec, 3.0 * scale_arcsec, 0.0
    return beam.bmaj_arcsec, beam.bmin_arcsec, beam.bpa_deg


def _write_image(
    path: Path,
    image: NDArray[np.float32],
    card: SurveyCard,
    product: Product,
    scale_arcsec: float,
    row: dict[str, Any],
    extensions: Extensions,
) -> None:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        Image.fromarray(_picture(image, card)).save(path)
        return
    pixels = _to_uint8(image) if product.dtype == "uint8" else image
    header = _header(image.shape[1:], card, product, scale_arcsec, row)
    write_fits(path, pixels[0] if len(pixels) == 1 else pixels, header, extensions)


def _header(
    size: tuple[int, ...], card: SurveyCard, product: Product, scale_arcsec: float, row: dict[str, Any]
) -> fits.Header:
    header = fits.Header()
    scale_deg, (ny, nx) = scale_arcsec / 3600.0, size
    for axis, ctype, crval, cdelt, length in (
        (1, "RA---TAN", row["ra"], -scale_deg, nx),
        (2, "DEC--TAN", row["dec"], scale_deg, ny),
    ):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"] = ctype, "deg"
        header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = crval, cdelt
        header[f"CRPIX{axis}"] = length // 2 + 1.0
    header["RADESYS"], header["BUNIT"], header["OBJECT"] = "ICRS", product.unit, row["id_str"]
    if card.domain == "radio":
        bmaj_arcsec, bmin_arcsec, header["BPA"] = _beam_of(card, scale_arcsec)
        header["BMAJ"], header["BMIN"] = bmaj_arcsec / 3600.0, bmin_arcsec / 3600.0
    header.append(_MOCK_CARD)
    return header


def _picture(image: NDArray[np.float32], card: SurveyCard) -> NDArray[np.uint8]:
    """Return a grey (y, x) or colour (y, x, 3) picture, North in the top row."""
    if len(image) == 1:
        return _to_uint8(image)[0, ::-1]
    if len(image) != 3 or card.domain != "optical":
        raise DataError(f"a picture has one band or three optical ones, not {len(image)} {card.domain}; use FITS")
    blue_to_red = np.argsort([band.wavelength_nm or 0.0 for band in card.bands[:3]])
    return np.ascontiguousarray(to_rgb(image[blue_to_red])[::-1])


def _to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale each band from its least to its greatest value."""
    low, high = image.min(axis=(1, 2), keepdims=True), image.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.uint8] = ((image - low) / np.maximum(high - low, 1e-30) * 255).astype(np.uint8)
    return scaled
