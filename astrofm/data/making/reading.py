"""What a survey's own reader fails with, as a sentence that says where."""

from __future__ import annotations

__all__ = ["read_catalog", "read_cutouts"]

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected
from astrofm.errors import AstrofmError, DataError
from astrofm.survey import Source, Survey

if TYPE_CHECKING:
    from astropy.table import Table


def read_catalog(survey: Survey, source: Source) -> Table:
    """Return the catalogue of a survey.

    Raises:
        DataError: If its reader fails, with what and in which line.
    """
    with _told(survey, "catalog"):
        return survey.catalog(source)


def read_cutouts(survey: Survey, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
    """Yield the cutouts of some rows.

    Raises:
        DataError: If its reader fails, with what and in which line.
    """
    with _told(survey, "cutouts"):
        yield from survey.cutouts(source, rows)


@contextmanager
def _told(survey: Survey, method: str) -> Iterator[None]:
    try:
        yield
    except AstrofmError:
        raise
    except Exception as error:
        own = type(survey).__module__.partition(".")[0]
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if f"/{own}/" in frame.filename]
        at = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
        said = " ".join(str(error).split())
        raise DataError(
            f"the reader of {survey.name!r} failed in {method}(){at}: {type(error).__name__}: {said}"
        ) from error
