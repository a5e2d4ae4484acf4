"""Surveys: what serves a survey's catalogue and cutouts, and where an archive lies."""

from __future__ import annotations

__all__ = ["FormReader", "Source", "Survey", "find_source"]

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from astrofm.card import Product, SurveyCard
from astrofm.errors import DataError, one_of
from astrofm.schema import VoteSchema

if TYPE_CHECKING:
    from astropy.table import Table

    from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected

_FORMS = {
    "folder": "astrofm.data.forms.folder",
    "mosaic": "astrofm.data.forms.mosaic",
    "arrays": "astrofm.data.forms.arrays",
    "pictures": "astrofm.data.forms.picture_tables",
}
"""Section of the card that says how an archive lies on disk, and the module whose ``READER`` reads that form."""


@dataclass(frozen=True)
class Source:
    """An archive on disk and the form it comes in."""

    path: Path
    """A folder or a file."""
    product_name: str
    product: Product
    resampled_arcsec: float | None = None
    """Side of the field that an option of the ingest resamples each cutout to; None where pixels stay as they are."""

    @property
    def folder(self) -> Path:
        """The folder that the names of the archive's files are relative to."""
        return self.path.parent if self.path.is_file() else self.path

    @property
    def files(self) -> list[Path]:
        """The archive's files of this product, in name order."""
        if self.path.is_file():
            return [self.path]
        return sorted(self.path.glob(self.product.pattern))


@dataclass(frozen=True)
class FormReader:
    """What serves an archive from its card alone: the methods of :class:`Survey` as functions of the card."""

    catalog: Callable[[SurveyCard, Source], Table]
    cutouts: Callable[[SurveyCard, Source, Table], Iterator[Cutout | CutoutBatch | Rejected]]
    mock: Callable[[SurveyCard, int, int, Path, VoteSchema | None], Path]
    files: Callable[[SurveyCard, Source, Table], Iterable[Path]]


def find_source(card: SurveyCard, path: Path, product: str | None = None) -> Source:
    """Return which of a survey's products lies at a path.

    Args:
        card: The survey's card.
        path: A folder, or one file.
        product: Name of the product, where the folder holds several.

    Raises:
        DataError: If nothing is there, or nothing that the card knows.
        UnknownNameError: If the card has no product of that name.
    """
    if product is not None and product not in card.products:
        raise one_of(f"product of {card.name!r}", product, card.products)
    if not path.exists():
        raise DataError(f"no folder or file at {path}, where the archive of {card.name!r} was looked for")
    for name, candidate in card.products.items():
        if product in (None, name) and _holds(path, candidate.pattern):
            return Source(path, name, candidate)
    patterns = ", ".join(f"{p.pattern} ({name})" for name, p in card.products.items() if product in (None, name))
    raise DataError(f"{path} holds no product of {card.name!r}; looked for {patterns}{_instead(path)}")


def _instead(path: Path) -> str:
    """Say what a folder holds: files by their ending, the most frequent first, and folders."""
    if path.is_file():
        return ""
    endings = Counter("folder" if inside.is_dir() else f"*{inside.suffix}" for inside in path.iterdir())
    found = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(4))
    return f", found {found or 'nothing'}" + ("; '*/' before a pattern looks into folders" if endings["folder"] else "")


def _holds(path: Path, pattern: str) -> bool:
    if path.is_file():
        return path.match(pattern.rsplit("/", 1)[-1])
    return any(path.glob(pattern))


class Survey:
    """A survey as plugins register it: its card, catalogue, cutouts and mock archive.

    This class serves an archive from the card alone where that has a section for the form it lies in (``folder``,
    ``mosaic``, ``arrays`` or ``pictures``, see :mod:`astrofm.forms`). A survey in another archive format subclasses it
    and overrides :meth:`catalog`, :meth:`cutouts` and :meth:`mock`.
    """

    def __init__(self, card: SurveyCard, votes: VoteSchema | None = None) -> None:
        self.card = card
        self.votes = votes

    @classmethod
    def from_yaml(cls, path: Path | Traversable) -> Self:
        """Make a survey from its card, and its vote schema if the card names one.

        Raises:
            RecipeError: If the card or the schema cannot be read.
        """
        card = SurveyCard.from_yaml(path)
        if not card.votes:
            return cls(card)
        parent = path.parent if isinstance(path, Path) else Path(str(path)).parent
        return cls(card, VoteSchema.from_yaml(parent / "schemas" / f"{card.votes}.yaml"))

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    def catalog(self, source: Source) -> Table:
        """Return one row for each cutout of the archive.

        Args:
            source: The archive.

        Returns:
            A table with ``id_str``, ``ra`` and ``dec`` (or their synonyms, with units), label columns, ``split`` where
            one is published, and ``rejected`` (a reason, else empty) for rows that must not enter a store.

        Raises:
            DataError: If the archive is not what the card says.
        """
        return self._reader().catalog(self.card, source)

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
        """Read the cutouts of some rows of :meth:`catalog`, in order.

        Args:
            source: The archive.
            rows: Part of the catalogue.

        Yields:
            For each row, in order, a cutout or the reason why there is none; several rows may come as one batch.
        """
        yield from self._reader().cutouts(self.card, source, rows)

    def files(self, source: Source, rows: Table) -> Iterable[Path]:
        """Return the files that decide what a store of this archive holds.

        Args:
            source: The archive.
            rows: The whole of :meth:`catalog`.

        Returns:
            Files, and folders that stand for all files in them; those that do not exist are left out by the caller.
        """
        return self._reader().files(self.card, source, rows) if self._form else source.files

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write a small archive of made-up sources in the survey's own format.

        Args:
            n: Number of objects.
            seed: Seed of the generator; object ``i`` is the same whatever ``n``.
            out: Folder to write into.

        Returns:
            The path to hand to ``--source``. Every file says that its content is mock.
        """
        return self._reader().mock(self.card, n, seed, out, self.votes)

    @property
    def _form(self) -> str:
        """The section of the card that says how the archive lies on disk; empty where code reads it."""
        return next((name for name in _FORMS if getattr(self.card, name) is not None), "")

    def _reader(self) -> FormReader:
        if not self._form:
            raise DataError(
                f"the card of {self.name!r} does not say how its archive lies on disk: give it one of the sections "
                f"{', '.join(_FORMS)}, or a plugin that reads it"
            )
        reader: FormReader = import_module(_FORMS[self._form]).READER
        return reader
