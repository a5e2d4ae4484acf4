"""Fixtures of the redshift plugin's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrofm import Survey, plugins


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache folder."""
    monkeypatch.setenv("ASTROFM_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def sdss_mgs() -> Survey:
    """The survey, as the user gets it."""
    return plugins.survey("sdss-mgs")


@pytest.fixture(scope="session")
def archive(sdss_mgs: Survey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mock archive of 150 galaxies."""
    return sdss_mgs.mock(150, 3, tmp_path_factory.mktemp("sdss-mgs"))
