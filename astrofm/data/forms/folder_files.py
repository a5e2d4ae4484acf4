"""Which files of a folder belong to which row of its table."""

from __future__ import annotations

__all__ = ["NO_FILE", "NO_ROW", "band_files", "by_stem", "join"]

import fnmatch
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray

from astrofm.data.forms.form_tables import stem_of
from astrofm.errors import DataError
from astrofm.forms import ID, FolderLayout

NO_FILE, NO_ROW = "missing file", "no row in the table"
_WILD = re.compile(r"(\*\*/|\*|\?)")
_PLACE = "\0"
"""What stands for an id in a name: no name of a file has it."""


@dataclass(frozen=True)
class _Joined:
    """For each row of the table the file named in ``file_loc`` and what is wrong with it, and the files of no row."""

    file_loc: NDArray[np.str_]
    rejected: NDArray[np.str_]
    rowless: dict[str, str]
    """File to the id that it would have."""


def join(table: Table, folder: Path, layout: FolderLayout, pattern: str) -> Table:
    """Give each row its file.

    Args:
        table: With ``id_str``, and ``file_loc`` where the archive's table has it.
        folder: The archive.
        layout: What the card says.
        pattern: Of the images.

    Returns:
        The table with ``file_loc`` and ``rejected``, and a rejected row for each image that no row leads to; the other
        columns of those are masked.

    Raises:
        DataError: If two images have the name of one id, a ``file_loc`` leads out of the folder, or no row has an
            image.
    """
    joined = _join_bands(table, folder, layout) if layout.bands else _join_images(table, folder, layout, pattern)
    if not (joined.rejected == "").any():
        raise DataError(
            f"no row of {layout.table!r} has its image: rows such as {', '.join(_ids(table)[:3]) or '(none)'}, files "
            f"matching {' and '.join(map(repr, layout.bands.values())) or repr(pattern)} such as "
            f"{', '.join(list(joined.rowless)[:3]) or '(none)'}; " + _way_to_join(table, layout)
        )
    _tell_of_other_names(table, joined, folder, layout, pattern)
    table["file_loc"], table["rejected"] = joined.file_loc, joined.rejected
    if not joined.rowless:
        return table
    rowless = Table({"id_str": list(joined.rowless.values()), "file_loc": list(joined.rowless)})
    rowless["rejected"] = NO_ROW
    return vstack([table, rowless], join_type="outer", metadata_conflicts="silent")


def _tell_of_other_names(table: Table, joined: _Joined, folder: Path, layout: FolderLayout, pattern: str) -> None:
    """Warn if files of rows that have none are there under the id, but do not match the pattern."""
    without = set(np.array(_ids(table))[joined.rejected == NO_FILE].tolist())
    if not without or layout.bands or ID in pattern or "file_loc" in table.colnames:
        return
    others = sorted(path for path in folder.rglob("*") if stem_of(path.name) in without and path.is_file())
    if others:
        warnings.warn(
            f"{len(without)} rows of {layout.table!r} have no image that matches {pattern!r}, but {len(others)} files "
            f"have their names, such as {others[0].relative_to(folder)}: let the pattern of the card match them too",
            UserWarning,
            stacklevel=2,
        )


def _way_to_join(table: Table, layout: FolderLayout) -> str:
    if layout.bands:
        return f"{ID} stands for the id of the row"
    if ID in layout.images:
        return f"{ID} stands for the id of the row and * for any part of a name, or of a folder's"
    if "file_loc" not in table.colnames:
        return "join them with a file_loc column"
    located = [name for name in _located(table) if name][:1]
    return f"file_loc ({', '.join(located) or 'empty'}) is the path of a file relative to the folder of the table"


def band_files(layout: FolderLayout, id_str: str) -> list[str]:
    """Return the files of a row, one for each band, relative to the folder."""
    return [_inside(template.replace(ID, id_str)) for template in layout.bands.values()]


def _join_images(table: Table, folder: Path, layout: FolderLayout, pattern: str) -> _Joined:
    """Join by the ``file_loc`` column, or without one by the id, which then is the name of the file."""
    if ID in pattern:
        id_of = {name: id_str for id_str, name in _of_template(folder, pattern) if name != layout.table}
        if _WILD.search(pattern):
            id_of |= _owners(_ids(table), list(id_of), pattern)
            wanted = _named(_ids(table), id_of)
        else:
            wanted = _templated(_ids(table), pattern)
        known = set(id_of)
    else:
        names = [name for name in _matching(folder, pattern) if name != layout.table]
        known = set(names)
        wanted = _located(table) if "file_loc" in table.colnames else by_stem(_ids(table), names)
    there = [bool(name) and (name in known or (folder / name).is_file()) for name in wanted]
    rejected = np.where(np.array(there, dtype=bool), "", NO_FILE)
    left = sorted(known - set(wanted))
    rowless = _with_ids(left, id_of, _ids(table)) if ID in pattern else _called(left, _ids(table))
    return _Joined(np.array(wanted, dtype=np.str_), rejected, rowless)


def _with_ids(names: Sequence[str], id_of: Mapping[str, str], taken: Sequence[str]) -> dict[str, str]:
    """Return an id for each file without a row: that of its name where nothing else has it, else its path."""
    counts = Counter([*(id_of[name] for name in names), *taken])
    return {name: id_of[name] if counts[id_of[name]] == 1 else name for name in names}


def _join_bands(table: Table, folder: Path, layout: FolderLayout) -> _Joined:
    """Join by the names that the card gives the files of each band."""
    ids = _ids(table)
    wanted = [band_files(layout, id_str) for id_str in ids]
    rejected = [_missing_band(folder, layout, files) for files in wanted]
    found = [found for template in layout.bands.values() for found in _of_template(folder, template)]
    known, first_of = set(ids), dict[str, str]()
    for id_str, name in found:
        first_of.setdefault(id_str, name)
    rowless = {name: id_str for id_str, name in first_of.items() if id_str not in known}
    return _Joined(np.array([files[0] for files in wanted], dtype=np.str_), np.array(rejected, dtype=np.str_), rowless)


def _missing_band(folder: Path, layout: FolderLayout, files: Sequence[str]) -> str:
    for band, name in zip(layout.bands, files, strict=True):
        if not (folder / name).is_file():
            return f"{NO_FILE} of {band}"
    return ""


def _of_template(folder: Path, template: str) -> list[tuple[str, str]]:
    """Return the id and name of each file that is named so; ``*`` and ``?`` stand for what they do in a pattern."""
    before, *after = _regexes(template)
    of_name = re.compile(before + "([^/]+)" + r"\1".join(after))
    parts = template.replace("[", "[[]").split("/")
    glob = "/".join(part if part == "**" else re.sub(r"\*+", "*", part.replace(ID, "*")) for part in parts)
    return [(match[1], name) for name in _matching(folder, glob) if (match := of_name.fullmatch(name))]


def _owners(ids: Sequence[str], names: Sequence[str], template: str) -> dict[str, str]:
    """Return the id of each file that is named so with one of the ids: ``*`` beside it does not say where it ends.

    Args:
        ids: Of the rows.
        names: Of files, relative to their folder.
        template: With asterisks or question marks.

    Raises:
        DataError: If a file could be that of two rows.
    """
    known, lengths, times = set(ids), sorted({len(id_str) for id_str in ids if id_str}), template.count(ID)
    of_name = re.compile(_PLACE.join(_regexes(template)))
    owners: dict[str, str] = {}
    for name in names:
        places: dict[str, list[int]] = {}
        for length in lengths:
            for first in range(len(name) - length + 1):
                if name[first : first + length] in known:
                    places.setdefault(name[first : first + length], []).append(first)
        for id_str, firsts in places.items():
            marked = (_marked(name, chosen, len(id_str)) for chosen in combinations(firsts, times))
            if any(map(of_name.fullmatch, marked)):
                if name in owners:
                    raise DataError(
                        f"{name!r} could be the image of {owners[name]!r} and of {id_str!r} by {template!r}: "
                        "say which in a file_loc column"
                    )
                owners[name] = id_str
    return owners


def _marked(name: str, firsts: Sequence[int], length: int) -> str:
    """Return a name with a mark in the place of some parts of it, empty where these overlap."""
    if any(later - first < length for first, later in pairwise(firsts)):
        return ""
    for first in reversed(firsts):
        name = name[:first] + _PLACE + name[first + length :]
    return name


def _regexes(template: str) -> list[str]:
    """Return what stands before, between and after the ids as regular expressions."""
    return ["".join(map(_as_regex, _WILD.split(part))) for part in template.split(ID)]


def _as_regex(part: str) -> str:
    return {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(part) or re.escape(part)


def _matching(folder: Path, pattern: str) -> list[str]:
    """Return the files that match a pattern, relative to the folder, in order of name."""
    if "/" in pattern or "**" in pattern:
        return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern) if path.is_file())
    with os.scandir(folder) as entries:  # ten times as fast where all files lie in one folder
        names = [entry.name for entry in entries if entry.is_file()]
    return sorted(fnmatch.filter(names, pattern))


def _ids(table: Table) -> list[str]:
    return [str(name) for name in table["id_str"]]


def _located(table: Table) -> list[str]:
    """Return the file that the table names for each row, empty where it names none."""
    blank = np.ma.getmaskarray(np.ma.asarray(table["file_loc"]))
    locations = zip(blank, table["file_loc"], strict=True)
    return ["" if gone else _inside(str(name).strip()) for gone, name in locations]


def _templated(ids: Sequence[str], template: str) -> list[str]:
    """Return the file that each id would have; an id with a slash in it leads into a folder."""
    return [_inside(template.replace(ID, id_str)) for id_str in ids]


def _named(ids: Sequence[str], id_of: Mapping[str, str]) -> list[str]:
    """Return the file of each id, empty where there is none."""
    known, file_of = set(ids), dict[str, str]()
    for name, id_str in id_of.items():
        if id_str in file_of and id_str in known:
            raise DataError(
                f"both {file_of[id_str]!r} and {name!r} could be {id_str!r}; take one of them away, or say which in a "
                "file_loc column"
            )
        file_of[id_str] = name
    return [file_of.get(id_str, "") for id_str in ids]


def by_stem(ids: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the file whose name without its ending is the id, empty where there is none.

    Args:
        ids: Of the rows.
        names: Of the files, relative to their folder.

    Raises:
        DataError: If two files could be that of one row.
    """
    return _named(ids, {name: stem_of(name) for name in names})


def _called(names: Sequence[str], ids: Sequence[str]) -> dict[str, str]:
    """Return an id of its own for each file that has no row: its stem where that is free, else its name."""
    called, taken = {}, set(ids)
    for name in names:
        called[name] = name if stem_of(name) in taken else stem_of(name)
        taken.add(called[name])
    return called


def _inside(name: str) -> str:
    """Return a path relative to the folder in its one spelling, empty where there is none."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"the file_loc {name!r} leads out of the folder: give paths relative to it, without '..'")
    return str(path) if name else ""
