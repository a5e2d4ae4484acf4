"""Write made-up galaxies as one Parquet table of JPEG pictures, the archive format of the small sets."""

from __future__ import annotations

__all__ = ["write_picture_table"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from astrofm.mock.mark import write_mock_mark


def write_picture_table(
    survey: str,
    file: str,
    columns: dict[str, pa.DataType],
    row_of: Callable[[int, int], dict[str, Any]],
    n: int,
    seed: int,
    out: Path,
) -> Path:
    """Write a Parquet file that says that its content is mock, and ``MOCK.json``.

    Args:
        survey: Name of the survey.
        file: Name of the file.
        columns: Of the table, as the archive has them.
        row_of: From (seed, number) to the row of a galaxy.
        n: Number of galaxies.
        seed: Seed of the generator.
        out: Folder to write into; made if need be.

    Returns:
        ``out``.
    """
    schema = pa.schema(list(columns.items()), metadata={"MOCK": "true"})
    rows = [row_of(seed, index) for index in range(n)]
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out / file)
    write_mock_mark(survey, n, seed, out)
    return out
