"""``fetched.json``: what was fetched into a folder, from where, when, and the hash of each file."""

from __future__ import annotations

__all__ = ["RECORD_NAME", "FetchRecord", "KeptFile", "whole_files"]

import hashlib
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from astrofm.card import Archive
from astrofm.data.fetching.web import without_user
from astrofm.data.making.partial import write_atomically
from astrofm.errors import FetchError, in_one_line

RECORD_NAME = "fetched.json"


class KeptFile(BaseModel):
    """One file that is here, whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: str
    """Name of the archive on the card."""
    name: str
    """Path in the folder."""
    asked: str
    """Address on the card."""
    url: str
    """Where it came from, without secrets."""
    size_bytes: int
    sha256: str
    hash_known: bool
    """Whether card or publisher gave a hash; otherwise this one was recorded when the file first came."""
    unpack: bool
    date: str
    modified_ns: int
    """Time stamp on the disk: another one, and the file is hashed again before it is used."""

    def is_whole(self, folder: Path) -> bool:
        """Whether the file in the folder is still the one that came."""
        try:
            found = (folder / self.name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if found.st_size != self.size_bytes:
            return False
        return found.st_mtime_ns == self.modified_ns or _sha256(folder / self.name) == self.sha256


class FetchRecord(BaseModel):
    """All that was fetched into a folder."""

    model_config = ConfigDict(extra="forbid")

    survey: str
    archives: dict[str, Archive] = {}
    """Those that are here with all their files, as their card gave them, by name."""
    files: dict[str, KeptFile] = {}
    """By name."""

    @classmethod
    def read(cls, folder: Path, survey: str) -> Self:
        """Read the record of a folder; an empty one where there is none.

        Raises:
            FetchError: If it is damaged, or of another survey.
        """
        path = folder / RECORD_NAME
        try:
            record = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls(survey=survey)
        except ValidationError as error:
            raise FetchError(f"{path} is damaged ({in_one_line(error)}): remove it to fetch anew") from error
        if record.survey != survey:
            raise FetchError(f"{folder} holds the archive of {record.survey!r}: choose another folder for {survey!r}")
        return record

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        content = self.model_dump_json(indent=2).encode()
        write_atomically(folder / RECORD_NAME, lambda file: file.write(content))

    def has_all_of(self, archive: Archive, folder: Path) -> bool:
        """Whether every file of an archive is here and whole."""
        files = self.files_of([archive])
        is_as_asked = self.archives.get(archive.name) == _asked(archive)
        return is_as_asked and bool(files) and all(file.is_whole(folder) for file in files)

    def files_of(self, archives: Iterable[Archive]) -> list[KeptFile]:
        """Return the files of some archives, in name order."""
        wanted = {(archive.name, without_user(archive.url)) for archive in archives}
        return sorted(
            (file for file in self.files.values() if (file.archive, file.asked) in wanted), key=lambda file: file.name
        )

    def find(self, archive: Archive, name: str) -> KeptFile | None:
        """Return what was recorded of a file that came from the same address."""
        file = self.files.get(name)
        return file if file is not None and file.asked == without_user(archive.url) else None

    def add(self, file: KeptFile) -> None:
        """Take a file in, in place of an earlier one of its name."""
        self.files[file.name] = file

    def complete(self, archives: Iterable[Archive], folder: Path) -> None:
        """Note that all files of some archives are here."""
        before = self.model_dump_json()
        self.archives |= {archive.name: _asked(archive) for archive in archives}
        if self.model_dump_json() != before:
            self.write(folder)


def whole_files(folder: Path, sha256s: Set[str]) -> dict[str, Path]:
    """Return by its hash a whole file for each of these hashes that archives have which were fetched, a folder each."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"*/{RECORD_NAME}")):
        try:
            record = FetchRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue  # whoever asks for that survey is told
        for file in record.files.values():
            if file.sha256 in sha256s - found.keys() and file.is_whole(path.parent):
                found[file.sha256] = path.parent / file.name
    return found


def _asked(archive: Archive) -> Archive:
    """Return an archive without secrets, and without what does not decide its files."""
    return archive.model_copy(update={"url": without_user(archive.url), "licence": "", "note": "", "page": ""})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
