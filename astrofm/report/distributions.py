"""How numbers and positions are distributed: histograms, and maps of the sky, as inline SVG."""

from __future__ import annotations

__all__ = ["histogram_svg", "sky_svg"]

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrofm.errors import DataError
from astrofm.report.svg import CHARACTER, WIDTH, Axis, rule, svg, text, tick_text, ticks_around

_COLOUR = "var(--series-1, #0072b2)"
_NUM_BINS = 30
_NARROW = 340
"""Width of the view box of a histogram, of which two share a line."""
_LEVELS = 5
"""Shades of a map."""
_MAP_CELLS = 120
"""Cells across a map."""
_FIELD_DEG = 20.0
"""Radius up to which sources are drawn as a field rather than on the whole sky."""


def histogram_svg(values: ArrayLike, xlabel: str, title: str) -> str:
    """Return how many values lie where; where they span more than two decades, of their logarithm.

    Args:
        values: Those that are not finite are left out. Shape: (n,).
        xlabel: What they are, with their unit.
        title: What a screen reader says.

    Raises:
        DataError: If no value is finite.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        raise DataError(f"the histogram {title!r} has no finite value to show")
    if known.min() > 0 and known.max() > 100 * known.min():
        known, xlabel = np.log10(known), f"log10 {xlabel}"
    x_ticks = ticks_around([float(known.min()), float(known.max())])
    within = known.clip(x_ticks[0], x_ticks[-1])  # ticks enclose the values but for their own rounding
    counts, edges = np.histogram(within, bins=_NUM_BINS, range=(x_ticks[0], x_ticks[-1]))
    y_ticks = ticks_around([0.0, float(counts.max())])
    y_ticks = [t for t in y_ticks if float(t).is_integer()]
    widest = max(len(tick_text(t, y_ticks)) for t in y_ticks)
    left = max(12 + CHARACTER * widest, 4 + CHARACTER * len(tick_text(x_ticks[0], x_ticks)) / 2)
    x_axis = Axis(x_ticks[0], x_ticks[-1], left, _NARROW - 8 - CHARACTER * len(tick_text(x_ticks[-1], x_ticks)) / 2)
    y_axis = Axis(0.0, max(y_ticks[-1], float(counts.max())), 150, 10)
    bars = "".join(
        f"M{x_axis.at(a):.1f} {y_axis.start}V{y_axis.at(count):.1f}H{x_axis.at(b):.1f}V{y_axis.start}Z"
        for count, a, b in zip(counts, edges, edges[1:], strict=False)
        if count
    )
    parts = [
        *(rule(x_axis.start, y_axis.at(t), x_axis.end, y_axis.at(t), 0.13) for t in y_ticks),
        *(
            text(left - 6, y_axis.at(t) + 4, tick_text(t, y_ticks), "end")
            for t in y_ticks[:: max(1, len(y_ticks) // 3)]
        ),
        *(text(x_axis.at(t), 169, tick_text(t, x_ticks), "middle") for t in _thinned(x_ticks)),
        f'<path d="{bars}" fill="{_COLOUR}" fill-opacity="0.8"/>',
        rule(x_axis.start, y_axis.start, x_axis.end, y_axis.start, 0.6),
        text((x_axis.start + x_axis.end) / 2, 190, xlabel, "middle"),
    ]
    return svg(title, 196, parts, _NARROW)


def sky_svg(ra_deg: ArrayLike, dec_deg: ArrayLike, title: str) -> str:
    """Return a map of where sources lie, East to the left: a field where they lie close together, else the whole sky.

    Args:
        ra_deg: Right ascension, ICRS; rows that are NaN are left out. Shape: (n,).
        dec_deg: Declination. Shape: (n,).
        title: What a screen reader says.

    Raises:
        DataError: If no position is known.
    """
    ra, dec = np.radians(np.asarray(ra_deg, np.float64)), np.radians(np.asarray(dec_deg, np.float64))
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        raise DataError(f"the map {title!r} has no position to show")
    ra, dec = ra[known], dec[known]
    directions = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    mean = directions.mean(axis=0)
    length = float(np.linalg.norm(mean))
    is_field = length > 0 and (directions @ mean).min() / length > np.cos(np.radians(_FIELD_DEG))
    return _field(directions, mean / length, title) if is_field else _whole_sky(ra, dec, title)


def _whole_sky(ra: NDArray[np.float64], dec: NDArray[np.float64], title: str) -> str:
    """Draw Hammer's equal-area projection, right ascension 0 in the middle."""
    left, right, top, bottom = 34.0, WIDTH - 8.0, 8.0, 8.0 + (WIDTH - 42.0) / 2
    x_axis = Axis(-2 * np.sqrt(2), 2 * np.sqrt(2), left, right)
    y_axis = Axis(-np.sqrt(2), np.sqrt(2), bottom, top)
    along = np.radians(np.linspace(-180, 180, 61))
    parts = [_path(*_hammer(along, np.full(61, np.radians(lat))), x_axis, y_axis) for lat in range(-60, 90, 30)]
    parts += [_path(*_hammer(np.full(61, np.radians(lon)), along / 2), x_axis, y_axis) for lon in range(-180, 181, 60)]
    for lat in (-60, -30, 0, 30, 60):
        x, y = _hammer(np.array([-np.pi]), np.radians([float(lat)]))
        parts.append(text(x_axis.at(x[0]) - 6, y_axis.at(y[0]) + 4, f"{lat}°".replace("-", "\N{MINUS SIGN}"), "end"))
    for lon in (-120, -60, 0, 60, 120):  # East is to the left
        x, y = _hammer(np.array([np.radians(-lon)]), np.zeros(1))
        parts.append(text(x_axis.at(x[0]) + 4, y_axis.at(y[0]) + 15, f"{lon % 360}°", "start"))
    x, y = _hammer(-((ra + np.pi) % (2 * np.pi) - np.pi), dec)
    return svg(title, bottom + 8, [*parts, *_shades(x, y, x_axis, y_axis)])


def _hammer(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scale = np.sqrt(2.0 / (1.0 + np.cos(lat) * np.cos(lon / 2.0)))
    return 2.0 * scale * np.cos(lat) * np.sin(lon / 2.0), scale * np.sin(lat)


def _field(directions: NDArray[np.float64], centre: NDArray[np.float64], title: str) -> str:
    """Draw offsets from the centre on the tangent plane, both axes to one scale."""
    ra, dec = np.arctan2(centre[1], centre[0]), np.arcsin(np.clip(centre[2], -1.0, 1.0))
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.cross(centre, east)
    depth = directions @ centre
    x, y = np.degrees(-(directions @ east) / depth), np.degrees((directions @ north) / depth)
    reach = max(float(np.abs(x).max()), float(np.abs(y).max()), 1e-3)
    ticks = ticks_around([-reach, reach])
    side, top = 420.0, 10.0
    left = (WIDTH - side) / 2 + 20
    x_axis, y_axis = Axis(ticks[0], ticks[-1], left, left + side), Axis(ticks[0], ticks[-1], top + side, top)
    parts = []
    for tick in ticks:
        parts += [
            rule(x_axis.start, y_axis.at(tick), x_axis.end, y_axis.at(tick), 0.13),
            rule(x_axis.at(tick), y_axis.start, x_axis.at(tick), y_axis.end, 0.13),
            text(left - 8, y_axis.at(tick) + 4, tick_text(tick, ticks), "end"),
            text(x_axis.at(tick), y_axis.start + 19, tick_text(-tick, ticks), "middle"),
        ]
    where = f"{np.degrees(ra) % 360:.3f}, {np.degrees(dec):+.3f}".replace("-", "\N{MINUS SIGN}")
    parts.append(text((x_axis.start + x_axis.end) / 2, y_axis.start + 42, f"degrees to the East of {where}", "middle"))
    parts.append(text(left - 52, top + side / 2, "degrees to the North", "middle", rotate=True))
    return svg(title, y_axis.start + 52, [*parts, *_shades(x, y, x_axis, y_axis)])


def _path(x: NDArray[np.float64], y: NDArray[np.float64], x_axis: Axis, y_axis: Axis) -> str:
    points = "L".join(f"{x_axis.at(a):.1f} {y_axis.at(b):.1f}" for a, b in zip(x, y, strict=True))
    return f'<path d="M{points}" fill="none" stroke="currentColor" stroke-opacity="0.16"/>'


def _shades(x: NDArray[np.float64], y: NDArray[np.float64], x_axis: Axis, y_axis: Axis) -> list[str]:
    """Return the cells that hold sources, darker where there are more, each shade as one path."""
    size = (x_axis.end - x_axis.start) / _MAP_CELLS
    columns = (x - x_axis.low) / (x_axis.high - x_axis.low) * (x_axis.end - x_axis.start) / size
    lines = (y_axis.high - y) / (y_axis.high - y_axis.low) * (y_axis.start - y_axis.end) / size
    places = np.floor(np.stack([columns, lines], axis=1)).astype(np.int64)
    cells, counts = np.unique(places, axis=0, return_counts=True)
    level = np.ceil(_LEVELS * np.log1p(counts) / np.log1p(counts.max())).astype(int)
    shades = []
    for number in np.unique(level).tolist():
        squares = "".join(
            f"M{x_axis.start + column * size:.1f} {y_axis.end + line * size:.1f}h{size:.1f}v{size:.1f}h-{size:.1f}z"
            for column, line in cells[level == number].tolist()
        )
        shades.append(f'<path d="{squares}" fill="{_COLOUR}" fill-opacity="{0.2 + 0.8 * number / _LEVELS:.2f}"/>')
    return shades


def _thinned(ticks: list[float]) -> list[float]:
    """Return as many ticks as have room for their labels on a narrow chart."""
    room = 300.0 / (CHARACTER * (1.5 + max(len(tick_text(tick, ticks)) for tick in ticks)))
    return ticks[:: max(1, int(np.ceil(len(ticks) / room)))]
