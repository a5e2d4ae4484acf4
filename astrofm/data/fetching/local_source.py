"""Where an archive lies on this machine, whatever the user calls its source: a path, an address, or nothing at all."""

from __future__ import annotations

__all__ = ["local_source"]

import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from astrofm.card import Archive, SurveyCard
from astrofm.data.fetch import Say, fetch, fetch_into, how_by_hand, is_fetchable
from astrofm.data.fetching.remote_files import ZENODO
from astrofm.data.fetching.unpack import is_packed
from astrofm.data.fetching.web import shown
from astrofm.errors import FetchError, UsageError
from astrofm.home import home
from astrofm.listener import Progress
from astrofm.survey import Survey


def local_source(
    source: str | None,
    survey: Survey,
    *,
    listener: Progress | None = None,
    say: Say | None = None,
    zenodo: str = ZENODO,
) -> Path:
    """Return where an ingest finds an archive on this machine, fetched if need be.

    Args:
        source: A path; or the address of the archive, as a card gives it; or None: what the card says.
        survey: The survey.
        listener: Told (megabytes here, megabytes in all, what).
        say: Told how much it is before it comes.
        zenodo: Base URL of Zenodo.

    Raises:
        FetchError: If it cannot be fetched.
        UsageError: If the address is of no kind that can be fetched.
    """
    if source is None:
        return _of_card(survey, listener, say, zenodo)
    if "://" not in source and not source.startswith("doi:"):
        return Path(source)
    archive = _archive_at(source, survey.card)
    folder = home() / "archives" / survey.name / f"from-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    fetched = fetch_into(folder, survey.name, [archive], listener=listener, say=say, zenodo=zenodo)
    is_one_file = len(fetched.files) == 1 and not archive.unpack
    return folder / fetched.files[0].name if is_one_file else fetched.source


def _of_card(survey: Survey, listener: Progress | None, say: Say | None, zenodo: str) -> Path:
    try:
        if not is_fetchable(survey.card):
            by_hand = [archive for archive in survey.card.archive if not archive.url]
            raise FetchError(f"the archive of {survey.name!r} cannot be fetched by a program ({how_by_hand(by_hand)})")
        return fetch(survey, listener=listener, say=say, zenodo=zenodo).source
    except FetchError as error:
        raise FetchError(
            f"{error}: name a copy of it with --source, or try it on made-up data with --mock 400"
        ) from error


def _archive_at(source: str, card: SurveyCard) -> Archive:
    """Return the archive at an address: the card's, if it knows it, else one of which nothing is known."""
    for archive in card.archive:
        if archive.url == source:
            return archive
    name = unquote(PurePosixPath(urlsplit(source).path).name) or "archive"
    is_read_packed = any(PurePosixPath(name).match(product.pattern) for product in card.products.values())
    try:
        return Archive(name=name, url=source, unpack=is_packed(name) and not is_read_packed)
    except ValidationError as error:
        raise UsageError(
            f"{shown(source)} cannot be fetched: an address is https://..., doi:10.5281/zenodo.N/FILE or "
            "hf://datasets/OWNER/NAME/PATTERN"
        ) from error
