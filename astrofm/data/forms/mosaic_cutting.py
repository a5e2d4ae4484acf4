"""Cutouts around the sources of a catalogue, tile by tile, handed on in the order of the rows."""

from __future__ import annotations

__all__ = ["Cutting", "Piece", "in_row_order"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.card import SurveyCard
from astrofm.data.cutouts import CutoutBatch, Rejected
from astrofm.data.files.eight_bit import as_uint8
from astrofm.data.files.noise import clipped_std, noise_column
from astrofm.data.forms.mosaic_image import Mosaic, open_mosaic
from astrofm.data.forms.mosaic_pixels import UnusableMosaicError, cut_windows
from astrofm.data.forms.tiles import nearest_pixels
from astrofm.forms import MosaicLayout
from astrofm.survey import Source

MARGIN_PIX = 4
"""Added on either side of a cutout that is to be resampled, for the interpolation at its border."""


@dataclass(frozen=True)
class Piece:
    """Cutouts of one size.

    Attributes:
        places: Their rows, ascending. Shape: (n,).
        images: Shape: (n, band, y, x).
        meta: Shape of each: (n,).
        unit: Of the pixels.
        masks: True where a pixel is to be ignored, or None. Shape: (n, y, x).
    """

    places: NDArray[np.int64]
    images: NDArray[Any]
    meta: Mapping[str, NDArray[np.float64]]
    unit: str
    masks: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Cutting:
    """What is cut, and of which size.

    Attributes:
        card: The card.
        source: The archive.
        layout: The card's mosaic section.
        folder: Where the tiles lie.
        columns: Of the catalogue: for each set of tiles, the tile of each row.
    """

    card: SurveyCard
    source: Source
    layout: MosaicLayout
    folder: Path
    columns: tuple[str, ...]

    def cut(self, rows: Table) -> tuple[list[Piece], dict[int, Rejected]]:
        """Cut some sources.

        Args:
            rows: Of the catalogue.

        Returns:
            The cutouts, in pieces of one size, and why there are none of the other rows, by place.
        """
        names = np.stack([np.asarray(rows[column], dtype=np.str_) for column in self.columns], axis=1)
        reasons = np.asarray(rows["rejected"], dtype=np.str_)
        rejected = {
            place: Rejected(str(reasons[place]), f"{rows['id_str'][place]}: {reasons[place]}", str(names[place, 0]))
            for place in np.flatnonzero(reasons != "").tolist()
        }
        ra_deg, dec_deg = (np.asarray(rows[name], dtype=np.float64) for name in ("ra", "dec"))
        pieces = []
        for tiles, places in _by_tiles(names, [place for place in range(len(rows)) if place not in rejected]):
            try:
                pieces.append(self._cut_on(tiles, places, ra_deg[places], dec_deg[places]))
            except UnusableMosaicError as error:
                rejected |= dict.fromkeys(places.tolist(), Rejected(error.reason, error.detail, tiles[0]))
        pieces = _joined(pieces)
        if self.source.product.dtype == "uint8":
            pieces = [_as_uint8(piece, rejected) for piece in pieces]
        return pieces, rejected

    def _cut_on(
        self, tiles: Sequence[str], places: NDArray[np.int64], ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
    ) -> Piece:
        """Cut the sources that lie on the same tiles, one for each band or one for all."""
        unit = self.source.product.unit
        mosaics = [open_mosaic(self.folder, name, unit, self.layout.extensions) for name in tiles]
        num_bands = sum(mosaic.image.shape[0] for mosaic in mosaics)
        if num_bands != self.source.product.shape[0]:
            names, wanted = " and ".join(tiles), self.source.product.shape[0]
            raise UnusableMosaicError("wrong number of bands", f"{names}: {num_bands} bands, not {wanted}")
        size = self._size_pix(mosaics[0])
        for mosaic in mosaics[1:]:
            _check_alike(mosaics[0], mosaic, size)
        images, metas = zip(*(_cut_one(mosaic, ra_deg, dec_deg, size) for mosaic in mosaics), strict=True)
        if len(images) == 1:
            return Piece(places, images[0], metas[0], unit)
        meta = {name: values for name, values in metas[0].items() if name != "rms"}
        meta["edge_fraction"] = np.maximum.reduce([meta["edge_fraction"] for meta in metas])
        for band, of_band in zip(self.card.band_names, metas, strict=True):
            meta |= {noise_column(band): of_band["rms"]} if "rms" in of_band else {}
        return Piece(places, np.concatenate(images, axis=1), meta, unit)

    def _size_pix(self, mosaic: Mosaic) -> tuple[int, int]:
        """Return how many pixels of a tile the field of a cutout is, (ny, nx)."""
        scale, size = mosaic.pixel_scale_arcsec, self.source.product.size_pix
        if self.source.resampled_arcsec is not None and math.isfinite(scale):
            side = math.ceil(self.source.resampled_arcsec / scale) + 2 * MARGIN_PIX
            return side, side
        field_arcsec = self._field_arcsec
        if field_arcsec is None or not math.isfinite(scale):
            return size
        found = field_arcsec / scale
        if abs(found - max(size)) > 1:
            raise UnusableMosaicError(
                "other pixel scale",
                f"{mosaic.name} has {scale:.4g} arcsec a pixel, so that the card's field of {field_arcsec:g} arcsec is "
                f"{found:.4g} pixels of it and not {max(size)}: bring all cutouts to one scale with --pixel-scale "
                f"{field_arcsec / max(size):.4g}, or give the product its size",
            )
        return size

    @property
    def _field_arcsec(self) -> float | None:
        """Side of a cutout by the card, None where it is not known."""
        product = self.source.product
        if product.pixel_scale_arcsec is not None:
            return max(product.size_pix) * product.pixel_scale_arcsec
        return self.card.field_of_view_arcsec.value


def in_row_order(
    pieces: Sequence[Piece], rejected: Mapping[int, Rejected], num: int
) -> Iterator[CutoutBatch | Rejected]:
    """Yield what there is of each row, in order; neighbours of one size as a batch.

    Args:
        pieces: Each row is in one of them.
        rejected: Or here.
        num: Number of rows.
    """
    piece_of, place_in = np.full(num, -1), np.zeros(num, np.int64)
    for number, piece in enumerate(pieces):
        piece_of[piece.places], place_in[piece.places] = number, np.arange(len(piece.places))
    row = 0
    while row < num:
        if piece_of[row] < 0:
            yield rejected[row]
            row += 1
            continue
        others = np.flatnonzero(piece_of[row:] != piece_of[row])
        stop = row + int(others[0]) if len(others) else num
        piece, first, end = pieces[piece_of[row]], int(place_in[row]), int(place_in[stop - 1]) + 1
        masks = None if piece.masks is None else piece.masks[first:end]
        meta = {name: values[first:end] for name, values in piece.meta.items()}
        yield CutoutBatch(piece.images[first:end], piece.unit, masks, meta)
        row = stop


def _by_tiles(names: NDArray[np.str_], places: list[int]) -> list[tuple[tuple[str, ...], NDArray[np.int64]]]:
    """Group rows by the tiles they lie on."""
    if not places:
        return []
    chosen = np.array(places, np.int64)
    tiles, which = np.unique(names[chosen], axis=0, return_inverse=True)
    which = which.reshape(-1)
    return [(tuple(own.tolist()), chosen[which == number]) for number, own in enumerate(tiles)]


def _cut_one(
    mosaic: Mosaic, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float64]]]:
    """Cut windows around positions on one mosaic, mirrored so that East is to the left."""
    y, x = nearest_pixels(mosaic, ra_deg, dec_deg)
    flips = bool(mosaic.meta.get("flip_y")), bool(mosaic.meta.get("flip_x"))
    # The centre pixel is the centre pixel after the mirror too: with an even size it is not the middle one.
    first_y, first_x = (
        place - ((length - 1) // 2 if is_flipped else length // 2)
        for place, length, is_flipped in zip((y, x), size, flips, strict=True)
    )
    images = cut_windows(mosaic.image, first_y, first_x, size, mosaic.scaling)
    if mosaic.flags is not None:
        flagged = cut_windows(mosaic.flags, first_y, first_x, size, mosaic.is_flagged) > 0
        images[np.broadcast_to(flagged, images.shape)] = np.nan
    if any(flips):
        images = np.ascontiguousarray(images[:, :, :: -1 if flips[0] else 1, :: -1 if flips[1] else 1])
    meta = {name: np.full(len(y), value) for name, value in mosaic.meta.items()}
    meta["edge_fraction"] = _edge_fraction(first_y, first_x, size, mosaic.image.shape[1:])
    if mosaic.is_remote and len(images) and images.shape[1] == 1:
        meta["rms"] = np.array([clipped_std(image) for image in images])
    elif mosaic.noise is not None:
        meta["rms"] = mosaic.noise.at(y, x)
    return images, meta


def _edge_fraction(
    y: NDArray[np.int64], x: NDArray[np.int64], size: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the part of each window that lies beyond the image."""
    there = np.ones(len(y))
    for first, length, num in zip((y, x), size, shape, strict=True):
        there *= np.clip(np.minimum(first + length, num) - np.maximum(first, 0), 0, length) / length
    return np.asarray(1.0 - there)


def _check_alike(first: Mosaic, other: Mosaic, size: tuple[int, int]) -> None:
    """Refuse bands whose pixels part by more than half a pixel between centre and border of a cutout."""
    reach_pix = max(size) / 2
    scales = first.pixel_scale_arcsec, other.pixel_scale_arcsec
    if abs(scales[1] / scales[0] - 1) * reach_pix > 0.5:
        raise UnusableMosaicError(
            "other pixel scale",
            f"{other.name} has {scales[1]:.6g} arcsec a pixel and {first.name} {scales[0]:.6g}: the bands of a cutout "
            "share their pixels, so bring the mosaics to one grid first",
        )
    angles = [mosaic.meta.get("orientation_deg", 0.0) for mosaic in (first, other)]
    turn_deg = (angles[1] - angles[0] + 180.0) % 360.0 - 180.0
    if math.radians(abs(turn_deg)) * reach_pix > 0.5:
        raise UnusableMosaicError(
            "other orientation",
            f"{other.name} is turned by {turn_deg:.3g} deg against {first.name}: the bands of a cutout share their "
            "pixels, so bring the mosaics to one grid first",
        )


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Put the pieces of one size together, in the order of the rows."""
    by_size: dict[tuple[int, ...], list[Piece]] = {}
    for piece in pieces:
        by_size.setdefault(piece.images.shape[1:], []).append(piece)
    return [own[0] if len(own) == 1 else _join(own) for own in by_size.values()]


def _join(pieces: list[Piece]) -> Piece:
    places = np.concatenate([piece.places for piece in pieces])
    order = np.argsort(places)
    names = dict.fromkeys(name for piece in pieces for name in piece.meta)
    meta = {
        name: np.concatenate([piece.meta.get(name, np.full(len(piece.places), np.nan)) for piece in pieces])[order]
        for name in names
    }
    images = np.empty((len(places), *pieces[0].images.shape[1:]), np.float32)
    ranks = np.split(np.argsort(order), np.cumsum([len(piece.places) for piece in pieces])[:-1])
    for piece, rank in zip(pieces, ranks, strict=True):
        images[rank] = piece.images
    return Piece(places[order], images, meta, pieces[0].unit)


def _as_uint8(piece: Piece, rejected: dict[int, Rejected]) -> Piece:
    """Return whole numbers in 0-255 as such, NaN as 0 and masked; other values are added to the rejected."""
    images, masks, is_whole = as_uint8(piece.images)
    sentence = "a cutout has pixels that are no whole numbers in 0-255; the product is uint8"
    rejected |= dict.fromkeys(piece.places[~is_whole].tolist(), Rejected("not 8-bit", sentence))
    meta = {name: values[is_whole] for name, values in piece.meta.items()}
    return Piece(piece.places[is_whole], images[is_whole], meta, piece.unit, masks[is_whole] if masks.any() else None)
