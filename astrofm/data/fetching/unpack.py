"""Unpack an archive of unknown origin: files and folders alone, inside one folder, within bounds, all or nothing."""

from __future__ import annotations

__all__ = ["is_packed", "packed_stem", "safe_relative", "unpack"]

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from astrofm.data.fetching.locking import locked
from astrofm.errors import DataError

MAX_RATIO = 200
"""Images and tables shrink by less; what grows by more was made to fill a disk."""
SPARE_BYTES = 1_000_000_000
"""What a small archive may grow to whatever its ratio."""
MEMBER_BYTES = 4096
"""What a member counts beside its content: an entry in a folder takes space too."""
_BLOCK_BYTES = 1 << 20
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)


def packed_stem(name: str) -> str | None:
    """Return a file name without the ending of a packed file; None where it has none."""
    for ending in sorted((*_TARS, ".zip", ".gz"), key=len, reverse=True):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return None


def is_packed(name: str) -> bool:
    """Whether a file name has the ending of an archive of several files."""
    return packed_stem(name) is not None and (not name.lower().endswith(".gz") or name.lower().endswith(".tar.gz"))


def safe_relative(name: str) -> PurePosixPath | None:
    """Return a name from elsewhere as a path inside a folder; None if it leads out of it or is no name at all."""
    path = PurePosixPath(name)
    is_odd = re.match(r"[/\\]|[A-Za-z]:[/\\]", str(path)) or "\0" in name
    return None if is_odd or not path.parts or ".." in re.split(r"[/\\]", name) else path


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar, zip or gzip file into a folder of its own.

    Where all members lie in one folder at the top, that folder's content is what is unpacked. Owners, times and
    permission bits of the archive are left out. What is there already is left as it is.

    Args:
        archive: A ``.tar`` (also ``.gz``, ``.bz2``, ``.xz``, ``.zst``), ``.zip`` or single ``.gz`` file.
        folder: Where its content goes; made at the end, with all of it. For a single ``.gz`` a file.

    Returns:
        The folder.

    Raises:
        DataError: If the archive is damaged, has a member that is neither file nor folder or lies outside, is larger
            than an honest one can be, or does not fit on the disk.
    """
    with locked(folder):
        if folder.exists():
            return folder
        scratch = folder.with_name(f"{folder.name}.unpacking")
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        try:
            scratch.mkdir(parents=True)
            writer = _Writer(archive, scratch)
            with closing(_members(archive)) as members:
                for member in members:
                    writer.write(member)
            os.sync()
            _content(scratch, archive).rename(folder)
        except _DAMAGED as error:
            raise DataError(f"{archive} is damaged ({error}): fetch it again") from error
        except OSError as error:
            raise DataError(_in_words(error, archive, folder)) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    refused: str = ""
    """What it is, where it is neither file nor folder."""
    open_content: Callable[[], IO[bytes]] | None = None


@dataclass
class _Writer:
    """Writes members into a folder, and keeps count of them."""

    archive: Path
    folder: Path
    num_bytes: int = 0
    max_bytes: int = field(init=False)
    free_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.max_bytes = MAX_RATIO * self.archive.stat().st_size + SPARE_BYTES
        self.free_bytes = shutil.disk_usage(self.folder).free

    def write(self, member: _Member) -> None:
        path = safe_relative(member.name)
        if PurePosixPath(member.name) == PurePosixPath() and member.is_folder:
            return  # the folder itself
        if path is None:
            raise DataError(f"{self.archive} is refused: its member {member.name!a} lies outside the archive")
        if member.refused:
            raise DataError(f"{self.archive} is refused: its member {member.name!a} is {member.refused}")
        self._count(MEMBER_BYTES)
        target = self.folder / path
        if member.is_folder:
            target.mkdir(parents=True, exist_ok=True)
        elif member.open_content is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._copy(member.open_content, target)

    def _copy(self, open_content: Callable[[], IO[bytes]], target: Path) -> None:
        with open_content() as content, target.open("xb") as file:
            while block := content.read(_BLOCK_BYTES):
                self._count(len(block))
                file.write(block)

    def _count(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        if self.num_bytes > self.max_bytes:
            raise DataError(
                f"{self.archive} is refused: it unpacks to more than {self.max_bytes / 1e9:.1f} GB, which is beyond "
                f"{MAX_RATIO} times its size; unpack it by hand if you trust it"
            )
        if self.num_bytes > self.free_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")  # before the disk of everybody else is full


def _members(archive: Path) -> Generator[_Member]:
    """Read the members in the order in which they lie in the archive."""
    name = archive.name.lower()
    if name.endswith(_TARS):
        yield from _of_tar(archive)
    elif name.endswith(".zip"):
        yield from _of_zip(archive)
    elif name.endswith(".gz"):
        yield _Member(archive.name[: -len(".gz")], is_folder=False, open_content=partial(_plain, archive))
    else:
        raise DataError(f"{archive} cannot be unpacked: it is none of {', '.join((*_TARS, '.zip', '.gz'))}")


def _of_tar(archive: Path) -> Generator[_Member]:
    with closing(_plain(archive)) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for info in tar:
            kinds = {"a link": info.issym() or info.islnk(), "a device": info.ischr() or info.isblk()}
            refused = next((kind for kind, is_it in kinds.items() if is_it), "")
            if not (refused or info.isdir() or info.isreg()):
                refused = "neither file nor folder"
            opened = partial(tar.extractfile, info) if info.isreg() else None
            yield _Member(info.name, info.isdir(), refused, cast("Callable[[], IO[bytes]] | None", opened))
        while stream.read(_BLOCK_BYTES):
            pass  # the checksum stands at the end


def _plain(archive: Path) -> IO[bytes]:
    """Open a file without its packing; unlike those of tarfile, these readers compare the checksum."""
    name = archive.name.lower()
    if name.endswith(".zst"):
        import pyarrow

        return cast("IO[bytes]", pyarrow.input_stream(str(archive), compression="zstd"))
    openers: dict[str, Callable[..., object]] = {
        ".gz": gzip.open,
        ".tgz": gzip.open,
        ".bz2": bz2.open,
        ".xz": lzma.open,
    }
    return cast("IO[bytes]", openers.get(Path(name).suffix, open)(archive, "rb"))


def _of_zip(archive: Path) -> Generator[_Member]:
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            refused = "a link" if kind == stat.S_IFLNK else ""
            if not refused and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                refused = "neither file nor folder"
            if info.flag_bits & 1:
                refused = "encrypted"
            opened = None if refused or info.is_dir() else partial(packed.open, info)
            yield _Member(info.filename, info.is_dir(), refused, opened)


def _content(scratch: Path, archive: Path) -> Path:
    """Return the only folder at the top, if there is nothing beside it, else all that was unpacked."""
    entries = list(scratch.iterdir())
    is_alone = len(entries) == 1 and (entries[0].is_dir() or not is_packed(archive.name))
    return entries[0] if is_alone else scratch


def _in_words(error: OSError, archive: Path, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{archive} does not fit on the disk of {folder} when unpacked: free some space or choose another place"
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return f"{archive} is refused: two of its members claim the place of {Path(str(error.filename)).name!a}"
    if error.errno is None:  # from a reader of packed bytes, not from the system
        return f"{archive} is damaged ({error}): fetch it again"
    return f"{archive} cannot be unpacked into {folder}: {error.strerror or error}"
