"""The files of a curve: its rows as JSON and CSV, and two drawings."""

from __future__ import annotations

__all__ = ["labels_svg", "pretraining_svg", "write_curve"]

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from astrofm.report.charts import Series, line_svg
from astrofm.transfer.curve_report import CurveReport, CurveRow

COLUMNS = (
    "model",
    "init",
    "mode",
    "labels",
    "error_mean",
    "error_sem",
    "error_low",
    "error_high",
    "n_test",
    "seeds",
    "difference_to_random",
    "difference_low",
    "difference_high",
    "cutouts_seen",
    "encoder_flop",
)


def write_curve(report: CurveReport, out: Path) -> list[Path]:
    """Write the files of a curve.

    Returns:
        ``curve.json``, ``curve.csv``, ``error-by-labels.svg`` and, for two models or more whose cost is known,
        ``error-by-pretraining.svg``.
    """
    out.mkdir(parents=True, exist_ok=True)
    contents = {
        "curve.json": json.dumps(report.to_json(), indent=2) + "\n",
        "curve.csv": _csv(report.rows),
        "error-by-labels.svg": labels_svg(report),
        "error-by-pretraining.svg": pretraining_svg(report),
    }
    written = []
    for name, content in contents.items():
        if content:
            (out / name).write_text(content, encoding="utf-8")
            written.append(out / name)
    return written


def labels_svg(report: CurveReport) -> str:
    """Return error against labels: a line with its 95% band for each model and mode."""
    series = []
    for key in dict.fromkeys((row.mode, row.model, row.init) for row in report.rows):
        rows = [row for row in report.rows if (row.mode, row.model, row.init) == key]
        series.append(_series(_name(rows[0], report), [row.labels for row in rows], rows))
    ticks = sorted({row.labels for row in report.rows})
    title = f"{_tested(report)} against the number of labels"
    return _standing_alone(line_svg(series, "labels", "error (%)", title, log_ticks=ticks if len(ticks) > 1 else ()))


def pretraining_svg(report: CurveReport) -> str:
    """Return error against the cost of pretraining, a line for each mode and number of labels.

    Empty where no two models have a known cost.
    """
    rows = [row for row in report.rows if row.init == "pretrained" and row.pretraining_flop]
    rows.sort(key=_petaflop)
    costs = sorted(set(map(_petaflop, rows)))
    if len(costs) < 2:
        return ""
    series = []
    for mode, labels in dict.fromkeys((row.mode, row.labels) for row in rows):
        own = [row for row in rows if (row.mode, row.labels) == (mode, labels)]
        series.append(_series(f"{mode}, {labels} labels", [_petaflop(row) for row in own], own))
    title = f"{_tested(report)} against pretraining"
    xlabel = "cutouts seen x one forward pass (PFLOP)"
    return _standing_alone(line_svg(series, xlabel, "error (%)", title, log_ticks=costs))


def _tested(report: CurveReport) -> str:
    if report.folds:
        return f"Error on {report.folds} folds of the training split of {report.survey}"
    return f"Test error on {report.survey}"


def _petaflop(row: CurveRow) -> float:
    return (row.pretraining_flop or 0.0) / 1e15


def _name(row: CurveRow, report: CurveReport) -> str:
    """Name a line; random weights by their model only where there are several models."""
    several = len({other.model for other in report.rows}) > 1
    if row.init == "pretrained":
        return f"{row.model}, {row.mode}"
    return f"random weights ({row.model}), {row.mode}" if several else f"random weights, {row.mode}"


def _series(label: str, x: Sequence[float], rows: Sequence[CurveRow]) -> Series:
    band = [(100.0 * row.error_ci95[0], 100.0 * row.error_ci95[1]) for row in rows]
    return Series(label, x, [100.0 * row.error_mean for row in rows], band)


def _csv(rows: Sequence[CurveRow]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        low, high = row.difference_ci95 or ("", "")
        given = {
            **row.__dict__,
            "error_low": row.error_ci95[0],
            "error_high": row.error_ci95[1],
            "difference_low": low,
            "difference_high": high,
        }
        writer.writerow(["" if given[column] is None else given[column] for column in COLUMNS])
    return text.getvalue()


def _standing_alone(drawing: str) -> str:
    """Return a drawing as a file of its own, on white."""
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        'style="', 'style="background:#fff;font-family:sans-serif;', 1
    )
