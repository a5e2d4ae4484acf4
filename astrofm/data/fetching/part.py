"""The unfinished file of a download: its bytes so far, their hashes, and which version of the file they are of."""

from __future__ import annotations

__all__ = ["Hashes", "Part", "Wanted"]

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from astrofm.data.fetching.web import shown
from astrofm.data.making.partial import write_atomically

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """What is known of a file beforehand."""

    size_bytes: int | None = None
    sha256: str = ""
    md5: str = ""

    @property
    def has_hash(self) -> bool:
        """Whether a wrong file of the right size would be noticed."""
        return bool(self.sha256 or self.md5)


class Hashes:
    """Size and hashes of the bytes so far."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if wanted.md5 else None
        self.size_bytes = 0

    def update(self, chunk: bytes) -> None:
        """Take the next bytes into account."""
        self._sha256.update(chunk)
        if self._md5 is not None:
            self._md5.update(chunk)
        self.size_bytes += len(chunk)

    def update_from(self, path: Path) -> None:
        """Take the bytes of a file into account."""
        with path.open("rb") as file:
            while chunk := file.read(_BLOCK_BYTES):
                self.update(chunk)

    @property
    def sha256(self) -> str:
        """The SHA-256 hash, in hexadecimal digits."""
        return self._sha256.hexdigest()

    def fault(self) -> str:
        """Return in words what differs from what was known beforehand; empty: nothing."""
        wanted = self._wanted
        if wanted.size_bytes not in (None, self.size_bytes):
            return f"has {self.size_bytes} bytes, and {wanted.size_bytes} were expected"
        if wanted.sha256 not in ("", self.sha256):
            return f"has the sha256 {self.sha256}, and {wanted.sha256} was expected"
        if self._md5 is not None and self._md5.hexdigest() != wanted.md5:
            return f"has the md5 {self._md5.hexdigest()}, and {wanted.md5} was expected"
        return ""


class Part:
    """``NAME.part`` with the bytes, and ``NAME.part.json`` with the marks of the version that they are of."""

    def __init__(self, target: Path, url: str, wanted: Wanted) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note_path = target.with_name(f"{target.name}.part.json")
        self._url = shown(url)
        self._wanted = wanted
        self.hashes = Hashes(wanted)
        self.note: dict[str, Any] = {}
        if self.path.is_file():
            self._take_up()

    def _take_up(self) -> None:
        try:
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            note = {}  # nobody knows what the bytes are of
        if note.get("url") != self._url:
            self.discard()
            return
        self.note = note
        self.hashes.update_from(self.path)

    @property
    def size_bytes(self) -> int:
        """Bytes that are here."""
        return self.hashes.size_bytes

    @property
    def range_headers(self) -> dict[str, str]:
        """What asks for the rest of this version, or for all of another one; empty where the version has no mark."""
        mark = self.note.get("etag") or self.note.get("last_modified")
        return {"Range": f"bytes={self.size_bytes}-", "If-Range": mark} if self.size_bytes and mark else {}

    def begin(self, note: dict[str, Any]) -> None:
        """Start anew, with another version of the file."""
        self.discard()
        self.note = {"url": self._url, **note}
        write_atomically(self._note_path, lambda file: file.write(json.dumps(self.note, indent=2).encode()))

    def append(self, file: BinaryIO, chunk: bytes) -> None:
        """Write the next bytes to the open file, through to the system, so that they outlive this process."""
        file.write(chunk)
        file.flush()
        self.hashes.update(chunk)

    def discard(self) -> None:
        """Remove what is here."""
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)
        self.hashes, self.note = Hashes(self._wanted), {}

    def become(self, target: Path) -> None:
        """Take the place of the file, which from then on is whole."""
        self.path.touch()  # an empty file has had no bytes to write
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(target)
        self._note_path.unlink(missing_ok=True)
