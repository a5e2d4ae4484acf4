"""Fetch the archive of a survey by its card: once, whole, and compared with what was fetched before.

Files lie in ``$ASTROFM_HOME/archives/NAME``. ``fetched.json`` beside them says of each where it came from, when, and
its hash; one that nobody published is recorded there the first time, and every later copy is compared with it. A file
that another survey has fetched, by the hash that its publisher gives, is linked and not fetched again.
"""

from __future__ import annotations

__all__ = ["Fetched", "Say", "fetch", "fetch_into", "how_by_hand", "in_gigabytes", "is_fetchable"]

import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from astrofm.card import Archive, SurveyCard
from astrofm.data.fetching.download import Downloaded, WrongFileError, download
from astrofm.data.fetching.fetch_record import RECORD_NAME, FetchRecord, KeptFile, whole_files
from astrofm.data.fetching.locking import locked
from astrofm.data.fetching.meter import Meter
from astrofm.data.fetching.remote_files import ZENODO, RemoteFile, remote_files
from astrofm.data.fetching.unpack import packed_stem, unpack
from astrofm.data.fetching.web import StatusError, shown, without_user
from astrofm.errors import FetchError
from astrofm.home import home
from astrofm.listener import Progress
from astrofm.survey import Survey

NUM_PARALLEL = 4
"""Files at a time: enough to hide the pauses between files, few enough for a small host."""

Say = Callable[[str], None]
"""Called with a sentence for the user."""


@dataclass(frozen=True)
class Fetched:
    """What is here of an archive."""

    source: Path
    """What an ingest takes as its source."""
    files: tuple[KeptFile, ...]
    num_transferred: int
    """Bytes that came over the network."""
    by_hand: tuple[Archive, ...] = ()
    """What only a person can fetch."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        by_hand = [{"name": archive.name, "page": archive.page, "note": archive.note} for archive in self.by_hand]
        files = [file.model_dump(mode="json", exclude={"modified_ns"}) for file in self.files]
        return {"source": str(self.source), "files": files, "transferred": self.num_transferred, "by_hand": by_hand}


def is_fetchable(card: SurveyCard) -> bool:
    """Whether the whole archive can be fetched without a person."""
    return bool(card.archive) and all(archive.url for archive in card.archive)


def fetch(
    survey: Survey,
    *,
    out: Path | None = None,
    listener: Progress | None = None,
    say: Say | None = None,
    zenodo: str = ZENODO,
) -> Fetched:
    """Fetch what a survey's card says can be fetched, or what is missing of it.

    Args:
        survey: The survey.
        out: Folder for it; default: ``$ASTROFM_HOME/archives/NAME``.
        listener: Told (megabytes here, megabytes in all, what).
        say: Told how much it is before it comes, and which hashes were recorded.
        zenodo: Base URL of Zenodo.

    Raises:
        FetchError: If nothing can be fetched, or a file is not what was promised.
        OfflineError: If a host cannot be reached.
    """
    wanted = [archive for archive in survey.card.archive if archive.url]
    by_hand = tuple(archive for archive in survey.card.archive if not archive.url)
    if not wanted:
        raise FetchError(
            f"the archive of {survey.name!r} cannot be fetched by a program: {how_by_hand(by_hand)}; then: astrofm "
            f"ingest --survey {survey.name} --source FOLDER, with {what_belongs_there(survey.card)} in it"
        )
    folder = out or home() / "archives" / survey.name
    fetched = fetch_into(folder, survey.name, wanted, listener=listener, say=say, zenodo=zenodo)
    return replace(fetched, by_hand=by_hand)


def fetch_into(
    folder: Path,
    survey: str,
    archives: Sequence[Archive],
    *,
    listener: Progress | None = None,
    say: Say | None = None,
    zenodo: str = ZENODO,
) -> Fetched:
    """Fetch some archives into a folder, or what is missing of them.

    Args:
        folder: The folder; one process at a time works on it, others wait.
        survey: Name of the survey, for messages.
        archives: Archives with a ``url``.
        listener: Told (megabytes here, megabytes in all, what).
        say: Told how much it is before it comes, and which hashes were recorded.
        zenodo: Base URL of Zenodo.

    Raises:
        FetchError: If a file cannot be had or is not what was promised.
        OfflineError: If a host cannot be reached.
    """
    tell = say or _say_nothing
    try:
        with locked(folder, on_wait=lambda: tell(f"another process is fetching into {folder}: waiting for it")):
            return _Fetching(survey, folder, archives, listener, tell, zenodo).run()
    except OSError as error:
        raise FetchError(f"{error.filename or folder}: {error.strerror or error}") from error


def in_gigabytes(size_bytes: int) -> str:
    """Return a size in words, for example ``2.0 GB`` or, where that would be next to nothing, ``0.8 MB``."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 5e7 else f"{size_bytes / 1e6:.1f} MB"


def how_by_hand(archives: Sequence[Archive]) -> str:
    """Return in words how a person gets what no program can fetch."""
    ways = [", ".join(filter(None, (one.name, one.page, one.note))) for one in archives]
    return "; ".join(ways) or "its card names none"


def what_belongs_there(card: SurveyCard) -> str:
    """Return in words what a survey is read from: the files of its products, and a table with its columns."""
    patterns = " or ".join(dict.fromkeys(product.pattern for product in card.products.values()))
    layout = card.folder or card.mosaic or card.arrays
    if layout is None or not layout.table:
        return patterns
    columns = f" (columns {', '.join(layout.columns.values())})" if layout.columns else ""
    return f"{patterns} and {layout.table}{columns}"


def _say_nothing(sentence: str) -> None:
    """Serve callers who do not listen."""


@dataclass
class _Fetching:
    """One call: which archives, into which folder, and who is told."""

    survey: str
    folder: Path
    archives: Sequence[Archive]
    listener: Progress | None
    say: Say
    zenodo: str

    def run(self) -> Fetched:
        record = FetchRecord.read(self.folder, self.survey)
        missing = [archive for archive in self.archives if not record.has_all_of(archive, self.folder)]
        listed = [(archive, file) for archive in missing for file in remote_files(archive, zenodo=self.zenodo)]
        self._check_names(listed)
        linked = self._link_from_other_surveys([file for _, file in listed])
        absent = [pair for pair in listed if pair[1].name not in linked]
        if absent:
            self._announce(absent)
        num_transferred = self._transfer(record, listed)
        kept = [archive for archive in self.archives if archive not in missing]
        self._remove_others(record, {file.name for _, file in listed} | {file.name for file in record.files_of(kept)})
        record.complete(self.archives, self.folder)
        files = record.files_of(self.archives)
        unpacked = [self._unpack(file) for file in files if file.unpack]
        source = unpacked[0] if len(unpacked) == len(files) == 1 else self.folder
        return Fetched(source, tuple(files), num_transferred)

    def _check_names(self, listed: Sequence[tuple[Archive, RemoteFile]]) -> None:
        """Make sure that no two files want one place, and that what is to be unpacked can be."""
        names = [file.name for _, file in listed]
        names += [packed_stem(file.name) or "" for archive, file in listed if archive.unpack]
        twice = sorted({name for name in names if names.count(name) > 1 or name == RECORD_NAME})
        if twice:
            raise FetchError(f"two files of the archive of {self.survey!r} would have the name {twice[0]!r}")
        for archive, file in listed:
            if archive.unpack and packed_stem(file.name) is None:
                raise FetchError(f"{file.name} is to be unpacked, and is no .tar, .tar.gz, .zip or .gz file")

    def _link_from_other_surveys(self, files: Iterable[RemoteFile]) -> set[str]:
        """Link files that another survey has fetched, by their hashes, which then take no room; return their names."""
        wanted = {f.name: f.sha256.lower() for f in files if f.sha256 and not (self.folder / f.name).exists()}
        elsewhere = whole_files(home() / "archives", set(wanted.values())) if wanted else {}
        linked = set()
        for name, sha256 in wanted.items():
            if sha256 not in elsewhere:
                continue
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(elsewhere[sha256])
            except OSError:
                continue  # another disk, or one without links: it comes over the network
            self.say(f"{self.survey}: {name} is here already, as {elsewhere[sha256]}")
            linked.add(name)
        return linked

    def _announce(self, listed: Sequence[tuple[Archive, RemoteFile]]) -> None:
        sizes = [file.size_bytes for _, file in listed]
        known = sum(size for size in sizes if size is not None)
        size = f"{'at least ' if None in sizes and known else ''}{in_gigabytes(known)}" if known else "size unknown"
        hosts = sorted({urlsplit(file.url).hostname or "" for _, file in listed})
        licences = sorted({archive.licence for archive, _ in listed if archive.licence}) or ["not given"]
        files = "1 file" if len(listed) == 1 else f"{len(listed)} files"
        self.say(
            f"{self.survey}: fetching {files}, {size}, from {', '.join(hosts)} to {self.folder}; "
            f"licence: {'; '.join(licences)}"
        )

    def _transfer(self, record: FetchRecord, listed: Sequence[tuple[Archive, RemoteFile]]) -> int:
        """Fetch several files at a time; each enters the record when it is whole."""
        sizes = {file.name: file.size_bytes or 0 for _, file in listed}
        meter, stop, num_transferred = Meter(f"fetching {self.survey}", sizes, self.listener), threading.Event(), 0
        with ThreadPoolExecutor(NUM_PARALLEL) as pool:
            jobs = {pool.submit(self._one, record, one, file, meter, stop): (one, file) for one, file in listed}
            try:
                for job in as_completed(jobs):
                    archive, file = jobs[job]
                    done = job.result()
                    num_transferred += done.num_transferred
                    is_new = record.find(archive, file.name) is None
                    record.add(_kept(archive, file, done, self.folder))
                    record.write(self.folder)
                    if is_new and not file.has_hash:
                        self.say(f"no hash of {file.name} was known; its sha256 {done.sha256} is recorded")
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return num_transferred

    def _one(
        self, record: FetchRecord, archive: Archive, file: RemoteFile, meter: Meter, stop: threading.Event
    ) -> Downloaded:
        target = self.folder / file.name
        if archive.unpack:
            _remove(self._unpacked(file.name))  # it may be of another version of the file
        earlier = None if file.has_hash else record.find(archive, file.name)
        try:
            return download(
                file.url,
                target,
                size_bytes=file.size_bytes,
                sha256=earlier.sha256 if earlier else file.sha256,
                md5=file.md5,
                headers=file.headers,
                listener=meter.of(file.name),
                stop=stop,
            )
        except StatusError as error:
            if error.status not in (401, 403) or not file.refused:
                raise
            raise FetchError(file.refused) from error
        except WrongFileError as error:
            if earlier is None:
                raise
            raise FetchError(
                f"{error}: this hash was recorded when it was first fetched, on {earlier.date}; if the new file is "
                f"right, remove {self.folder / RECORD_NAME}"
            ) from error

    def _remove_others(self, record: FetchRecord, names: set[str]) -> None:
        """Remove what was fetched once and is no longer part of the archive: an ingest would take it in."""
        for name in sorted(record.files.keys() - names):
            self.say(f"removing {self.folder / name}, which is no longer part of the archive")
            _remove(self.folder / name)
            if record.files.pop(name).unpack:
                _remove(self._unpacked(name))

    def _unpacked(self, name: str) -> Path:
        return self.folder / (packed_stem(name) or name)

    def _unpack(self, file: KeptFile) -> Path:
        target = self._unpacked(file.name)
        if not target.exists():
            self.say(f"unpacking {file.name}")
        return unpack(self.folder / file.name, target)


def _kept(archive: Archive, file: RemoteFile, done: Downloaded, folder: Path) -> KeptFile:
    return KeptFile(
        archive=archive.name,
        name=file.name,
        asked=without_user(archive.url),
        url=shown(file.url),
        size_bytes=done.size_bytes,
        sha256=done.sha256,
        hash_known=file.has_hash,
        unpack=archive.unpack,
        date=datetime.now(UTC).date().isoformat(),
        modified_ns=(folder / file.name).stat().st_mtime_ns,
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
