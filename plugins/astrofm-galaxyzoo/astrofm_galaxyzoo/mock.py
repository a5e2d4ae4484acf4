"""Write made-up galaxies in the archive format of Galaxy Zoo campaigns: Parquet shards with JPEG images and votes."""

from __future__ import annotations

__all__ = ["write_mock"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from astrofm.mock.mark import write_mock_mark
from astrofm.mock.optical import Galaxy, sample_galaxy
from astrofm.mock.seeding import object_rng
from astrofm.mock.votes import VOTE_STREAM, draw_galaxy_votes
from astrofm.schema import Question, VoteSchema
from astrofm_galaxyzoo.galaxy_pictures import Camera, galaxy_jpeg

SIZE_PIX = 256
"""Side of the JPEG images; the archive's have 424 px, which takes four times as long to make."""
SKY_STREAM = 2
"""Random stream of position and campaign."""
PIXELS_PER_RADIUS = 25.0
"""Half-light radius in pixels of a 424 px image (Galaxy Zoo DECaLS took 0.04 radii for a pixel)."""


@dataclass(frozen=True)
class _Campaign:
    """One campaign: the ending of its questions, its name in the archive, how it looks and its share of the mock."""

    suffix: str
    dataset_name: str
    camera: Camera
    share: float


# GZ2 has more than its share of the archive, so that the default task has labels in a small mock.
_CAMPAIGNS = (
    _Campaign("-gz2", "gz2", Camera(("g", "r", "i"), 1.3, 1.0), 0.5),
    _Campaign("-dr12", "gz_desi", Camera(("g", "r", "z"), 1.2, 2.5), 0.05),
    _Campaign("-dr5", "gz_desi", Camera(("g", "r", "z"), 1.2, 2.5), 0.2),
    _Campaign("-dr8", "gz_desi", Camera(("g", "r", "z"), 1.2, 2.5), 0.1),
    _Campaign("-hubble", "gz_hubble", Camera(("g", "r", "i"), 0.1, 4.0), 0.1),
    _Campaign("-candels", "gz_candels", Camera(("g", "r", "z"), 0.15, 4.0), 0.05),
    # The made-up sky ends at z: its reddest bands stand for Y, J and K.
    _Campaign("-ukidss", "gz_ukidss", Camera(("r", "i", "z"), 0.9, 1.0), 0.5),
    _Campaign("-cd", "gz_cosmic_dawn", Camera(("g", "r", "i"), 0.7, 5.0), 0.5),
)
_WITHOUT_ENDING = _Campaign("", "gz_desi", Camera(("g", "r", "z"), 1.2, 2.5), 1.0)


def write_mock(survey: str, schema: VoteSchema, n: int, seed: int, out: Path) -> Path:
    """Write a mock archive: ``data/train-*.parquet``, ``data/test-*.parquet`` and ``MOCK.json``.

    Args:
        survey: Name of the survey, for ids and ``MOCK.json``.
        schema: Questions of all campaigns; each galaxy has votes in one campaign, the others are null.
        n: Number of galaxies.
        seed: Seed of the generator; galaxy ``i`` is the same whatever ``n``.
        out: Folder to write into.

    Returns:
        ``out``.
    """
    rows = [_galaxy_row(survey, schema, seed, index) for index in range(n)]
    data = out / "data"
    data.mkdir(parents=True, exist_ok=True)
    for split, members in (("train", [row for i, row in enumerate(rows) if i % 5 != 4]), ("test", rows[4::5])):
        table = pa.Table.from_pylist(members, schema=_arrow_schema(schema))
        pq.write_table(table, data / f"{split}-00000-of-00001.parquet", row_group_size=100)
    write_mock_mark(survey, n, seed, out)
    return out


def _galaxy_row(survey: str, schema: VoteSchema, seed: int, index: int) -> dict[str, Any]:
    galaxy_rng, sky_rng = object_rng(seed, index), object_rng(seed, index, SKY_STREAM)
    galaxy = sample_galaxy(galaxy_rng)
    campaigns = _campaigns_of(schema)
    share = np.array([campaign.share for campaign in campaigns])
    campaign = campaigns[int(sky_rng.choice(len(campaigns), p=share / share.sum()))]
    id_str = f"mock-{survey}-{seed}-{index:06d}"
    pixels_per_radius = PIXELS_PER_RADIUS * SIZE_PIX / 424
    picture = galaxy_jpeg(galaxy, campaign.camera, galaxy_rng, size_pix=SIZE_PIX, pixels_per_radius=pixels_per_radius)
    row: dict[str, Any] = {
        "image": {"bytes": picture, "path": f"{id_str}.jpg"},
        "id_str": id_str,
        "dataset_name": campaign.dataset_name,
        "ra": float(sky_rng.uniform(0.0, 360.0)),
        "dec": float(np.degrees(np.arcsin(sky_rng.uniform(-0.3, 0.9)))),
    }
    asked = [question for question in schema.questions if question.name.endswith(campaign.suffix)]
    return row | _votes(galaxy, asked, object_rng(seed, index, VOTE_STREAM))


def _campaigns_of(schema: VoteSchema) -> list[_Campaign]:
    """Return the campaigns that ask the questions of a schema."""
    found = [c for c in _CAMPAIGNS if any(question.name.endswith(c.suffix) for question in schema.questions)]
    return found or [_WITHOUT_ENDING]


def _votes(galaxy: Galaxy, questions: list[Question], rng: np.random.Generator) -> dict[str, int | float]:
    """Return counts, totals and fractions of the questions of one campaign."""
    answers = {question.name: question.answers for question in questions}
    counts = draw_galaxy_votes(galaxy, answers, {question.name: question.asked_after for question in questions}, rng)
    columns: dict[str, int | float] = {}
    for question in questions:
        total = sum(counts[column] for column in question.columns)
        columns[f"{question.name}_total-votes"] = total
        for column in question.columns:
            columns[column] = counts[column]
            columns[f"{column}_fraction"] = counts[column] / total if total else 0.0
    return columns


def _arrow_schema(schema: VoteSchema) -> pa.Schema:
    """Return the columns of the archive, in its order, with the word that the content is mock."""
    fields = [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("id_str", pa.string()),
        ("dataset_name", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
    ]
    for question in schema.questions:
        for place, column in enumerate(question.columns):
            fields += [(column, pa.int32()), (f"{column}_fraction", pa.float32())]
            if place == 0:
                fields.append((f"{question.name}_total-votes", pa.int32()))
    return pa.schema(fields, metadata={"MOCK": "true"})
