"""Surveys: what serves a survey's catalogue and cutouts, and where an archive lies."""

from __future__ import annotations

__all__ = ["Source", "Survey", "find_source"]

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from astrofm.card import Product, SurveyCard
from astrofm.errors import DataError, one_of
from astrofm.schema import VoteSchema

if TYPE_CHECKING:
    from astropy.table import Table

    from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected


@dataclass(frozen=True)
class Source:
    """An archive on disk and the form it comes in."""

    path: Path
    """A folder or a file."""
    product_name: str
    product: Product

    @property
    def files(self) -> list[Path]:
        """The archive's files of this product, in name order."""
        if self.path.is_file():
            return [self.path]
        return sorted(self.path.glob(self.product.pattern))


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
    raise DataError(f"{path} holds no product of {card.name!r}; looked for {patterns}")


def _holds(path: Path, pattern: str) -> bool:
    if path.is_file():
        return path.match(pattern.rsplit("/", 1)[-1])
    return any(path.glob(pattern))


class Survey:
    """A survey as plugins register it: its card, catalogue, cutouts and mock archive.

    This class serves a folder of FITS images and a table from the card alone (its ``folder`` section). A survey in
    another archive format subclasses it and overrides :meth:`catalog`, :meth:`cutouts` and :meth:`mock`.
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
        from astrofm.data.folder import folder_catalog

        return folder_catalog(self.card, source)

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
        """Read the cutouts of some rows of :meth:`catalog`, in order.

        Args:
            source: The archive.
            rows: Part of the catalogue.

        Yields:
            For each row, in order, a cutout or the reason why there is none; several rows may come as one batch.
        """
        from astrofm.data.folder import folder_cutouts

        yield from folder_cutouts(self.card, source, rows)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write a small archive of made-up sources in the survey's own format.

        Args:
            n: Number of objects.
            seed: Seed of the generator; object ``i`` is the same whatever ``n``.
            out: Folder to write into.

        Returns:
            The path to hand to ``--source``. Every file says that its content is mock.
        """
        from astrofm.data.folder import folder_mock

        path: Path = folder_mock(self.card, n, seed, out)
        return path
