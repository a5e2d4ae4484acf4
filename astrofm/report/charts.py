"""Charts as inline SVG: text, axes and grid take the colour of the page around them, light or dark.

Series differ by colour and by dash, so that a chart can be read in grey. The colours are those of Okabe and Ito
(https://jfly.uni-koeln.de/color/), which colour-blind readers can tell apart; a dark page lightens the first.
"""

from __future__ import annotations

__all__ = ["Interval", "Series", "error_bar_svg", "line_svg"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from astrofm.errors import DataError
from astrofm.report.svg import CHARACTER, WIDTH, Axis, rule, svg, text, tick_text, ticks_around

_COLOURS = ("var(--series-1, #0072b2)", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 2")
_STYLES = [(_COLOURS[i % 5], _DASHES[(i + i // 5) % 5]) for i in range(25)]
"""Colour and dash of each line: as many different pairs as there can be."""


@dataclass(frozen=True)
class Series:
    """One line of a chart: a label and its points, in order of x. A point with y = NaN interrupts the line."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[tuple[float, float]] = ()
    """Lowest and highest y at each x, drawn as a band; empty: none."""


@dataclass(frozen=True)
class Interval:
    """One row of an error chart, all as fractions; a baseline is drawn with an open dot."""

    label: str
    value: float
    low: float
    high: float
    is_baseline: bool = False


def line_svg(series: Sequence[Series], xlabel: str, ylabel: str, title: str, *, log_ticks: Sequence[float] = ()) -> str:
    """Return a line chart with axes, ticks and, for more than one series, a legend.

    Args:
        series: What is drawn.
        xlabel: What x is, with its unit.
        ylabel: What y is, with its unit.
        title: What a screen reader says.
        log_ticks: Where given, x is drawn by its logarithm, with these ticks, which enclose all x.

    Raises:
        DataError: If there is no finite point, or a series has x and y of different lengths.
    """
    for one in series:
        if len(one.x) != len(one.y):
            raise DataError(f"series {one.label!r} has {len(one.x)} x and {len(one.y)} y")
        if one.band and len(one.band) != len(one.x):
            raise DataError(f"series {one.label!r} has {len(one.x)} x and a band of {len(one.band)}")
    points = [(x, y) for one in series for x, y in zip(one.x, one.y, strict=True) if _is_point(x, y)]
    if not points:
        raise DataError(f"the chart {title!r} has no finite point to show")
    edges = [edge for one in series for pair in one.band for edge in pair]
    x_ticks = list(log_ticks) or ticks_around([x for x, _ in points])
    y_ticks = ticks_around([*(y for _, y in points), *edges])
    x_names = [f"{tick:.3g}" if log_ticks else tick_text(tick, x_ticks) for tick in x_ticks]
    margin_left = 34 + CHARACTER * max(len(tick_text(t, y_ticks)) for t in y_ticks)
    legend = _legend_places(series, margin_left)
    top = 34 + 22 * legend[-1][1] if len(series) > 1 else 12
    height = top + 280
    margin_right = 8 + CHARACTER * len(x_names[-1]) / 2
    x_axis = Axis(x_ticks[0], x_ticks[-1], margin_left, WIDTH - margin_right, is_log=bool(log_ticks))
    y_axis = Axis(y_ticks[0], y_ticks[-1], height - 48, top)
    parts = [
        *(_across(y_axis.at(t), x_axis) + text(margin_left - 8, y_axis.at(t) + 4, tick_text(t, y_ticks), "end")
          for t in y_ticks),
        *(_tick(x_axis.at(t), y_axis.start) + text(x_axis.at(t), y_axis.start + 19, name, "middle")
          for t, name in zip(x_ticks, x_names, strict=True)),
        _baseline(x_axis, y_axis.start),
        text((x_axis.start + x_axis.end) / 2, height - 8, xlabel, "middle"),
        text(14, (y_axis.start + y_axis.end) / 2, ylabel, "middle", rotate=True),
        *(_band(one, i, x_axis, y_axis) for i, one in enumerate(series) if one.band),
        *(_line(one, i, x_axis, y_axis) for i, one in enumerate(series)),
    ]  # fmt: skip
    if len(series) > 1:
        parts += [_key(one, i, *legend[i]) for i, one in enumerate(series)]
    return svg(title, height, parts)


def error_bar_svg(rows: Sequence[Interval], title: str = "Classification error with its 95% interval") -> str:
    """Return a chart with one dot and interval a row, in percent, the numbers beside it.

    Args:
        rows: From top to bottom.
        title: What a screen reader says.

    Raises:
        DataError: If there is no row, or a value lies outside its interval.
    """
    if not rows:
        raise DataError(f"the chart {title!r} has no row to show")
    for row in rows:
        if not row.low <= row.value <= row.high:
            raise DataError(f"row {row.label!r} has {row.value:g} outside its interval {row.low:g} to {row.high:g}")
    ticks = ticks_around([0.0, *(100 * row.high for row in rows), *(100 * row.low for row in rows)])
    numbers = [f"{100 * row.value:.1f}% ({100 * row.low:.1f}\N{EN DASH}{100 * row.high:.1f})" for row in rows]
    left = 20 + CHARACTER * max(len(row.label) for row in rows)
    axis = Axis(ticks[0], ticks[-1], min(left, 0.45 * WIDTH), WIDTH - 24 - CHARACTER * max(map(len, numbers)))
    bottom = 16 + 34 * len(rows)
    parts = [_upright(axis.at(t), bottom) + text(axis.at(t), bottom + 19, tick_text(t, ticks), "middle") for t in ticks]
    parts += [_baseline(axis, bottom), text((axis.start + axis.end) / 2, bottom + 42, "error (%)", "middle")]
    for i, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        y = 28.0 + 34 * i
        parts += [
            text(axis.start - 14, y + 4, row.label, "end"),
            _whisker(row, axis, y),
            text(axis.end + 14, y + 4, number, "start"),
        ]
    return svg(title, bottom + 50, parts)


def _is_point(x: float, y: float) -> bool:
    return math.isfinite(x) and math.isfinite(y)


def _across(y: float, x_axis: Axis) -> str:
    return rule(x_axis.start, y, x_axis.end, y, 0.13)


def _upright(x: float, bottom: float) -> str:
    return rule(x, 8, x, bottom, 0.13)


def _tick(x: float, y: float) -> str:
    return rule(x, y, x, y + 5, 0.6)


def _baseline(axis: Axis, y: float) -> str:
    return rule(axis.start, y, axis.end, y, 0.6)


def _band(series: Series, index: int, x_axis: Axis, y_axis: Axis) -> str:
    """Fill what lies between the lowest and the highest y."""
    colour, _ = _STYLES[index % len(_STYLES)]
    above = [(x_axis.at(x), y_axis.at(high)) for x, (_, high) in zip(series.x, series.band, strict=True)]
    below = [(x_axis.at(x), y_axis.at(low)) for x, (low, _) in zip(series.x, series.band, strict=True)]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*above, *reversed(below)])
    return f'<polygon points="{corners}" fill="{colour}" fill-opacity="0.13"/>'


def _line(series: Series, index: int, x_axis: Axis, y_axis: Axis) -> str:
    """Draw the points as one path that lifts the pen over NaN; a lone point is a dot by its round cap."""
    colour, dash = _STYLES[index % len(_STYLES)]
    path, pen = [], "M"
    for x, y in zip(series.x, series.y, strict=True):
        if not _is_point(x, y):
            pen = "M"
            continue
        path.append(f"{pen}{x_axis.at(x):.1f} {y_axis.at(y):.1f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-linejoin="round" '
        f'stroke-linecap="round"{dashed}><title>{escape(series.label)}</title></path>'
    )


def _legend_places(series: Sequence[Series], left: float) -> list[tuple[float, int]]:
    """Return where each key begins and in which line, filling lines from the left."""
    places, x, line = [], left, 0
    for one in series:
        width = 33 + CHARACTER * len(one.label) + 22
        if x > left and x + width > WIDTH:
            x, line = left, line + 1
        places.append((x, line))
        x += width
    return places


def _key(series: Series, index: int, x: float, line: int) -> str:
    colour, dash = _STYLES[index % len(_STYLES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    y = 14 + 22 * line
    stroke = f'<path d="M{x:.1f} {y}h26" fill="none" stroke="{colour}" stroke-width="2.2"{dashed}/>'
    return stroke + text(x + 33, y + 4, series.label, "start")


def _whisker(row: Interval, axis: Axis, y: float) -> str:
    colour = "currentColor" if row.is_baseline else _STYLES[0][0]
    low, value, high = (axis.at(100 * v) for v in (row.low, row.value, row.high))
    fill = "none" if row.is_baseline else colour
    bar = (
        f'<path d="M{low:.1f} {y - 5:.1f}v10M{low:.1f} {y:.1f}H{{}}M{{}} {y:.1f}H{high:.1f}M{high:.1f} {y - 5:.1f}v10" '
    )
    # The bar stops at the rim of the dot, so that an open one stays open.
    bar = bar.format(f"{max(low, value - 5.5):.1f}", f"{min(high, value + 5.5):.1f}")
    return (
        f'{bar}fill="none" stroke="{colour}" stroke-width="1.8"/>'
        f'<circle cx="{value:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="1.8"/>'
    )
