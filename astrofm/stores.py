"""Which store serves which survey: named on the command line, kept at home, fetched, or made from a mock archive."""

from __future__ import annotations

__all__ = ["find_stores", "mock_store"]

import shutil
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from astrofm import plugins
from astrofm.data.fetch import Say, fetch, in_gigabytes, is_fetchable
from astrofm.data.fetching.locking import locked
from astrofm.data.ingest import ingest
from astrofm.data.making.partial import partial_of
from astrofm.data.store import CutoutStore
from astrofm.errors import FetchError, StoreError, UsageError
from astrofm.home import home, store_path
from astrofm.listener import Progress
from astrofm.survey import Survey

READ_FROM_STORES = (
    "bands",
    "products",
    "tasks",
    "splits",
    "label_names",
    "votes",
    "stretches",
    "beam",
    "psf_fwhm_arcsec",
    "pixel_scale_arcsec",
    "field_of_view_arcsec",
)
"""What of a card is taken from the store, not from the survey, when a network is trained or measured."""


def find_stores(
    names: Iterable[str],
    given: Sequence[Path | str] = (),
    *,
    mock: int | None = None,
    seed: int = 0,
    listener: Progress | None = None,
    say: Say | None = None,
) -> dict[str, CutoutStore]:
    """Open the store of each survey; where there is none, fetch the archive and make it.

    Args:
        names: Surveys, by name or by the path of their card.
        given: Stores that were named, folders or URLs; each serves the survey its manifest names.
        mock: Number of objects of a mock archive for every survey without a named store; None: no mock.
        seed: Seed of the mock archives.
        listener: Progress of fetching and ingesting.
        say: Told how much will be fetched, before it is.

    Returns:
        Store of each survey, by the name on its card, in the order asked.

    Raises:
        StoreError: If a survey has no store and its archive cannot be fetched; the message names the ways to one.
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
    surveys = [plugins.survey(name) for name in names]
    asked = dict.fromkeys(survey.name for survey in surveys)
    unused = [name for name in opened if name not in asked]
    if unused:
        raise UsageError(
            f"--store names a store of {', '.join(unused)}, and the run asks for {', '.join(asked)}: "
            f"name it with --survey {unused[0]}, or leave the store out"
        )
    if mock is None:
        _check_ways([survey for survey in surveys if survey.name not in opened])
    for survey in surveys:
        if survey.name in opened:
            found[survey.name] = opened[survey.name]
        elif mock is not None:
            found[survey.name] = mock_store(survey, mock, seed, listener=listener)
        else:
            found[survey.name] = _store_at_home(survey, listener, say)
        _tell_of_another_card(survey, found[survey.name])
    return found


def _check_ways(surveys: Iterable[Survey]) -> None:
    """Make sure that there is a way to the store of each survey, before gigabytes are fetched for one of them."""
    for survey in surveys:
        path = store_path(survey.name)
        if not (path.exists() or partial_of(path).exists() or is_fetchable(survey.card)):
            by_hand = f"; 'astrofm survey info {survey.name}' says how to get it" if survey.card.archive else ""
            raise StoreError(f"no store of {survey.name!r} at {path}{_size(survey)}: {_ways_on(survey)}{by_hand}")


def _store_at_home(survey: Survey, listener: Progress | None, say: Say | None) -> CutoutStore:
    path = store_path(survey.name)
    if path.exists() or partial_of(path).exists():
        return CutoutStore.open(path)
    if say is not None:
        say(f"no store of {survey.name!r} at {path} yet: fetching its archive and ingesting it")
    try:
        source = fetch(survey, listener=listener, say=say).source
    except FetchError as error:
        raise StoreError(
            f"no store of {survey.name!r} at {path}{_size(survey)}, and its archive cannot be fetched ({error}): "
            f"{_ways_on(survey)}"
        ) from error
    ingest(survey, source, path, listener=listener)
    return CutoutStore.open(path)


def _tell_of_another_card(survey: Survey, store: CutoutStore) -> None:
    """Warn where the card was changed after the store was made, which keeps the card that it was made with."""
    made_from = store.manifest.made_from
    changed = [name for name in READ_FROM_STORES if getattr(survey.card, name) != getattr(made_from.survey_card, name)]
    if survey.votes != made_from.votes and "votes" not in changed:
        changed.append("votes")
    if changed and not made_from.merged_from:
        warnings.warn(
            f"the card of {survey.name!r} has changed in {', '.join(changed)} since its store at {store.path} was "
            "made, and what the store has counts: ingest again with --overwrite to use the new one",
            stacklevel=2,
        )


def _size(survey: Survey) -> str:
    sizes = [archive.size_bytes for archive in survey.card.archive if archive.size_bytes is not None]
    return f" (archive: {in_gigabytes(sum(sizes))})" if sizes else ""


def _ways_on(survey: Survey) -> str:
    return (
        f"ingest the archive with 'astrofm ingest --survey {survey.name} --source FOLDER', name a finished store with "
        "--store, or try it on made-up data with --mock 400"
    )


def mock_store(survey: Survey, num: int, seed: int = 0, *, listener: Progress | None = None) -> CutoutStore:
    """Return the store of a survey's mock archive, made once and kept at home; made again where the card changed.

    Several processes may ask at once: the first makes it, the others wait for it.

    Args:
        survey: The survey.
        num: Number of objects.
        seed: Seed of the sky model.
        listener: Progress of the ingest.
    """
    path = home() / "mock" / f"{survey.name}-{num}-seed{seed}-{version('astrofm')}.zarr"
    with locked(path):
        is_current = path.exists() and CutoutStore.open(path).card == survey.card
        if not is_current:
            archive = Path(tempfile.mkdtemp(prefix="mock-", dir=path.parent))
            try:
                ingest(survey, survey.mock(num, seed, archive), path, overwrite=True, listener=listener)
            finally:
                shutil.rmtree(archive)
    return CutoutStore.open(path)
