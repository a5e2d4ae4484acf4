"""The contact sheet of a recipe's views as one PNG: blocks of rows of small pictures, and numbers under them."""

from __future__ import annotations

__all__ = ["Block", "Facts", "SheetRow", "draw_sheet"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from astrofm.report.pictures import Colormap, cutout_png

_CELL, _GAP, _MARGIN, _NAMES = 112, 4, 16, 190
"""Pixels of the sheet: side of a picture, between two, around all, and the width of the column of names."""
_LINE, _TEXT, _TITLE = 17, 13, 18
_HISTOGRAM_HEIGHT = 70
_WHITE, _BLACK, _GREY, _MISSING = (255, 255, 255), (20, 20, 20), (120, 120, 120), (255, 0, 255)


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One cutout.

    Attributes:
        title: Its id.
        subtitle: Its survey.
        pictures: Values to show. Shape: (pictures, channel, y, x), one or three channels, y increasing upwards.
        limits: Values shown as the darkest and the brightest.
        colormap: Of one channel.
    """

    title: str
    subtitle: str
    pictures: NDArray[np.floating]
    limits: tuple[float, float]
    colormap: Colormap


@dataclass(frozen=True, eq=False)
class Block:
    """Rows under one title, with a title for each column of pictures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[SheetRow]


@dataclass(frozen=True, eq=False)
class Facts:
    """What is written under the pictures of one survey.

    Attributes:
        lines: Sentences.
        counts: Number of pixels in equal bins of their value. Shape: (bins,).
        span: Values at which the first bin begins and the last ends.
    """

    lines: Sequence[str]
    counts: NDArray[np.int64]
    span: tuple[float, float]


def draw_sheet(title: str, lines: Sequence[str], blocks: Sequence[Block], facts: Sequence[Facts]) -> bytes:
    """Return the sheet as a PNG; a pixel that is not a number is magenta.

    Args:
        title: What is shown.
        lines: Under the title.
        blocks: The pictures, top to bottom.
        facts: One for each survey, under the pictures.
    """
    num_columns = max(len(block.columns) for block in blocks)
    width = 2 * _MARGIN + max(_NAMES + num_columns * (_CELL + _GAP), 900)
    lines = _all_wrapped(lines, width - 2 * _MARGIN)
    facts = [replace(one, lines=_all_wrapped(one.lines, width - 2 * _MARGIN)) for one in facts]
    height = 2 * _MARGIN + 2 * _TITLE + len(lines) * _LINE
    height += sum(3 * _LINE + len(block.rows) * (_CELL + _GAP) for block in blocks)
    height += sum((len(one.lines) + 3) * _LINE + _HISTOGRAM_HEIGHT for one in facts)
    sheet = _Sheet(Image.new("RGB", (width, height), _WHITE))
    sheet.write(title, size=_TITLE)
    for line in lines:
        sheet.write(line)
    for block in blocks:
        sheet.add_block(block)
    for one in facts:
        sheet.add_facts(one)
    buffer = BytesIO()
    sheet.image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class _Sheet:
    """The picture being drawn, and how far down it is filled."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)
        self._y = _MARGIN

    def write(self, text: str, *, size: int = _TEXT, colour: tuple[int, int, int] = _BLACK) -> None:
        """Write a line and go to the next."""
        self._text(_MARGIN, self._y, text, size=size, colour=colour)
        self._y += _LINE if size == _TEXT else 2 * size

    def add_block(self, block: Block) -> None:
        """Draw the rows of a block under its titles."""
        self._y += _LINE // 2
        self.write(block.title)
        for number, column in enumerate(block.columns):
            self._text(_column_x(number), self._y, column, colour=_GREY)
        self._y += _LINE
        for row in block.rows:
            self._add_row(row)
        self._y += _LINE // 2

    def add_facts(self, facts: Facts) -> None:
        """Write the lines of a survey, and its histogram with a logarithmic height under them."""
        self._y += _LINE // 2
        for line in facts.lines:
            self.write(line)
        width = self.image.width - 2 * _MARGIN
        bottom = self._y + _HISTOGRAM_HEIGHT
        heights = np.log1p(facts.counts)
        bar = width / len(heights)
        for number, height in enumerate(heights / max(float(heights.max()), 1.0)):
            left = _MARGIN + number * bar
            box = (left, bottom - height * _HISTOGRAM_HEIGHT, left + bar - 1, bottom)
            self._draw.rectangle(box, fill=_GREY)
        low, high = (f"{value:.4g}" for value in facts.span)
        self._text(_MARGIN, bottom + 2, low, colour=_GREY)
        self._text(_MARGIN + width - self._draw.textlength(high, font=_font(_TEXT)), bottom + 2, high, colour=_GREY)
        self._y = bottom + 2 * _LINE

    def _add_row(self, row: SheetRow) -> None:
        for number, line in enumerate([*_wrapped(row.title, _NAMES - 2 * _GAP), row.subtitle]):
            self._text(_MARGIN, self._y + number * _LINE, line, colour=_BLACK if line != row.subtitle else _GREY)
        for number, values in enumerate(row.pictures):
            png = cutout_png(values, size_pix=_CELL, colormap=row.colormap, limits=row.limits)
            picture = Image.open(BytesIO(png)).convert("RGBA")
            self.image.paste(_MISSING, (_column_x(number), self._y, *_end(picture, number, self._y)))
            self.image.paste(picture, (_column_x(number), self._y), picture)
        self._y += _CELL + _GAP

    def _text(self, x: float, y: float, text: str, *, size: int = _TEXT, colour: tuple[int, int, int] = _BLACK) -> None:
        self._draw.text((x, y), text, font=_font(size), fill=colour)


def _column_x(number: int) -> int:
    return _MARGIN + _NAMES + number * (_CELL + _GAP)


def _end(picture: Image.Image, number: int, y: int) -> tuple[int, int]:
    return _column_x(number) + picture.width, y + picture.height


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _all_wrapped(lines: Sequence[str], width: int) -> list[str]:
    return [part for line in lines for part in _wrapped(line, width)]


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines no wider than so many pixels, broken at blanks, or anywhere where a word is too long."""
    font, lines = _font(_TEXT), [""]
    for word in text.split(" "):
        for piece in _pieces(word, font, width):
            longer = f"{lines[-1]} {piece}" if lines[-1] else piece
            if font.getlength(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _pieces(word: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    pieces = [""]
    for letter in word:
        if font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
