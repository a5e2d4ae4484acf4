"""One file over HTTP(S), whole or not at all: resumed after any interruption, hashed as it comes, renamed when right.

Until then the bytes lie in ``NAME.part``, and ``NAME.part.json`` says which version of the file they are of. A server
that has changed the file, or cannot continue (RFC 9110, section 14), starts it anew.
"""

from __future__ import annotations

__all__ = ["Downloaded", "WrongFileError", "download"]

import errno
import http.client
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astrofm.data.fetching.locking import locked
from astrofm.data.fetching.part import Hashes, Part, Wanted
from astrofm.data.fetching.web import Hiccup, Patience, StatusError, open_url, shown
from astrofm.errors import FetchError, OfflineError
from astrofm.listener import Progress

_BLOCK_BYTES = 1 << 20


class WrongFileError(FetchError):
    """All of a file came, and it is not the one that was promised."""


@dataclass(frozen=True)
class Downloaded:
    """A file that is there, whole."""

    path: Path
    size_bytes: int
    sha256: str
    num_transferred: int
    """Bytes that came over the network for it, in this call."""


def download(
    url: str,
    target: Path,
    *,
    size_bytes: int | None = None,
    sha256: str = "",
    md5: str = "",
    headers: Mapping[str, str] | None = None,
    listener: Progress | None = None,
    stop: threading.Event | None = None,
) -> Downloaded:
    """Fetch a file, or what is missing of it.

    Args:
        url: Its ``http`` or ``https`` address.
        target: Where it goes. A file that is there and agrees with what is known is left alone, any other replaced.
        size_bytes: Its size, where known.
        sha256: Its hash, where known.
        md5: Its hash, where known.
        headers: Further headers of the request.
        listener: Told (bytes here, bytes in all, name).
        stop: Set by whoever wants to end it from another thread.

    Raises:
        FetchError: If it cannot be had, or is not the file that was promised; a wrong one is removed.
        OfflineError: If the host cannot be reached.
    """
    wanted = Wanted(size_bytes, sha256.lower(), md5.lower())
    try:
        with locked(target, stop=stop):
            there = _whole(target, wanted)
            return there or _Transfer(url, target, wanted, headers or {}, listener, stop or threading.Event()).run()
    except OSError as error:
        raise FetchError(_in_words(error, target)) from error


def _whole(target: Path, wanted: Wanted) -> Downloaded | None:
    if not target.is_file() or wanted.size_bytes not in (None, target.stat().st_size):
        return None
    hashes = Hashes(wanted)
    hashes.update_from(target)
    return None if hashes.fault() else Downloaded(target, hashes.size_bytes, hashes.sha256, 0)


@dataclass
class _Transfer:
    """The tries that it takes to fetch one file."""

    url: str
    target: Path
    wanted: Wanted
    headers: Mapping[str, str]
    listener: Progress | None
    stop: threading.Event
    num_transferred: int = 0

    def __post_init__(self) -> None:
        self.part = Part(self.target, self.url, self.wanted)

    def run(self) -> Downloaded:
        patience = Patience(shown(self.url), self.stop)
        while not self._is_all_here():
            try:
                self._try()
                break
            except Hiccup as hiccup:
                patience.progressed(self.part.size_bytes)
                patience.wait(hiccup)
            except OfflineError as error:
                if not self.num_transferred:
                    raise
                patience.wait(Hiccup(str(error)))  # the network was there a moment ago
        return self._finish()

    def _is_all_here(self) -> bool:
        """Whether a run that was ended before the last step has left all bytes."""
        size = self.wanted.size_bytes or self.part.note.get("size_bytes")
        return bool(self.part.note) and self.part.size_bytes == size

    def _try(self) -> None:
        asked = self.part.range_headers
        try:
            response = open_url(self.url, {**self.headers, **asked})
        except StatusError as error:
            if error.status != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not asked:
                raise
            self.part.discard()
            raise Hiccup("the server has no more of the file than is here") from error
        with response:
            self._check_answer(response)
            if response.status == http.client.PARTIAL_CONTENT:
                self._check_continues(response)
            else:
                self.part.begin(_note_of(response))
            self._check_size(self.part.note.get("size_bytes"))
            self._receive(response)

    def _check_answer(self, response: http.client.HTTPResponse) -> None:
        """Refuse what is not the file itself."""
        kind = response.headers.get_content_type()
        if kind == "text/html" and self.target.suffix.lower() not in (".html", ".htm"):
            raise FetchError(f"{shown(self.url)} answered with a web page, not with {self.target.name}")
        packing = response.headers.get("Content-Encoding", "identity").lower()
        # Some servers say of a .tar.gz that it is a .tar, packed; its bytes are the file nevertheless.
        if packing != "identity" and self.target.suffix.lower() not in (".gz", ".tgz"):
            raise FetchError(f"{shown(self.url)} is sent packed ({packing}), and was asked for as it is")

    def _check_continues(self, response: http.client.HTTPResponse) -> None:
        """Make sure that the bytes go on where those that are here end, in the same version of the file."""
        place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        total = self.part.note.get("size_bytes")
        goes_on = place is not None and int(place[1]) == self.part.size_bytes > 0
        is_same = place is not None and (place[2] == "*" or total in (None, int(place[2])))
        etag = response.headers.get("ETag")
        if not goes_on or not is_same or (etag and self.part.note.get("etag") not in (None, etag)):
            self.part.discard()
            raise Hiccup("the server sent another part of the file than was asked for")

    def _check_size(self, promised: int | None) -> None:
        known = self.wanted.size_bytes
        if None not in (known, promised) and known != promised:
            self.part.discard()
            raise FetchError(f"{shown(self.url)} has {promised} bytes on the server, and {known} were expected")
        missing, free = (promised or known or 0) - self.part.size_bytes, shutil.disk_usage(self.target.parent).free
        if missing > free:
            raise FetchError(
                f"{self.target.name} needs {missing / 1e9:.2f} GB more, and the disk of {self.target.parent} has "
                f"{free / 1e9:.2f} GB free: free some and give the same command again, or choose another place"
            )

    def _receive(self, response: http.client.HTTPResponse) -> None:
        promised = self.part.note.get("size_bytes")
        if response.length is not None and not self.wanted.has_hash and self.wanted.size_bytes is None:
            response.length += 1  # nothing else would tell that there is more than was promised
        total = self.wanted.size_bytes if promised is None else promised
        with self.part.path.open("ab") as file:
            while chunk := self._next(response, total):
                self.part.append(file, chunk)
                self.num_transferred += len(chunk)
                if total is not None and self.part.size_bytes > total:
                    self.part.discard()
                    raise FetchError(f"{shown(self.url)} is longer than the {total} bytes that were promised")
                if self.listener is not None:
                    self.listener(self.part.size_bytes, max(total or 0, self.part.size_bytes), self.target.name)
        if total is not None and self.part.size_bytes < total:
            raise Hiccup(f"the connection was cut after {self.part.size_bytes} of {total} bytes")

    def _next(self, response: http.client.HTTPResponse, total: int | None) -> bytes:
        if self.stop.is_set():
            raise KeyboardInterrupt
        try:
            return response.read1(_BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) and self.part.size_bytes == total:
                return b""  # all is here; the server has just not hung up
            raise Hiccup(f"the connection was cut after {self.part.size_bytes} bytes") from error

    def _finish(self) -> Downloaded:
        fault = self.part.hashes.fault()
        if fault:
            self.part.discard()
            raise WrongFileError(f"{shown(self.url)} {fault}; it was removed")
        self.part.become(self.target)
        hashes = self.part.hashes
        return Downloaded(self.target, hashes.size_bytes, hashes.sha256, self.num_transferred)


def _note_of(response: http.client.HTTPResponse) -> dict[str, Any]:
    """Return what tells this version of a file from another one: weak tags do not (RFC 9110, section 8.8.3)."""
    etag = response.headers.get("ETag", "")
    return {
        "etag": None if etag.startswith("W/") else etag or None,
        "last_modified": response.headers.get("Last-Modified"),
        "size_bytes": response.length,
    }


def _in_words(error: OSError, target: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no space left on the disk of {target}: free some and give the same command again, which goes on where "
            "this one stopped"
        )
    return f"{error.filename or target} cannot be written ({error.strerror or error}): choose another place"
