"""Windows of an image that lies in a file, read without the rest of it.

Where the pixels lie in the file as they are, the file is mapped into memory and windows are sliced from the map. Where
they are compressed or far away, the windows that lie near each other are read together in one strip.
"""

from __future__ import annotations

__all__ = ["MappedPixels", "Pixels", "Scaling", "SectionPixels", "Strip", "UnusableMosaicError", "cut_windows"]

import mmap
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._compression import CfitsioException  # it has no public name
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from astrofm.data.store_files import is_url, transport_errors
from astrofm.errors import DataError

SMALL_BYTES = 512 << 20
"""A mapped file up to this size may be held in memory whole; of a larger one, no more than this at a time."""
BLOCK_BYTES = 1 << 20
"""Windows that are worked on together: they stay in the cache of a core."""
PAGES_BYTES = 64 << 10
"""What the system maps around a byte that is touched."""
STRIP_BYTES = 64 << 20
"""Largest strip that is read at once, unless one window is larger."""
REQUEST_BYTES = 256 << 10
"""Bytes that take as long to transfer as a request over the network takes to be answered, in round numbers."""

_DAMAGE = (fits.VerifyError, CfitsioException, zlib.error, EOFError, ValueError, TypeError, IndexError)
"""What astropy and zlib raise where the bytes of a section are not what the header says."""


class UnusableMosaicError(Exception):
    """A mosaic that no cutout can be made of: the reason, and the sentence that tells it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Strip:
    """Part of an image, and the windows that lie in it.

    Attributes:
        places: Which windows. Shape: (n,).
        pixels: As they are stored. Shape: (band, y, x).
        first_y: Row of the image that is the first of ``pixels``.
        first_x: Its column.
    """

    places: NDArray[np.int64]
    pixels: NDArray[Any]
    first_y: int = 0
    first_x: int = 0


class Pixels(Protocol):
    """An image that can be read in parts. Its ``shape`` is (band, y, x)."""

    shape: tuple[int, int, int]

    def strips(self, y: NDArray[np.int64], x: NDArray[np.int64], size: tuple[int, int]) -> Iterator[Strip]:
        """Yield every window once, in the strip that holds what there is of it.

        Args:
            y: First row of each window; may lie outside the image. Shape: (n,).
            x: First column of each. Shape: (n,).
            size: Of all windows, (ny, nx).
        """


Convert = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From pixels as they are stored, which may be overwritten, to native values."""


@dataclass(frozen=True)
class Scaling:
    """How stored numbers become values: ``BSCALE * stored + BZERO``, NaN where the number is ``BLANK``."""

    bscale: float = 1.0
    bzero: float = 0.0
    blank: int | None = None
    saturate: float | None = None
    """Value at and above which a pixel is saturated, and NaN here."""
    factor: float = 1.0
    """From the unit of the file to the one wanted."""

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return native float32 with NaN where nothing was observed; ``stored`` may be overwritten."""
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, thus NaN below
            values = self._values(stored)
            if self.saturate is not None:
                values[values >= self.saturate] = np.nan
            if self.factor != 1.0:
                values *= np.float32(self.factor)
        is_infinite = np.isinf(values)
        if is_infinite.any():
            values[is_infinite] = np.nan
        return values

    def _values(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        if self.bscale == 1.0 and self.bzero == 0.0 and self.blank is None:
            if stored.dtype == np.dtype(">f4") and stored.flags.writeable:
                return stored.byteswap(inplace=True).view("<f4") if np.little_endian else stored
            return stored.astype(np.float32)
        values = (stored.astype(np.float64) * self.bscale + self.bzero).astype(np.float32)
        if self.blank is not None and stored.dtype.kind in "iu":
            values[stored == self.blank] = np.nan
        return values


def cut_windows(
    pixels: Pixels, y: NDArray[np.int64], x: NDArray[np.int64], size: tuple[int, int], scaling: Convert
) -> NDArray[np.float32]:
    """Cut windows of one size out of an image.

    Args:
        pixels: The image.
        y: First row of each window; may lie outside the image. Shape: (n,).
        x: First column of each. Shape: (n,).
        size: (ny, nx).
        scaling: From what is stored to values.

    Returns:
        Values, NaN outside the image. Shape: (n, band, ny, nx).
    """
    cut = np.empty((len(y), pixels.shape[0], *size), np.float32)
    for strip in pixels.strips(y, x, size):
        _cut_strip(cut, strip, y[strip.places] - strip.first_y, x[strip.places] - strip.first_x, scaling)
    return cut


def _cut_strip(
    cut: NDArray[np.float32], strip: Strip, y: NDArray[np.int64], x: NDArray[np.int64], scaling: Convert
) -> None:
    """Fill the windows of one strip; ``y`` and ``x`` count from its first pixel."""
    ny, nx = cut.shape[2:]
    num_y, num_x = strip.pixels.shape[1:]
    whole = (y >= 0) & (x >= 0) & (y + ny <= num_y) & (x + nx <= num_x)
    if whole.any():
        windows = sliding_window_view(strip.pixels, (ny, nx), axis=(1, 2))
        inside = np.flatnonzero(whole)
        step = max(1, BLOCK_BYTES // cut[0].nbytes)
        for first in range(0, len(inside), step):
            some = inside[first : first + step]
            cut[strip.places[some]] = scaling(windows[:, y[some], x[some]]).swapaxes(0, 1)
    for place in np.flatnonzero(~whole):
        window = cut[strip.places[place]]
        window[:] = np.nan
        rows, columns = _overlap(int(y[place]), ny, num_y), _overlap(int(x[place]), nx, num_x)
        there = strip.pixels[:, rows[0], columns[0]]
        window[:, rows[1], columns[1]] = scaling(there.copy())


def _overlap(first: int, length: int, num: int) -> tuple[slice, slice]:
    """Return which pixels of an axis a window has, and where in the window they come to lie."""
    start, stop = min(max(first, 0), num), max(min(first + length, num), 0)
    return slice(start, max(start, stop)), slice(start - first, max(start, stop) - first)


class MappedPixels:
    """Pixels that lie in a local file as they are.

    Args:
        path: The file.
        offset: Byte of the first pixel.
        dtype: As stored.
        shape: (band, y, x).
    """

    def __init__(self, path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, int, int]) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.shape = shape
        self._pixels: NDArray[Any] = np.frombuffer(self._map, dtype, int(np.prod(shape)), offset).reshape(shape)

    def strips(self, y: NDArray[np.int64], x: NDArray[np.int64], size: tuple[int, int]) -> Iterator[Strip]:
        """As :class:`Pixels`; the strip is the map. Pages of a large file are handed back on the way."""
        places = np.arange(len(y))
        if len(self._map) <= SMALL_BYTES:
            yield Strip(places, self._pixels)
            return
        window_bytes = self.shape[0] * size[0] * max(PAGES_BYTES, size[1] * self._pixels.itemsize)
        step = max(1, SMALL_BYTES // window_bytes)
        for first in range(0, len(places), step):
            yield Strip(places[first : first + step], self._pixels)
            if hasattr(self._map, "madvise"):
                self._map.madvise(mmap.MADV_DONTNEED)


class SectionPixels:
    """Pixels that astropy reads in sections: compressed ones, and those of a file on the web.

    Args:
        hdus: The open file, which is closed when this is forgotten.
        hdu: One of its HDUs.
        address: Path or URL of the file.
    """

    def __init__(self, hdus: fits.HDUList, hdu: Any, address: str) -> None:
        self._hdu, self._address = hdu, address
        weakref.finalize(self, hdus.close)
        leading = tuple(length for length in hdu.shape[:-2] if length > 1)
        self.shape: tuple[int, int, int] = (*(leading or (1,)), *hdu.shape[-2:])
        num_x = self.shape[2]
        self._row_bytes = self.shape[0] * num_x * abs(hdu.header["BITPIX"]) // 8
        tile = getattr(hdu, "tile_shape", None)
        # Windows closer than this are read in one piece: in whole tiles, or in one request.
        self._gap_y = tile[-2] if tile else max(1, REQUEST_BYTES // self._row_bytes)
        self._gap_x = tile[-1] if tile else REQUEST_BYTES * num_x // self._row_bytes
        self._takes_whole_rows = tile[-1] >= num_x if tile else self._row_bytes <= REQUEST_BYTES

    def strips(self, y: NDArray[np.int64], x: NDArray[np.int64], size: tuple[int, int]) -> Iterator[Strip]:
        """As :class:`Pixels`, from South to North."""
        most_rows = max(size[0], STRIP_BYTES // self._row_bytes)
        for rows in _groups(y, np.arange(len(y)), size[0], self._gap_y, most_rows):
            columns = [rows] if self._takes_whole_rows else _groups(x, rows, size[1], self._gap_x, self.shape[2])
            for places in columns:
                first_y, stop_y = _span(y[places], size[0], self.shape[1])
                first_x, stop_x = (
                    (0, self.shape[2]) if self._takes_whole_rows else _span(x[places], size[1], self.shape[2])
                )
                yield Strip(places, self._read(first_y, stop_y, first_x, stop_x), first_y, first_x)

    def _read(self, first_y: int, stop_y: int, first_x: int, stop_x: int) -> NDArray[Any]:
        ahead = tuple(slice(None) if length > 1 else 0 for length in self._hdu.shape[:-2])
        if first_y >= stop_y or first_x >= stop_x:
            return np.empty((self.shape[0], 0, 0), np.float32)
        is_whole = first_x == 0 and stop_x == self.shape[2]
        # A section of whole rows is contiguous, and astropy reads it at once.
        columns = slice(None) if is_whole else slice(first_x, stop_x)
        try:
            section = self._hdu.section[(*ahead, slice(first_y, stop_y), columns)]
        except (*_DAMAGE, *transport_errors()) as error:
            rows = f"rows {first_y} to {stop_y - 1} of {self._address} cannot be read"
            said = " ".join(str(error).split()) or type(error).__name__
            if is_url(self._address) and isinstance(error, transport_errors()):
                raise DataError(f"{rows} ({said}): try again when the server answers") from error
            raise UnusableMosaicError("damaged file", f"{rows}: {said}") from error
        return np.asarray(section).reshape(self.shape[0], stop_y - first_y, stop_x - first_x)


def _groups(
    first: NDArray[np.int64], places: NDArray[np.int64], length: int, gap: int, most: int
) -> list[NDArray[np.int64]]:
    """Part windows into groups that lie together along an axis.

    Args:
        first: First pixel of each window along the axis.
        places: The windows to part.
        length: Of a window.
        gap: Windows that are no further apart are in one group.
        most: Pixels that a group spans at most, unless it is one window.
    """
    ordered = places[np.argsort(first[places], kind="stable")]
    groups: list[NDArray[np.int64]] = []
    start = 0
    values = first[ordered].tolist()
    for place in range(1, len(values)):
        is_far = values[place] - (values[place - 1] + length) > gap
        if is_far or values[place] + length - values[start] > most:
            groups.append(ordered[start:place])
            start = place
    return [*groups, ordered[start:]] if len(ordered) else []


def _span(first: NDArray[np.int64], length: int, num: int) -> tuple[int, int]:
    """Return the part of an axis that windows need, within the image."""
    return max(0, int(first.min())), min(num, int(first.max()) + length)
