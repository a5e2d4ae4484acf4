"""A store of cutouts: one Zarr v3 group with its catalogue and manifest, made by :mod:`astrofm.data.ingest`."""

from __future__ import annotations

__all__ = ["CutoutStore", "Damage", "is_store", "read_manifest", "read_rejected", "store_info", "verify"]

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from astrofm.card import Product, SurveyCard
from astrofm.data.catalog import Catalog
from astrofm.data.feeding.shards import ShardFiles
from astrofm.data.files.noise import noise_column
from astrofm.data.layout import ENCODING_TYPE, ENCODING_VERSION
from astrofm.data.manifest import MANIFEST, Manifest
from astrofm.data.store_files import is_url, open_array, read_bytes
from astrofm.data.verify import Damage, verify
from astrofm.errors import StoreError, one_of
from astrofm.schema import VoteSchema

if TYPE_CHECKING:
    import pyarrow as pa
    import zarr

Rows = slice | Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]


class CutoutStore:
    """Cutouts of one size with their catalogue; row ``i`` of both belong together.

    Attributes:
        path: Folder or fsspec URL of the store.
        manifest: What it was made from, and the hash of every piece.
    """

    def __init__(self, path: Path | str, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a complete store.

        Args:
            path: A folder, or a URL that fsspec understands.

        Raises:
            StoreError: If there is none, or it is unfinished, foreign, of another version or without its manifest.
        """
        return cls(path, read_manifest(path))

    @property
    def card(self) -> SurveyCard:
        """The card of its survey, as it was at the ingest."""
        return self.manifest.made_from.card

    @property
    def product_name(self) -> str:
        """Name of the product it was made from."""
        return self.manifest.made_from.product

    @property
    def product(self) -> Product:
        """The product it was made from."""
        return self.card.products[self.product_name]

    @property
    def votes(self) -> VoteSchema | None:
        """The vote schema of its catalogue, if it has one."""
        return self.manifest.made_from.votes

    @property
    def content_hash(self) -> str:
        """Hash of pixels and catalogue, whatever software wrote them."""
        catalog = next(piece for piece in self.manifest.files if piece.file == "catalog.parquet")
        parts = [*(shard.pixels_sha256 for shard in self.manifest.shards), catalog.sha256]
        return sha256("".join(parts).encode()).hexdigest()

    @property
    def is_mock(self) -> bool:
        """Whether its cutouts are made up."""
        return self.manifest.made_from.mock

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of all cutouts: (row, band, y, x)."""
        return (len(self), *self.manifest.made_from.layout.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return np.dtype(self.manifest.made_from.layout.dtype)

    @property
    def chunk_rows(self) -> int:
        """Rows that are decoded together; see :meth:`blocks`."""
        return self.manifest.made_from.layout.chunk_rows

    @cached_property
    def catalog(self) -> Catalog:
        """The catalogue, read when it is first used."""
        return Catalog(_read_table(self.path, "catalog.parquet"))

    def __len__(self) -> int:
        return self.manifest.num_cutouts

    def read(self, rows: Rows, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Read cutouts.

        Whole chunks are decoded, whatever is asked of them: ask for neighbouring rows together.

        Args:
            rows: A slice, row numbers in any order, or True for each row that is wanted. Shape of the last: (len,).
            out: Where they go, contiguous and of the store's dtype; None: a new array.

        Returns:
            Values in the product's unit; NaN where nothing was observed. Shape: (rows, band, y, x).

        Raises:
            IndexError: If a row is not in the store, or a selection is not as long as it.
            StoreError: If a shard is missing or damaged.
        """
        return self._read("image", rows, out)

    def read_mask(self, rows: Rows, out: NDArray[np.bool_] | None = None) -> NDArray[np.bool_] | None:
        """Read the masks of cutouts: True where a pixel is to be ignored; None for a store without masks.

        Args:
            rows: As of :meth:`read`.
            out: As of :meth:`read`.

        Returns:
            Shape: (rows, y, x).
        """
        return self._read("mask", rows, out) if self.manifest.has_mask else None

    def blocks(self) -> list[range]:
        """Return the rows of each chunk."""
        return [range(first, min(first + self.chunk_rows, len(self))) for first in range(0, len(self), self.chunk_rows)]

    def stretched(self, rows: Rows, name: str) -> NDArray[Any]:
        """Read cutouts and apply one of the card's stretches.

        Args:
            rows: As of :meth:`read`.
            name: Name of the stretch, for example that of the published 8-bit images.

        Returns:
            Shape: (rows, band, y, x), of the size the stretch gives; uint8 where its last step quantises, else float32.

        Raises:
            UnknownNameError: If the card has no such stretch.
        """
        import torch

        from astrofm.views.stretch import Stretch

        if name not in self.card.stretches:
            raise one_of("stretch", name, self.card.stretches)
        images = torch.from_numpy(self.read(rows).astype(np.float32, copy=False))
        chosen = rows if isinstance(rows, slice) else _row_numbers(rows, len(self))
        rms, ebv = (torch.from_numpy(values[chosen]) for values in (self.noise(), self.measured("ebv")))
        mask = self.read_mask(rows)
        hidden = None if mask is None else torch.from_numpy(mask)
        steps = self.card.stretches[name]
        stretched: NDArray[Any] = Stretch(steps)(images, rms, hidden, ebv).numpy()
        return stretched.astype(np.uint8) if steps[-1].name == "uint8" else stretched

    def measured(self, name: str) -> NDArray[np.float64]:
        """Return a number of each cutout, for example ``rms``; NaN where the catalogue does not have it."""
        if name not in self.catalog.columns:
            return np.full(len(self), np.nan)
        return self.catalog.column(name).astype(np.float64)

    def noise(self) -> NDArray[np.float64]:
        """Return the rms of each cutout in each band: the column ``rms_BAND``, else ``rms``; NaN where it has neither.

        Returns:
            In the unit of the product. Shape: (cutouts, band).
        """
        common = self.measured("rms")
        of_bands = [self.measured(noise_column(band)) for band in self.card.band_names]
        return np.stack([np.where(np.isnan(own), common, own) for own in of_bands], axis=1)

    def _read(self, name: str, rows: Rows, out: NDArray[Any] | None) -> NDArray[Any]:
        wanted = np.arange(len(self))[rows] if isinstance(rows, slice) else _row_numbers(rows, len(self))
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(
                f"rows {wanted.min()} to {wanted.max()} were asked of the {len(self)} cutouts of {self.path}"
            )
        shape = self.shape if name == "image" else (len(self), *self.shape[2:])
        dtype = self.dtype if name == "image" else np.dtype(bool)
        found = np.empty((len(wanted), *shape[1:]), dtype) if out is None else out
        if ShardFiles.can_read(self.path):
            layout = self.manifest.made_from.layout
            ShardFiles(Path(self.path), name, layout, shape, dtype).read_into(found, wanted)
        else:
            self._read_through_zarr(self._arrays[name], wanted, found)
        return found

    @cached_property
    def _arrays(self) -> dict[str, zarr.Array[Any]]:
        names = ["image", "mask"] if self.manifest.has_mask else ["image"]
        return {name: open_array(self.path, name) for name in names}

    def _read_through_zarr(self, array: zarr.Array[Any], wanted: NDArray[np.int64], found: NDArray[Any]) -> None:
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        for run in self._runs(ascending):
            first, stop = np.searchsorted(ascending, [run.start, run.stop])
            found[order[first:stop]] = np.asarray(array[run.start : run.stop])[ascending[first:stop] - run.start]

    def _runs(self, ascending: NDArray[np.int64]) -> Iterator[range]:
        """Yield the row ranges to decode: touched chunks, those that follow each other within a shard together."""
        layout = self.manifest.made_from.layout
        shard_rows = layout.shard_rows_for(len(self))
        chunks = np.unique(ascending // layout.chunk_rows)
        breaks = (np.diff(chunks) > 1) | (np.diff(chunks * layout.chunk_rows // shard_rows) > 0)
        for run in np.split(chunks, np.flatnonzero(breaks) + 1):
            if len(run):
                stop = int(run[-1] + 1) * layout.chunk_rows
                yield range(int(run[0]) * layout.chunk_rows, min(stop, len(self)))


def _row_numbers(rows: Sequence[int] | NDArray[Any], num: int) -> NDArray[np.int64]:
    """Return row numbers, also of a selection by True and False."""
    given = np.asarray(rows)
    if given.dtype != np.bool_:
        return given.astype(np.int64)
    if given.shape != (num,):
        raise IndexError(f"a selection of shape {given.shape} was given for {num} cutouts")
    return np.flatnonzero(given).astype(np.int64)


def store_info(path: Path | str) -> dict[str, Any]:
    """Return what a store is, in values that JSON can hold.

    Raises:
        StoreError: As :meth:`CutoutStore.open`.
    """
    manifest = read_manifest(path)
    return {
        "store": str(path),
        "survey": manifest.made_from.card.name,
        "mock": manifest.made_from.mock,
        "num_cutouts": manifest.num_cutouts,
        "shape": [manifest.num_cutouts, *manifest.made_from.layout.shape],
        "product": manifest.made_from.product,
        "rejected": manifest.rejected,
        "bytes": sum(piece.size_bytes for piece in manifest.pieces) + len(manifest.to_bytes()),
    }


def read_rejected(path: Path | str) -> pa.Table:
    """Return the rows of the archive's catalogue that were not taken: ``id_str``, ``file``, ``reason``, ``detail``.

    Raises:
        StoreError: If the file is missing or damaged.
    """
    return _read_table(path, "rejected.parquet")


def _read_table(path: Path | str, file: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(BytesIO(read_bytes(path, file)))
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise StoreError(f"{file} of {path} is missing or damaged: 'astrofm store repair' mends it") from error


def is_store(path: Path) -> bool:
    """Whether a folder is a store of astrofm, be it damaged or of another version."""
    return _encoding(path).get("encoding-type") == ENCODING_TYPE or (path / MANIFEST).is_file()


def read_manifest(path: Path | str) -> Manifest:
    """Return the manifest of a complete store.

    Raises:
        StoreError: As :meth:`CutoutStore.open`.
    """
    encoding = _encoding(path)
    found = encoding.get("encoding-version")
    if str(path).endswith(".partial"):
        raise StoreError(f"{path} is an unfinished ingest: give the same ingest command again, which goes on from it")
    if encoding.get("encoding-type") == ENCODING_TYPE and found != ENCODING_VERSION:
        raise StoreError(
            f"{path} has encoding-version {found} and this astrofm reads {ENCODING_VERSION}: "
            "ingest again with --overwrite, or use the astrofm that wrote it"
        )
    try:
        return Manifest.from_bytes(read_bytes(path, MANIFEST))
    except FileNotFoundError as error:
        raise StoreError(_why_not_open(path, encoding)) from error
    except ValueError as error:
        raise StoreError(f"{MANIFEST} of {path} cannot be read: ingest again with --overwrite") from error


def _why_not_open(path: Path | str, encoding: dict[str, Any]) -> str:
    if encoding.get("encoding-type") == ENCODING_TYPE:
        return f"{path} has lost its {MANIFEST}: ingest again with --overwrite"
    if not is_url(path) and Path(f"{path}.partial").exists():
        return f"the ingest of {path} is unfinished: give the same ingest command again, which goes on where it stopped"
    if encoding:
        return (
            f"{path} is Zarr and no store of astrofm (no encoding-type {ENCODING_TYPE!r}): make one with astrofm ingest"
        )
    if is_url(path):
        return f"there is no store at {path}: check the address, which is that of the folder with {MANIFEST} in it"
    if Path(path).exists():
        return f"{path} is no store: give the folder that astrofm ingest made"
    return f"there is no store at {path}: make it with astrofm ingest --out {path}"


def _encoding(path: Path | str) -> dict[str, Any]:
    """Return the root attributes of a Zarr group; empty where there is none."""
    try:
        metadata = json.loads(read_bytes(path, "zarr.json"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return {"zarr_format": 3, **metadata.get("attributes", {})} if isinstance(metadata, dict) else {}
