"""The demo's report: what was seen, learned and found, on one page."""

from __future__ import annotations

__all__ = ["SurveyPart", "demo_page"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.report.charts import Interval, Series, error_bar_svg, line_svg
from astrofm.report.page import Section, command, figure, gallery, page, paragraph, table
from astrofm.report.pictures import Colormap, cutout_png

BANNER = "Mock data from a sky model: no number on this page is a measurement of the sky."

Picture = tuple[NDArray[np.generic], str]
"""A cutout, (channel, y, x), and its caption."""


@dataclass(frozen=True)
class SurveyPart:
    """What the page shows of one survey."""

    title: str
    survey: str
    domain: str
    num_cutouts: int
    num_rejected: int
    labels: int
    seeds: int
    seconds: float
    metrics: Sequence[Mapping[str, Any]]
    transferred: Mapping[str, Any]
    cutouts: Sequence[Picture]
    query: Picture
    similar: Sequence[Picture]
    recipe: str
    num_objects: int


def demo_page(parts: Sequence[SurveyPart], astrofm_version: str, seed: int) -> str:
    """Return the page as HTML.

    Args:
        parts: One for each survey, in order.
        astrofm_version: For the small print.
        seed: Seed of the sky model.
    """
    sections = [section for part in parts for section in _sections(part)]
    return page(
        "From survey images to a measured result",
        sections,
        subtitle="Pretrained without labels, transferred with few, compared with the same network from random weights.",
        banner=BANNER,
        footer=f"astrofm {astrofm_version}, sky model seed {seed}. Made by `astrofm demo`.",
    )


def _sections(part: SurveyPart) -> list[Section]:
    return [
        Section(f"{part.title} (mock)", _seen(part)),
        Section(f"{part.survey}: learning without labels", _learned(part)),
        Section(f"{part.survey}: {part.labels} labels", _measured(part)),
        Section(f"{part.survey}: objects like this one", _found(part)),
    ]


def _picture(part: SurveyPart, picture: Picture, *, highlight: bool = False) -> tuple[bytes, str, bool]:
    image, caption = picture
    colormap: Colormap = "ember" if part.domain == "radio" else "gray"
    return cutout_png(image, colormap=colormap), caption, highlight


def _seen(part: SurveyPart) -> str:
    rejected = f"; {part.num_rejected} rejected, with the reason kept" if part.num_rejected else ""
    told = f"{part.num_cutouts} cutouts were read from a mock archive in the survey's own format{rejected}."
    return paragraph(told) + gallery(_picture(part, picture) for picture in part.cutouts)


def _learned(part: SurveyPart) -> str:
    steps = [line["step"] for line in part.metrics]
    losses = [line["loss"] for line in part.metrics]
    chart = line_svg([Series("loss", steps, losses)], "optimiser step", "BYOL loss", f"Loss of {part.survey}")
    told = f"Recipe {part.recipe}: {steps[-1]} steps in {part.seconds:.0f} s. The labels were not looked at."
    return paragraph(told) + figure(chart, "Loss of each batch; it is no accuracy, and falls as views agree.")


def _measured(part: SurveyPart) -> str:
    rows = part.transferred["rows"]
    intervals = [
        Interval(
            label=f"{row['mode']}, {row['init']}",
            value=row["error_mean"],
            low=row["error_ci95"][0],
            high=row["error_ci95"][1],
            is_baseline=row["init"] == "random",
        )
        for row in rows
    ]
    columns = ("mode", "weights", "error", "95% interval", "difference to random", "95% interval")
    cells = [
        (
            row["mode"],
            row["init"],
            _percent(row["error_mean"]),
            _span(row["error_ci95"]),
            _percent(row["difference_to_random"]),
            _span(row["difference_ci95"]),
        )
        for row in rows
    ]
    told = (
        f"{part.labels} labelled training objects, drawn {part.seeds} times; {rows[0]['n_test']} test objects, of the "
        f"classes {' and '.join(part.transferred['classes'])}. Random weights are the same network, never pretrained."
    )
    caption = "Intervals by a paired bootstrap over seeds and test objects. Mock data."
    chosen = f"--survey {part.survey} --mock {part.num_objects}"
    again = f"astrofm pretrain {chosen}\nastrofm transfer {chosen} --labels {part.labels} --seeds {part.seeds}"
    return (
        paragraph(told)
        + figure(error_bar_svg(intervals), "Error on the test split with its 95% interval.")
        + table(columns, cells, caption=caption)
        + command(again)
    )


def _found(part: SurveyPart) -> str:
    pictures = [_picture(part, part.query, highlight=True), *(_picture(part, picture) for picture in part.similar)]
    told = "The framed cutout is the query; the others are nearest to it by the cosine of their embeddings."
    return paragraph(told) + gallery(pictures)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}%"


def _span(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}%"
