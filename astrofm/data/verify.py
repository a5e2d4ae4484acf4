"""Every hash of a store, computed again."""

from __future__ import annotations

__all__ = ["Damage", "verify"]

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from astrofm.data.layout import hash_pixels
from astrofm.data.manifest import MANIFEST, Manifest, Shard, hash_file, manifest_damage
from astrofm.errors import StoreError


@dataclass(frozen=True)
class Damage:
    """One piece of a store that is not as it was written."""

    file: str
    """Relative to the store."""
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


def verify(path: Path | str) -> list[Damage]:
    """Compute every hash of a store again and name what is damaged.

    Args:
        path: Folder of the store.

    Returns:
        One entry for each damaged, missing or foreign file; empty for a sound store.

    Raises:
        StoreError: If there is no store.
    """
    store = Path(path)
    if not store.exists():
        raise StoreError(f"no store at {store}")
    try:
        raw = (store / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{store} cannot be verified: it has no {MANIFEST}, so it is no complete store") from error
    damage = manifest_damage(raw)
    found = [Damage(MANIFEST, damage)] if damage else []
    try:
        manifest = Manifest.from_bytes(raw)
    except ValueError:
        return found or [Damage(MANIFEST, "was written by another version of astrofm")]
    return [*found, *_pieces(store, manifest)]


def _pieces(store: Path, manifest: Manifest) -> Iterator[Damage]:
    files = {piece.file: _file_damage(store / piece.file, piece.sha256) for piece in manifest.pieces}
    yield from (Damage(file, what) for file, what in files.items() if what)
    metadata_is_sound = not any(files[piece.file] for piece in manifest.files if piece.file.endswith("zarr.json"))
    if metadata_is_sound:
        yield from (
            Damage(shard.piece.file, "decodes to other pixels than were written")
            for shard in manifest.shards
            if not files[shard.piece.file] and _hash_of_rows(store, shard) != shard.pixels_sha256
        )
    expected = {"catalog.parquet": manifest.num_cutouts, "rejected.parquet": sum(manifest.rejected.values())}
    for file, num_rows in expected.items():
        if not files[file] and _num_rows(store / file) != num_rows:
            yield Damage(file, f"has {_num_rows(store / file)} rows where the manifest says {num_rows}")
    present = {file.relative_to(store).as_posix() for file in store.rglob("*") if not file.is_dir()}
    foreign = sorted(present - set(files) - {MANIFEST})
    yield from (Damage(file, "is no part of the store: move it away") for file in foreign)


def _file_damage(path: Path, sha256: str) -> str:
    if not path.is_file():
        return "is missing"
    return "" if hash_file(path) == sha256 else "does not match its hash"


def _hash_of_rows(store: Path, shard: Shard) -> str:
    import zarr

    return hash_pixels(zarr.open_array(store / shard.array, mode="r")[shard.first : shard.stop])  # type: ignore[arg-type]  # zarr types a slice as a scalar or any array


def _num_rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)
