"""The hashes of finished shards, kept beside a store that is being made, so that a shard is written once."""

from __future__ import annotations

__all__ = ["record_shards", "recorded_shards"]

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from astrofm.data.making.partial import write_atomically
from astrofm.data.manifest import Piece, Shard

_SHARDS = TypeAdapter(tuple[Shard, ...])


def record_shards(record: Path, shards: tuple[Shard, ...]) -> None:
    """Write down what is known of some shards, without waiting for the disk: a torn record only costs its shards."""
    write_atomically(record, lambda file: file.write(_SHARDS.dump_json(shards)), durable=False)


def recorded_shards(store: Path, record: Path) -> tuple[Shard, ...] | None:
    """Return the shards of a record if each is there and whole, else None.

    Args:
        store: Where the shards are.
        record: What :func:`record_shards` wrote, or a path where nothing is.
    """
    if not record.exists():
        return None
    try:
        shards = _SHARDS.validate_json(record.read_bytes())
    except ValidationError:  # torn by a power cut
        return None
    return shards if all(_is_whole(store, shard.piece) for shard in shards) else None


def _is_whole(store: Path, piece: Piece) -> bool:
    return (store / piece.file).exists() and Piece.of(store, piece.file) == piece
