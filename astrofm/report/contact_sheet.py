"""A few cutouts from places all over a store: their pixels, and their pictures."""

from __future__ import annotations

__all__ = ["Sample", "contact_sheet", "label_texts", "shown_channels"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.store import CutoutStore
from astrofm.report.pictures import Colormap, cutout_png

_NUM_PLACES = 8
_NUM_PICTURES = 25
_PICTURE_PIX = 160
"""Longest side of a picture; smaller cutouts are enlarged by the browser, which keeps the page small."""
_MAX_BYTES = 2**28
_PERCENTILES = (1.0, 99.5)
"""Of the pixels of a cutout: what is shown darkest and brightest where the card has no stretch."""

Picture = tuple[bytes, str, bool]


@dataclass(frozen=True)
class Sample:
    """Whole chunks of a store, evenly spaced.

    Attributes:
        rows: Their rows. Shape: (n,).
        images: Shape: (n, band, y, x).
        hidden: True where a pixel is masked or not finite. Shape: (n, band, y, x).
    """

    rows: NDArray[np.int64]
    images: NDArray[Any]
    hidden: NDArray[np.bool_]

    @classmethod
    def of(cls, store: CutoutStore) -> Sample:
        """Read a few chunks, at most 256 MiB of pixels and at least one chunk."""
        blocks = store.blocks()
        chunk_bytes = store.chunk_rows * int(np.prod(store.shape[1:])) * store.dtype.itemsize
        num = max(1, min(_NUM_PLACES, len(blocks), _MAX_BYTES // chunk_bytes))
        chosen = np.unique(np.linspace(0, len(blocks) - 1, num).round().astype(int)).tolist()
        rows = np.concatenate([np.arange(blocks[i].start, blocks[i].stop) for i in chosen])
        images, mask = store.read(rows), store.read_mask(rows)
        hidden = ~np.isfinite(images)
        if mask is not None:
            hidden |= mask[:, None]
        return cls(rows, images, hidden)

    @property
    def missing(self) -> NDArray[np.float64]:
        """Part of the pixels of each cutout that is missing. Shape: (n,)."""
        missing: NDArray[np.float64] = self.hidden.mean(axis=(1, 2, 3))
        return missing

    def known_pixels(self, band: int) -> NDArray[Any]:
        """Return the values of one band that are there. Shape: (number of pixels,)."""
        known: NDArray[Any] = self.images[:, band][~self.hidden[:, band]]
        return known


def contact_sheet(store: CutoutStore, sample: Sample, num: int = _NUM_PICTURES) -> tuple[list[Picture], str]:
    """Return pictures of at most ``num`` cutouts of a sample, and in words how they are shown."""
    places = np.unique(np.linspace(0, len(sample.rows) - 1, num).round().astype(int))
    rows = sample.rows[places]
    names, splits = store.catalog.column("id_str"), store.catalog.column("split")
    labels = label_texts(store)
    shown, stretch = _stretched(store, sample, places)
    channels, bands = shown_channels(store, shown.shape[1])
    colormap: Colormap = "ember" if store.card.domain == "radio" else "gray"
    size_pix = min(_PICTURE_PIX, max(shown.shape[2:]))
    pictures = []
    for image, row in zip(shown[:, channels], rows.tolist(), strict=True):
        caption = ", ".join(filter(None, [str(names[row]), str(splits[row]), labels[row]]))
        pictures.append(
            (cutout_png(image, size_pix=size_pix, colormap=colormap, limits=_limits(image, stretch)), caption, False)
        )
    how = f"{len(pictures)} cutouts from places all over the store, {bands}, {stretch or _by_percentiles()}."
    return pictures, how


def label_texts(store: CutoutStore) -> list[str]:
    """Return the label of each cutout in words: by the card, else by the catalogue, else the value; empty for none."""
    if "label" not in store.catalog.columns:
        return [""] * len(store)
    values = store.catalog.column("label")
    has_names = "label_name" in store.catalog.columns
    names = store.catalog.column("label_name").tolist() if has_names else [""] * len(store)
    return [_in_words(value, name, store) for value, name in zip(values.tolist(), names, strict=True)]


def _in_words(value: object, name: str, store: CutoutStore) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if np.isnan(value):
        return ""
    return store.card.label_names.get(int(value), "") or name or f"{value:g}"


def _stretched(store: CutoutStore, sample: Sample, places: NDArray[np.int64]) -> tuple[NDArray[Any], str]:
    """Return images, and how they were stretched; empty where they were not and want it."""
    if store.product.stretch_applied or store.dtype == np.uint8:
        return sample.images[places], "as they are stored"
    if store.card.stretches:
        name = next(iter(store.card.stretches))
        return store.stretched(sample.rows[places], name), f"in the stretch {name!r} of the survey's card"
    return np.where(sample.hidden[places], np.nan, sample.images[places]), ""


def shown_channels(store: CutoutStore, num_channels: int) -> tuple[list[int], str]:
    """Return which channels are shown: three bands from long to short wavelength in red, green and blue, else one."""
    names = store.card.band_names
    if num_channels == 1 or num_channels != len(names):
        return ([0], names[0]) if num_channels != 3 else ([0, 1, 2], "in colour")
    waves = [band.wavelength_nm for band in store.card.bands]
    known = [(wave, number) for number, wave in enumerate(waves) if wave is not None]
    if len(known) < 3:
        return [0], f"band {names[0]} alone"
    ordered = [number for _, number in sorted(known, reverse=True)]
    chosen = [ordered[0], ordered[len(ordered) // 2], ordered[-1]]
    return chosen, f"{', '.join(names[number] for number in chosen)} as red, green and blue"


def _limits(image: NDArray[Any], stretch: str) -> tuple[float, float] | None:
    known = image[np.isfinite(image)]
    if stretch or not known.size:
        return None
    low, high = np.percentile(known, _PERCENTILES)
    return float(low), float(high)


def _by_percentiles() -> str:
    low, high = _PERCENTILES
    return f"each from black to white between the percentiles {low:g} and {high:g} of its pixels"
