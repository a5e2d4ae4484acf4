"""What charts are drawn with: an axis, round ticks, and the SVG of text and lines in the colour of the page."""

from __future__ import annotations

__all__ = ["CHARACTER", "FONT_SIZE", "WIDTH", "Axis", "rule", "svg", "text", "tick_text", "ticks_around"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 640
FONT_SIZE = 13
"""Font size, in the units of the view box."""
CHARACTER = 7.0
"""Width of a character at that size, on the wide side: no font is measured."""


@dataclass(frozen=True)
class Axis:
    """Values low to high, drawn from start to end, by their logarithm where that is asked for."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Return where a value is drawn."""
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
            return self.start + share * (self.end - self.start)
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks_around(values: Sequence[float]) -> list[float]:
    """Return round numbers, 1, 2 or 5 times a power of ten apart, that enclose the values."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size or size < 1e-30:
        half = size / 2 if size >= 1e-30 else 0.5
        low, high = low - half, high + half
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """Write a tick with as many decimals as its spacing needs."""
    step = ticks[1] - ticks[0]
    if abs(value) < step / 2:
        return "0"
    if step >= 1e6 or step < 1e-4:
        return f"{value:.3g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def svg(title: str, height: float, parts: Sequence[str], width: float = WIDTH) -> str:
    """Return a drawing that fills the width of its place on the page.

    Args:
        title: What a screen reader says.
        height: Of the view box.
        parts: SVG elements, in the units of the view box.
        width: Of the view box; a chart that shares its line with others takes less, for letters of the same size.
    """
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'font-size="{FONT_SIZE}" font-family="inherit" fill="currentColor" style="width:100%;height:auto">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def text(x: float, y: float, words: str, anchor: str, *, rotate: bool = False) -> str:
    """Return words at a place; anchor is ``start``, ``middle`` or ``end``, and rotated ones read upwards."""
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if rotate else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(words)}</text>'


def rule(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    """Return a thin line in the colour of the text."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
        f'stroke-opacity="{opacity:g}"/>'
    )
