"""The form of nearly all small FITS files: one image in the primary HDU, its keywords on standard cards.

astropy reads such a file in 0.6 ms, most of it spent on building objects for cards that nobody asks for. Here one
pattern reads the values off the cards, and the header of astropy is made when somebody wants it. What is not of this
form is left to astropy, which is also the judge of what is damaged.
"""

from __future__ import annotations

__all__ = ["CARD", "FoundImage", "plain_image"]

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

CARD, BLOCK = 80, 2880

_END = b"END".ljust(CARD)
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}

_CARD = re.compile(
    rb"([A-Z0-9_-]+) *= +(?:'(?P<text>(?:[^']|'')*)'|(?P<logical>[TF])|(?P<whole>[+-]?\d+)"
    rb"|(?P<real>[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?)|(?P<nothing>)) *(?:/|$)"
)
_COMMENTARY = (b"HISTORY ", b"COMMENT ", b" " * 8)
_NOT_PLAIN = ("GROUPS", "BLANK")


@dataclass(frozen=True)
class FoundImage:
    """What a file holds of one image.

    Attributes:
        pixels: As stored, scaled by BSCALE and BZERO.
        keywords: What the header says; often ``header`` itself.
        header: The header as astropy has it.
        flags: True where the quality extension flags a pixel, or None.
        error: Standard deviation of each pixel, or None.
        error_unit: Its unit, empty where that of the image is meant.
        raw: The cards as they stand in the file, where they were read without astropy.
    """

    pixels: NDArray[Any]
    keywords: Mapping[str, Any]
    header: fits.Header
    flags: NDArray[np.bool_] | None = None
    error: NDArray[Any] | None = None
    error_unit: str = ""
    raw: bytes = b""

    @property
    def cards(self) -> str:
        """The header as text, 80 characters a card."""
        return self.raw.decode("latin-1") if self.raw else str(self.header.tostring(padding=False))


class _LateHeader(fits.Header):  # type: ignore[misc]  # astropy has no types
    """A header whose cards are cut apart when first needed: for most cutouts never."""

    @classmethod
    def of(cls, raw: bytes) -> _LateHeader:
        header = cls.__new__(cls)
        header.__dict__["raw_cards"] = raw
        return header

    def __getattr__(self, name: str) -> Any:
        """Become the parsed header when an attribute of one is missing."""
        raw = self.__dict__.pop("raw_cards", None)
        if raw is None:
            raise AttributeError(name)
        self.__dict__.update(fits.Header.fromstring(raw).__dict__)
        return getattr(self, name)


def plain_image(raw: bytes) -> FoundImage | None:
    """Return the image of a plain file.

    Args:
        raw: The bytes of the file, unpacked.

    Returns:
        The image, or None if astropy is to read the file.
    """
    end = _end_of_cards(raw)
    keywords = _values(raw[:end]) if end > 0 else None
    if keywords is None:
        return None
    try:
        shape = [keywords[f"NAXIS{axis}"] for axis in range(keywords["NAXIS"], 0, -1)]
        dtype = np.dtype(_DTYPES[keywords["BITPIX"]])
    except (KeyError, TypeError):
        return None
    is_scaled = keywords.get("BSCALE", 1) != 1 or keywords.get("BZERO", 0) != 0
    if is_scaled or len(shape) < 2 or not all(type(length) is int and length > 0 for length in shape):
        return None
    start = -(-(end + CARD) // BLOCK) * BLOCK
    data_end = start + prod(shape) * dtype.itemsize
    next_hdu = start - (start - data_end) // BLOCK * BLOCK
    if data_end > len(raw) or raw[next_hdu : next_hdu + 8] == b"XTENSION":
        return None
    pixels = np.frombuffer(raw, dtype, prod(shape), start).reshape(shape)
    return FoundImage(pixels, keywords, _LateHeader.of(raw[:end]), raw=raw[:end])


def _end_of_cards(raw: bytes) -> int:
    """Return where the END card begins, -1 if there is none or this is not FITS."""
    if not raw.startswith(b"SIMPLE  =                    T"):
        return -1
    place = raw.find(_END)
    while place >= 0 and place % CARD:
        place = raw.find(_END, place + 1)
    return place


def _values(raw: bytes) -> dict[str, Any] | None:
    """Return the value of each keyword, of the first card where one comes twice; None if a card is off the standard."""
    values: dict[str, Any] = {}
    for place in range(0, len(raw), CARD):
        if raw[place : place + 8] in _COMMENTARY:
            values.setdefault(raw[place : place + 8].decode().rstrip(), "")
            continue
        card = _CARD.match(raw, place, place + CARD)
        if card is None or raw[place + 8 : place + 10] != b"= ":
            return None
        name, kind = card[1].decode(), card.lastgroup or ""
        if name not in values:
            values[name] = _value(card[kind], kind)
    return None if any(name in values for name in _NOT_PLAIN) else values


def _value(given: bytes, kind: str) -> Any:
    if kind == "whole":
        return int(given)
    if kind == "real":
        return float(given.replace(b"D", b"E"))
    if kind == "text":
        return given.decode("latin-1").replace("''", "'").rstrip()
    return given == b"T" if kind == "logical" else None
