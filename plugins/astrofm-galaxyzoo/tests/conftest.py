"""Fixtures of the plugin's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache folder."""
    monkeypatch.setenv("ASTROFM_HOME", str(tmp_path_factory.mktemp("home")))
