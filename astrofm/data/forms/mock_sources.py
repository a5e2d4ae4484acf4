"""Made-up sources as a reader would have them, a table row and an image for each, and the files all forms have."""

from __future__ import annotations

__all__ = ["mock_file_name", "mock_sources", "write_mock_table"]

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.card import ClassTask, SurveyCard, VoteTask
from astrofm.data.forms.mock_images import mock_product, observe
from astrofm.data.splits import split_of
from astrofm.data.tables import write_table
from astrofm.errors import DataError
from astrofm.mock.seeding import object_rng
from astrofm.schema import VoteSchema

_IMAGE, _ROW = 0, 1
"""Independent random streams of an object."""

_MORPHOLOGIES = {"radio": ("fr1", "fr2", "bent", "compact"), "optical": ("elliptical", "spiral", "edge-on", "merger")}


def mock_sources(
    card: SurveyCard, n: int, seed: int, votes: VoteSchema | None = None
) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Draw sources of the sky model of the card's domain; source ``i`` is the same whatever ``n``.

    Args:
        card: The card; its first product says what is observed.
        n: Number of sources.
        seed: Seed of the generator.
        votes: The survey's vote schema, each of whose answers gets a column; None: it has none.

    Yields:
        The row under the names of the contract, and the image in the unit of the product. Shape: (band, y, x).

    Raises:
        DataError: If no source is asked for.
    """
    if n < 1:
        raise DataError(f"asked for {n} mock objects; ask for at least 1")
    product, scale_arcsec = mock_product(card)
    for index in range(n):
        rng = object_rng(seed, index, _IMAGE)
        yield _row_of(card, votes, index, seed), observe(card, product, scale_arcsec, _morphology(card, index), rng)


def mock_file_name(pattern: str, instead: str) -> PurePosixPath:
    """Return a file name that a pattern matches, with a word where it leaves the choice.

    An asterisk at the end that follows another, as in ``*.fits*`` for compressed files too, stands for nothing.
    """
    name = pattern.replace("**/", "")
    if name.count("*") > 1:
        name = name.removesuffix("*")
    return PurePosixPath(name.replace("*", instead).replace("?", "0"))


def write_mock_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], path: Path) -> None:
    """Write the table of a made-up archive, which says that it is one.

    Args:
        rows: Under the names of the contract, the same in each.
        columns: Column of the contract to the table's own, as the card maps them.
        path: Format by its suffix.
    """
    table = Table(rows=[list(row.values()) for row in rows], names=[columns.get(name, name) for name in rows[0]])
    table.meta["MOCK"] = True
    write_table(table, path)


def _row_of(card: SurveyCard, votes: VoteSchema | None, index: int, seed: int) -> dict[str, Any]:
    """Return the table row of an object: id, position, the columns of the tasks, the split."""
    rng = object_rng(seed, index, _ROW)
    id_str = f"mock-{index:06d}"
    ra_deg, dec_deg = rng.uniform(0.0, 360.0), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0)))
    row: dict[str, Any] = {"id_str": id_str, "ra": float(ra_deg), "dec": float(dec_deg)}
    # Of the questions that no task asks nobody was asked.
    row |= dict.fromkeys(() if votes is None else votes.columns, 0)
    for task in card.tasks:
        name = list(task.classes)[index % len(task.classes)]
        if isinstance(task, ClassTask):
            row.setdefault(task.column, task.classes[name][0])
        else:
            row |= _votes(task, name, rng)
    if card.splits.scheme == "published":
        row["split"] = split_of(id_str, card.splits.test_fraction)
    return row


def _votes(task: VoteTask, name: str, rng: np.random.Generator) -> dict[str, int]:
    """Return volunteers' counts, most of them for one class."""
    answers = [answer for own in task.classes.values() for answer in own]
    shares = np.array([4.0 if answer in task.classes[name] else 0.5 for answer in answers])
    counts = rng.multinomial(rng.integers(max(10, task.min_votes), 41 + task.min_votes), shares / shares.sum())
    return {f"{task.question}_{answer}": int(count) for answer, count in zip(answers, counts, strict=True)}


def _morphology(card: SurveyCard, index: int) -> str:
    """Return what an object looks like: one morphology for each class of the first task, by its name or in turn."""
    known = _MORPHOLOGIES[card.domain]
    classes = list(card.tasks[0].classes) if card.tasks else list(known)
    place = index % len(classes)
    plain = classes[place].lower().replace("-", "").replace("_", "").replace(" ", "")
    plain = plain.replace("frii", "fr2").replace("fri", "fr1")
    by_name = [name for name in known if name.replace("-", "") in plain]
    return by_name[0] if by_name else known[place % len(known)]
