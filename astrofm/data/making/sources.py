"""The files of an archive: their hashes, and whether they are still what was hashed.

Hashing a large archive takes as long as reading it. An ingest that is continued trusts a hash it has taken before if
the file's size, times and inode are the same; what it remembers lies in the ``.partial`` folder and goes with it. A
finished store is compared with its archive by hashes alone: the files may have been copied or fetched anew since.
"""

from __future__ import annotations

__all__ = ["NOTHING_KNOWN", "Sources", "find_files", "hash_sources", "remembered"]

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from astrofm.data.making.partial import write_atomically
from astrofm.data.manifest import SourceFile, hash_file
from astrofm.errors import DataError

SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was hashed may change again within the tick of its clock."""

_STAMP = ("size_bytes", "mtime_ns", "ctime_ns", "inode")


@dataclass(frozen=True)
class Sources:
    """The files of an archive as they were hashed.

    Attributes:
        root: Folder that the names are relative to.
        names: In order.
        sha256: Of each.
        stamps: Size, times and inode of each, from before it was hashed. Shape: (num_files, 4).
        settled: Whether each had rested for a while by then. Shape: (num_files,).
    """

    root: Path = Path()
    names: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    stamps: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, len(_STAMP)), np.int64))
    settled: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """The files as the manifest names them."""
        sizes = self.stamps[:, 0].tolist()
        return tuple(
            SourceFile(name=name, sha256=sha256, size_bytes=size)
            for name, sha256, size in zip(self.names, self.sha256, sizes, strict=True)
        )

    def changed(self) -> list[str]:
        """Return the files that are gone or have been touched since they were hashed."""
        return [
            name
            for name, stamp in zip(self.names, self.stamps, strict=True)
            if _stamp_now(self.root / name) != tuple(stamp)
        ]

    def is_as(self, other: Sources) -> bool:
        """Whether no file has been touched between two hashings."""
        return self.names == other.names and bool((self.stamps == other.stamps).all())

    def remember(self, file: Path) -> None:
        """Write down the hashes for :func:`remembered`."""
        columns = {"name": pa.array(self.names, pa.string()), "sha256": pa.array(self.sha256, pa.string())}
        columns |= {name: pa.array(self.stamps[:, column]) for column, name in enumerate(_STAMP)}
        table = pa.table({**columns, "settled": pa.array(self.settled)})
        write_atomically(file, lambda stream: pq.write_table(table, stream))


NOTHING_KNOWN = Sources()


def remembered(file: Path) -> Sources:
    """Return the hashes that were written down; none where there is no such file or a power cut has torn it."""
    try:
        table = pq.read_table(file)
    except (FileNotFoundError, pa.ArrowInvalid):
        return NOTHING_KNOWN
    names, sha256 = (tuple(table[name].to_pylist()) for name in ("name", "sha256"))
    stamps = np.stack([table[name].to_numpy() for name in _STAMP], axis=1)
    return Sources(names=names, sha256=sha256, stamps=stamps, settled=table["settled"].to_numpy())


def find_files(root: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """Return the files of an archive by their names relative to its folder, in order.

    Args:
        root: The folder.
        paths: Files, and folders that stand for all files in them; those that do not exist are left out.
    """
    files = {file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,))}
    names = {file.relative_to(root).as_posix(): file for file in files if file.is_file()}
    return dict(sorted(names.items()))


def hash_sources(root: Path, names: Iterable[str], workers: int, known: Sources) -> Sources:
    """Hash the files of an archive.

    Args:
        root: Its folder.
        names: The files, relative to it, in order.
        workers: Number of threads.
        known: Hashes from before, used for the files that have not been touched since.

    Raises:
        DataError: If a file cannot be read.
    """
    names = tuple(names)
    places = {name: place for place, name in enumerate(known.names)}
    begun = time.time_ns()

    def look(name: str) -> tuple[str, tuple[int, ...]]:
        stamp, place = _stamp_now(root / name), places.get(name)
        if stamp is not None and place is not None and known.settled[place] and tuple(known.stamps[place]) == stamp:
            return known.sha256[place], stamp
        try:
            return hash_file(root / name), stamp or (0,) * len(_STAMP)
        except OSError as error:
            raise DataError(
                f"{root / name} cannot be read ({error.strerror or error}): "
                "change its rights, get it again, or take it out of the archive"
            ) from error

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(look, names))
    stamps = np.array([stamp for _, stamp in found], np.int64).reshape(-1, len(_STAMP))
    settled = stamps[:, 1:3].max(axis=1, initial=0) < begun - SETTLED_NS
    return Sources(root, names, tuple(sha256 for sha256, _ in found), stamps, settled)


def _stamp_now(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
