"""Fixtures of the radio plugin's tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from astrofm_radio import register_surveys

from astrofm import Survey
from astrofm.survey import Source, find_source

_BESIDE_THE_PROJECT = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real test data; skips where it is absent, fails where ASTROFM_REQUIRE_TEST_DATA is set."""
    folder = Path(os.environ.get("ASTROFM_TEST_DATA", _BESIDE_THE_PROJECT))
    if folder.is_dir():
        return folder
    reason = f"no real test data at {folder}; set ASTROFM_TEST_DATA to its folder"
    if os.environ.get("ASTROFM_REQUIRE_TEST_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def surveys() -> dict[str, Survey]:
    """The surveys that the plugin registers, by name."""
    found: list[Survey] = []
    register_surveys(register=found.append)
    return {survey.name: survey for survey in found}


@pytest.fixture(scope="session")
def opened(surveys: dict[str, Survey]) -> Callable[..., tuple[Survey, Source]]:
    """Return a survey and its archive at a path."""

    def open_archive(name: str, path: Path, product: str | None = None) -> tuple[Survey, Source]:
        return surveys[name], find_source(surveys[name].card, path, product)

    return open_archive
