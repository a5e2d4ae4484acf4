"""The manifest of a store: what it was made from, and the hash of every piece.

The file is canonical JSON (sorted keys) that carries a checksum of itself, so that a changed byte is found in the
manifest too. It holds no time, host, path or number of workers: equal inputs give equal bytes.
"""

from __future__ import annotations

__all__ = [
    "MANIFEST",
    "MadeFrom",
    "Manifest",
    "MergedPart",
    "Piece",
    "Shard",
    "SourceFile",
    "hash_file",
    "manifest_damage",
    "software_versions",
]

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from astrofm.card import SurveyCard
from astrofm.data.layout import ENCODING_VERSION, Layout
from astrofm.data.options import NO_CHANGES, IngestOptions
from astrofm.schema import VoteSchema

MANIFEST = "manifest.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceFile(_Frozen):
    """One file of the archive."""

    name: str
    """Relative to the source."""
    sha256: str
    size_bytes: int


class Piece(_Frozen):
    """One file of the store."""

    file: str
    """Relative to the store, with forward slashes."""
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, store: Path, file: str) -> Self:
        """Hash a file of a store."""
        return cls(file=file, sha256=hash_file(store / file), size_bytes=(store / file).stat().st_size)


class Shard(_Frozen):
    """One file of pixels, and the rows it holds."""

    array: Literal["image", "mask"]
    first: int
    stop: int
    """The rows are ``first`` to ``stop - 1``."""
    piece: Piece
    pixels_sha256: str
    """Of the decoded rows, C order, little-endian."""


class MergedPart(_Frozen):
    """A store that went into a merged one."""

    content_sha256: str
    """Its :attr:`CutoutStore.content_hash <astrofm.data.store.CutoutStore.content_hash>`."""
    num_cutouts: int


class MadeFrom(_Frozen):
    """Everything that decides the content of a store."""

    card: SurveyCard
    product: str
    votes: VoteSchema | None
    mock: bool
    """Whether the archive says of itself that it is made up."""
    catalogue_sha256: str
    """Of the survey's whole catalogue, rejected rows included."""
    sources: tuple[SourceFile, ...]
    layout: Layout
    options: IngestOptions = NO_CHANGES
    """What was changed about the images."""
    given_card: SurveyCard | None = None
    """The survey's own card, where the options change what it says of the images; ``card`` describes the store."""
    merged_from: tuple[MergedPart, ...] = ()
    """The stores whose rows these are, in order; empty for a store that was made from an archive."""

    @property
    def survey_card(self) -> SurveyCard:
        """The card as the survey gives it."""
        return self.given_card or self.card

    def differences(self, other: Self) -> list[str]:
        """Return in words what differs from another store's parameters; empty where nothing does."""
        found = []
        if self.survey_card != other.survey_card:
            mine, theirs = self.survey_card.model_dump(), other.survey_card.model_dump()
            keys = [key for key in mine if mine[key] != theirs[key]]
            found.append(f"the survey ({self.card.name}, not {other.card.name})" if "name" in keys else _listed(keys))
        if self.product != other.product:
            found.append(f"the product ({self.product}, not {other.product})")
        if self.mock != other.mock:
            found.append("mock data (yes, not no)" if self.mock else "mock data (no, not yes)")
        changed = sorted({file.name for file in set(self.sources) ^ set(other.sources)})
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            found.append(f"the source ({', '.join(changed[:3])}{more})")
        if self.catalogue_sha256 != other.catalogue_sha256:
            found.append("the catalogue")
        if self.merged_from != other.merged_from:
            found.append("the stores it was merged from")
        if self.options != other.options:
            found.append(f"the options ({self.options.words}, not {other.options.words})")
        elif self.layout != other.layout:
            found.append("the layout")
        return found + (["the vote schema"] if self.votes != other.votes else [])


def _listed(keys: list[str]) -> str:
    return f"the survey card ({', '.join(keys)})"


class Manifest(_Frozen):
    """What ``manifest.json`` holds."""

    encoding_version: int = ENCODING_VERSION
    made_from: MadeFrom
    num_cutouts: int
    has_mask: bool
    rejected: dict[str, int]
    """Number of catalogue rows that were not taken, by reason."""
    files: tuple[Piece, ...]
    """The catalogues and array metadata."""
    shards: tuple[Shard, ...]
    versions: dict[str, str]
    """Software that wrote the store."""

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Every file of the store but the manifest itself."""
        return (*self.files, *(shard.piece for shard in self.shards))

    def to_bytes(self) -> bytes:
        """Return the file's content, checksum included."""
        content = self.model_dump(mode="json")
        return _canonical({**content, "checksum": hashlib.sha256(_canonical(content)).hexdigest()})

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Parse the file's content; the checksum is not looked at (see :func:`manifest_damage`).

        Raises:
            ValueError: If it is no manifest of this version.
        """
        content = json.loads(raw)
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        content.pop("checksum", None)
        return cls.model_validate(content)


def manifest_damage(raw: bytes) -> str:
    """Return what is wrong with the bytes of a manifest; empty where they are as written.

    Works on the JSON itself, so that a manifest of an older release is judged as it was written.
    """
    try:
        content = json.loads(raw)
        stated = content.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError):
        return "is not a manifest"
    actual = hashlib.sha256(_canonical(content)).hexdigest()
    if stated != actual or raw != _canonical({**content, "checksum": stated}):
        return "does not match its own checksum"
    return ""


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of what takes part in writing a store."""
    packages = ("astrofm", "astropy", "numcodecs", "numpy", "pillow", "pyarrow", "simplejpeg", "zarr")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _canonical(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode("ascii")
