"""From the address on a card to files: a DOI of Zenodo, a data set of the Hugging Face hub, or a plain URL.

Zenodo: ``GET /api/records/N`` of https://developers.zenodo.org. Hub: ``GET /api/datasets/NAME/tree/REVISION`` and
``/datasets/NAME/resolve/REVISION/PATH`` of https://huggingface.co/docs/hub/api. Both tell the size of each file and a
hash of it (of the hub's, of the large ones) before anything is transferred.
"""

from __future__ import annotations

__all__ = ["ZENODO", "RemoteFile", "remote_files"]

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urljoin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from astrofm.card import Archive
from astrofm.data.fetching.unpack import safe_relative
from astrofm.data.fetching.web import StatusError, get_json, origin, shown
from astrofm.errors import FetchError, in_one_line

M = TypeVar("M")

ZENODO = "https://zenodo.org"
HUB = "https://huggingface.co"
"""The hub, where ``HF_ENDPOINT`` names no other."""

_ZENODO_RECORD = re.compile(
    r"(?:doi:|https?://(?:dx\.)?doi\.org/)10\.5281/zenodo\.(\d+)(?:/(.+))?|https?://zenodo\.org/records?/(\d+)/?", re.I
)
_DOI = re.compile(r"(?:doi:|https?://(?:dx\.)?doi\.org/)", re.I)
_HUB = re.compile(r"hf://datasets/([^/]+/[^/@]+)(?:@([^/]+))?/(.+)")


@dataclass(frozen=True)
class RemoteFile:
    """One file that can be fetched, and what is known of it."""

    name: str
    """Path inside the folder of the archive."""
    url: str
    size_bytes: int | None = None
    sha256: str = ""
    md5: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    refused: str = ""
    """What to say where the server does not give it to everybody."""

    @property
    def has_hash(self) -> bool:
        """Whether its hash is known before it is fetched."""
        return bool(self.sha256 or self.md5)


def remote_files(archive: Archive, *, zenodo: str = ZENODO) -> list[RemoteFile]:
    """Return the files behind an archive of a card, in name order.

    Args:
        archive: An archive with a ``url``.
        zenodo: Base URL of Zenodo.

    Raises:
        FetchError: If there are none, or they are not what the card says.
        OfflineError: If the host cannot be reached.
    """
    if record := _ZENODO_RECORD.fullmatch(archive.url):
        files = _of_record(archive, zenodo, record[1] or record[3], record[2])
    elif data_set := _HUB.fullmatch(archive.url):
        files = list(_of_data_set(data_set[1], unquote(data_set[2] or "main"), data_set[3]))
    elif _DOI.match(archive.url):
        raise FetchError(
            f"{archive.url} is no DOI of Zenodo, the only ones that lead to files: give the address of the file under "
            f"'url' of archive {archive.name!r}, or the page under 'page'"
        )
    else:
        files = [RemoteFile(archive.name, archive.url)]
    for file in files:
        if safe_relative(file.name) is None:
            raise FetchError(f"{shown(file.url)} is refused: its name {file.name!a} leads out of the folder")
    return _as_the_card_says(archive, sorted(files, key=lambda file: file.name))


def _as_the_card_says(archive: Archive, files: list[RemoteFile]) -> list[RemoteFile]:
    """Add what the card knows, and refuse what it contradicts."""
    given = {"size_bytes": archive.size_bytes, "sha256": archive.sha256, "md5": archive.md5}
    known = {key: value for key, value in given.items() if value not in (None, "")}
    if len(files) > 1 and known:
        raise FetchError(
            f"archive {archive.name!r} has {len(files)} files at {shown(archive.url)}, and its card gives "
            f"{' and '.join(known)} as for one: name one file in 'url', or leave that out"
        )
    for key, value in known.items():
        theirs = getattr(files[0], key)
        if theirs not in (None, "", value):
            raise FetchError(f"{shown(files[0].url)} has the {key} {theirs}, and the card says {value}")
    return [RemoteFile(**{**vars(file), **known}) for file in files]


class _RecordLinks(BaseModel):
    own: str = Field(alias="self")


class _RecordFile(BaseModel):
    """One file of a Zenodo record."""

    key: str
    size: int
    checksum: str = ""
    links: _RecordLinks

    def as_remote(self) -> RemoteFile:
        kind, _, checksum = self.checksum.partition(":")
        md5 = checksum.lower() if kind == "md5" else ""
        return RemoteFile(self.key, self.links.own, self.size, md5=md5)


class _Record(BaseModel):
    files: list[_RecordFile]


class _Lfs(BaseModel):
    oid: str = Field(pattern="^[0-9a-f]{64}$")


class _HubEntry(BaseModel):
    """One file or folder of a data set."""

    type: str
    path: str
    size: int = 0
    lfs: _Lfs | None = None


class _Revision(BaseModel):
    sha: str


def _of_record(archive: Archive, zenodo: str, number: str, pattern: str | None) -> list[RemoteFile]:
    about = f"{zenodo}/api/records/{number}"
    try:
        listed = _read(_Record, get_json(about)[0], about).files
    except StatusError as error:
        if error.status not in (404, 410):
            raise
        raise FetchError(f"Zenodo has no record {number}, which archive {archive.name!r} asks for") from error
    wanted = pattern or archive.name
    found = [file for file in listed if file.key == wanted or fnmatchcase(file.key, wanted)]
    if not found:
        names = ", ".join(sorted(file.key for file in listed)) or "none that are open to all"
        raise FetchError(f"record {number} of Zenodo has no file {wanted!r}; it has {names}")
    return [file.as_remote() for file in found]


def _of_data_set(name: str, revision: str, pattern: str) -> Iterator[RemoteFile]:
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    about, page = f"{hub}/api/datasets/{name}", f"{hub}/datasets/{name}"
    refused = (
        f"data set {name} is not open to all: accept its conditions on {page}, and set HF_TOKEN to a token of the "
        "account that has accepted them"
    )
    try:
        # The commit is named, so that all files are of one version even if another is published meanwhile.
        asked = f"{about}/revision/{quote(revision, safe='')}"
        commit = _read(_Revision, get_json(asked, headers)[0], asked).sha
        listed = list(_entries(f"{about}/tree/{commit}?recursive=true", headers))
    except StatusError as error:
        if error.status in (401, 403):
            raise FetchError(refused) from error
        raise FetchError(f"there is no data set {name} with revision {revision!r} at {page}") from error
    found = [entry for entry in listed if entry.type == "file" and fnmatchcase(entry.path, pattern)]
    if not found:
        raise FetchError(f"data set {name} has no file {pattern!r} at {page}/tree/{revision}")
    for entry in found:
        url = f"{page}/resolve/{commit}/{quote(entry.path)}"
        sha256 = entry.lfs.oid if entry.lfs else ""
        yield RemoteFile(entry.path, url, entry.size, sha256, headers=headers, refused=refused)


def _entries(url: str, headers: Mapping[str, str]) -> Iterator[_HubEntry]:
    """Yield the entries of a listing, which names the next page in its ``Link`` header (RFC 8288)."""
    following: str | None = url
    while following is not None:
        page, answered = get_json(following, headers if origin(following) == origin(url) else {})
        yield from _read(TypeAdapter(list[_HubEntry]), page, following)
        link = re.search(r'<([^>]+)>\s*;\s*rel="?next"?', answered.get("Link", ""))
        following = urljoin(following, link[1]) if link else None


def _read(kind: type[M] | TypeAdapter[M], document: Any, url: str) -> M:
    """Parse an answer.

    Raises:
        FetchError: If it is not what is expected from there.
    """
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise FetchError(f"{shown(url)} answered in an unexpected way: {in_one_line(error)}") from error
