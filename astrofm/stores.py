"""Which store serves which survey: named on the command line, kept at home, or made from a mock archive."""

from __future__ import annotations

__all__ = ["find_stores", "mock_store"]

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.partial import partial_of
from astrofm.data.store import CutoutStore
from astrofm.errors import StoreError, UsageError
from astrofm.home import home, store_path
from astrofm.listener import Progress
from astrofm.survey import Survey


def find_stores(
    names: Iterable[str],
    given: Sequence[Path] = (),
    *,
    mock: int | None = None,
    seed: int = 0,
    listener: Progress | None = None,
) -> dict[str, CutoutStore]:
    """Open the store of each survey.

    Args:
        names: Surveys, by name or by the path of their card.
        given: Stores that were named; each serves the survey its manifest names.
        mock: Number of objects of a mock archive for every survey without a named store; None: no mock.
        seed: Seed of the mock archives.
        listener: Progress of mock ingests.

    Returns:
        Store of each survey, by the name on its card, in the order asked.

    Raises:
        StoreError: If a survey has no store; the message names the ways to one.
        UsageError: If a named store serves none of the surveys.
    """
    opened: dict[str, CutoutStore] = {}
    for path in given:
        store = CutoutStore.open(path)
        if store.card.name in opened:
            raise UsageError(
                f"two stores were given for {store.card.name!r}: {opened[store.card.name].path} and {path}"
            )
        opened[store.card.name] = store
    found: dict[str, CutoutStore] = {}
    for name in names:
        survey = plugins.survey(name)
        if survey.name in opened:
            found[survey.name] = opened[survey.name]
        elif mock is not None:
            found[survey.name] = mock_store(survey, mock, seed, listener=listener)
        else:
            found[survey.name] = _store_at_home(survey)
    unused = sorted(opened.keys() - found.keys())
    if unused:
        raise UsageError(f"--store names a store of {', '.join(unused)}, but the run asks for {', '.join(found)}")
    return found


def _store_at_home(survey: Survey) -> CutoutStore:
    path = store_path(survey.name)
    if path.exists() or partial_of(path).exists():
        return CutoutStore.open(path)
    sizes = [archive.size_bytes for archive in survey.card.archive if archive.size_bytes is not None]
    size = f" (archive: {sum(sizes) / 1e9:.1f} GB)" if sizes else ""
    raise StoreError(
        f"no store of {survey.name!r} at {path}{size}: ingest the archive with 'astrofm ingest --survey "
        f"{survey.name} --source FOLDER', name a finished store with --store, or try it on made-up data with --mock 400"
    )


def mock_store(survey: Survey, num: int, seed: int = 0, *, listener: Progress | None = None) -> CutoutStore:
    """Return the store of a survey's mock archive, made once and kept at home; made again where the card changed.

    Args:
        survey: The survey.
        num: Number of objects.
        seed: Seed of the sky model.
        listener: Progress of the ingest.
    """
    path = home() / "mock" / f"{survey.name}-{num}-seed{seed}-{version('astrofm')}.zarr"
    is_current = path.exists() and CutoutStore.open(path).card == survey.card
    if not is_current:
        path.parent.mkdir(parents=True, exist_ok=True)
        archive = Path(tempfile.mkdtemp(prefix="mock-", dir=path.parent))
        try:
            ingest(survey, survey.mock(num, seed, archive), path, overwrite=True, listener=listener)
        finally:
            shutil.rmtree(archive)
    return CutoutStore.open(path)
