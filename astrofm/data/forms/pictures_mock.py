"""Made-up Parquet files with pictures for a survey that has only a card."""

from __future__ import annotations

__all__ = ["write_picture_tables"]

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from astrofm.card import SurveyCard
from astrofm.data.forms.mock_images import mock_product, picture_of
from astrofm.data.forms.mock_sources import mock_file_name, mock_sources
from astrofm.data.splits import split_of
from astrofm.errors import DataError
from astrofm.forms import PicturesLayout
from astrofm.mock.mark import write_mock_mark
from astrofm.schema import VoteSchema

ROWS_IN_GROUP = 100
"""Of the Parquet files: as few as data hubs write where a row holds a picture."""


def write_picture_tables(
    card: SurveyCard, votes: VoteSchema | None, layout: PicturesLayout, n: int, seed: int, out: Path
) -> Path:
    """Write JPEG pictures and their columns, a file for each split where names tell it, and ``MOCK.json``."""
    pattern = mock_product(card)[0].pattern
    if layout.split_from_name and "*" not in pattern:
        raise DataError(f"the names of the files tell the split, so {pattern!r} must leave room for it: *.parquet")
    files: dict[str, list[dict[str, Any]]] = {}
    for row, image in mock_sources(card, n, seed, votes):
        split = row.pop("split", None) or split_of(row["id_str"], card.splits.test_fraction)
        if not layout.split_from_name and card.splits.scheme == "published":
            row["split"] = split
        word = f"{split}-00000-of-00001" if layout.split_from_name else "mock"
        named = {layout.columns.get(name, name): value for name, value in row.items()}
        named[layout.image] = {"bytes": _jpeg(picture_of(image, card)), "path": f"{row['id_str']}.jpg"}
        files.setdefault(word, []).append(named)
    for word, rows in files.items():
        path = out / mock_file_name(pattern, word)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows).replace_schema_metadata({"MOCK": "true"})
        pq.write_table(table, path, row_group_size=ROWS_IN_GROUP)
    return write_mock_mark(card.name, n, seed, out)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()
