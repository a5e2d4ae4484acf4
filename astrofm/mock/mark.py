"""The file that says that an archive is made up."""

from __future__ import annotations

__all__ = ["MOCK_MARK", "write_mock_mark"]

import json
from pathlib import Path

MOCK_MARK = "MOCK.json"
"""Its name, in the folder of the archive."""


def write_mock_mark(survey: str, n: int, seed: int, out: Path) -> Path:
    """Say in a folder that it was made up, and how.

    Args:
        survey: Name of the survey.
        n: Number of objects.
        seed: Seed they were drawn with.
        out: Folder of the archive, which is there.

    Returns:
        The folder.
    """
    (out / MOCK_MARK).write_text(json.dumps({"survey": survey, "n": n, "seed": seed}) + "\n", encoding="utf-8")
    return out
