"""Every hash of a store, computed again, be it in a folder or behind a URL."""

from __future__ import annotations

__all__ = ["Damage", "verify"]

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from astrofm.data.layout import hash_pixels
from astrofm.data.manifest import MANIFEST, Manifest, Shard, manifest_damage
from astrofm.data.store_files import file_names, is_url, read_bytes
from astrofm.errors import StoreError

_FOREIGN = "is no part of the store: move it away"


@dataclass(frozen=True)
class Damage:
    """One piece of a store that is not as it was written."""

    file: str
    """Relative to the store."""
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"

    @property
    def is_foreign(self) -> bool:
        """Whether the file is in the way and nothing is lost."""
        return self.what == _FOREIGN


def verify(path: Path | str) -> list[Damage]:
    """Compute every hash of a store again and name what is damaged.

    Each file is read once, whole, and its pixels are decoded from what was read.

    Args:
        path: Folder or URL of the store.

    Returns:
        One entry for each damaged, missing or foreign file; empty for a sound store. A server without listings (HTTP)
        cannot say which files are foreign.

    Raises:
        StoreError: If there is no store, or its server cannot be reached.
    """
    if not is_url(path) and not Path(path).exists():
        raise StoreError(f"no store at {path}")
    try:
        raw = read_bytes(path, MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{path} cannot be verified: it has no {MANIFEST}, so it is no complete store") from error
    damage = manifest_damage(raw)
    found = [Damage(MANIFEST, damage)] if damage else []
    try:
        manifest = Manifest.from_bytes(raw)
    except ValueError:
        return found or [Damage(MANIFEST, "was written by another version of astrofm")]
    return [*found, *_pieces(path, manifest), *_foreign(path, manifest)]


def _pieces(path: Path | str, manifest: Manifest) -> Iterator[Damage]:
    num_rows = {"catalog.parquet": manifest.num_cutouts, "rejected.parquet": sum(manifest.rejected.values())}
    metadata: dict[str, bytes] = {}
    for piece in manifest.files:
        content, what = _sound(path, piece.file, piece.sha256)
        if not what and piece.file in num_rows:
            what = _other_number(content, num_rows[piece.file])
        if not what and piece.file.endswith("zarr.json"):
            metadata[piece.file] = content
        if what:
            yield Damage(piece.file, what)
    for shard in manifest.shards:
        content, what = _sound(path, shard.piece.file, shard.piece.sha256)
        described = metadata.get(f"{shard.array}/zarr.json")
        if not what and described is not None and _hash_of_rows(shard, content, described) != shard.pixels_sha256:
            what = "decodes to other pixels than were written"
        if what:
            yield Damage(shard.piece.file, what)


def _sound(path: Path | str, file: str, expected: str) -> tuple[bytes, str]:
    """Return a file and what is wrong with it; empty where it is as it was written."""
    try:
        content = read_bytes(path, file)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b"", "is missing"
    return content, "" if sha256(content).hexdigest() == expected else "does not match its hash"


def _hash_of_rows(shard: Shard, content: bytes, described: bytes) -> str:
    """Decode the pixels of a shard from its bytes and those of the array's metadata."""
    import zarr
    from zarr.core.buffer import cpu
    from zarr.storage import MemoryStore

    name = shard.piece.file.removeprefix(f"{shard.array}/")
    files = {"zarr.json": cpu.Buffer.from_bytes(described), name: cpu.Buffer.from_bytes(content)}
    array = zarr.open_array(MemoryStore(dict(files), read_only=True), mode="r", zarr_format=3)
    return hash_pixels(array[shard.first : shard.stop])  # type: ignore[arg-type]  # zarr types a slice as a scalar or any array


def _other_number(parquet: bytes, expected: int) -> str:
    import pyarrow.parquet as pq

    found = int(pq.read_metadata(BytesIO(parquet)).num_rows)
    return "" if found == expected else f"has {found} rows where the manifest says {expected}"


def _foreign(path: Path | str, manifest: Manifest) -> Iterator[Damage]:
    present = file_names(path)
    known = {piece.file for piece in manifest.pieces} | {MANIFEST}
    for file in sorted((present or set()) - known):
        yield Damage(file, _FOREIGN)
