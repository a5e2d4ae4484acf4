"""Archives on disk: which are mock, and whether the others are the published ones."""

from __future__ import annotations

__all__ = ["check_published", "is_mock"]

import hashlib
from pathlib import Path

from astrofm import SurveyCard
from astrofm.errors import DataError
from astrofm.mock.mark import MOCK_MARK


def is_mock(file: Path) -> bool:
    """Return whether a file lies in a folder of made-up data."""
    return (file.parent / MOCK_MARK).is_file()


def check_published(card: SurveyCard, file: Path) -> None:
    """Compare a file with the checksums on the card; mock files and files the card does not list pass.

    Args:
        card: The survey's card; its ``archive`` entry of the same name holds the checksums.
        file: The file of the archive.

    Raises:
        DataError: If a checksum differs.
    """
    if is_mock(file):
        return
    for archive in card.archive:
        if archive.name != file.name:
            continue
        for kind, published in (("md5", archive.md5), ("sha256", archive.sha256)):
            found = _digest(file, kind) if published else ""
            if found != published:
                raise DataError(
                    f"{file} has {kind} {found} and {card.name!r} was published with {published}: "
                    f"the file is damaged or another release; get it again from {archive.url or archive.note}"
                )


def _digest(file: Path, kind: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()
