"""Write the package of a new survey, which works as it is and is to be changed."""

from __future__ import annotations

__all__ = ["new_survey"]

import re
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal

from astrofm import plugins
from astrofm.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def new_survey(name: str, folder: Path, domain: Literal["optical", "radio"]) -> list[Path]:
    """Write the files of a package with one survey.

    Args:
        name: Of the survey.
        folder: Of the package; it must not exist.
        domain: Which of two cards it begins with.

    Returns:
        The files, in the order in which they are to be changed.

    Raises:
        UsageError: If the name is none, or taken, or something is in the way.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"a survey has a name like 'my-survey', of small letters, digits and hyphens; got {name!r}")
    if name in plugins.surveys():
        raise UsageError(f"there is a survey {name!r} already, of {plugins.survey_owners()[name]}: choose another name")
    if folder.exists():
        raise UsageError(f"{folder} exists: choose another folder with --out")
    module = f"astrofm_{name.replace('-', '_')}"
    values = {
        "name": name,
        "module": module,
        "cls": "".join(part.capitalize() for part in name.split("-")),
        "year": str(datetime.now(tz=UTC).year),
    }
    written = {
        f"{module}/card.yaml": f"card_{domain}.yaml.txt",
        f"{module}/__init__.py": "package.py.txt",
        f"tests/test_{module}.py": "test.py.txt",
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
    }
    templates = files("astrofm") / "templates" / "survey"
    texts = {path: Template((templates / source).read_text("utf-8")) for path, source in written.items()}
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text.substitute(values), encoding="utf-8")
    return [folder / path for path in texts]
