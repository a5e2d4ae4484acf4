"""Pickled batches of images, as MiraBest and CIFAR are published, read without running what is in them."""

from __future__ import annotations

__all__ = ["ImageBatch", "batch_names", "load_batch", "read_batches"]

import tarfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from astrofm.data.files.pickles import MAX_PICKLE_BYTES, load_arrays
from astrofm.errors import DataError


@dataclass(frozen=True)
class ImageBatch:
    """One batch.

    Attributes:
        name: Name of its file, for example ``data_batch_1``.
        images: Shape: (n, y, x), uint8.
        labels: Shape: (n,).
        filenames: Stem of the file each image was made from.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    filenames: tuple[str, ...]


def read_batches(path: Path, wanted: Collection[str] | None = None) -> Iterator[ImageBatch]:
    """Read the batches of an archive, in name order.

    Args:
        path: The tarball, a folder that holds it, or the unpacked folder.
        wanted: Names of the batches to read; None for all.

    Yields:
        Each batch.

    Raises:
        DataError: If a batch is not what it should be.
    """
    files = _unpacked(path)
    if files:
        for file in files:
            if wanted is None or file.name in wanted:
                yield load_batch(file.read_bytes(), file.name)
        return
    tarball = _tarball(path)
    try:
        with tarfile.open(tarball) as tar:
            members = {PurePosixPath(member.name).name: member for member in tar if member.isfile()}
            for name in sorted(filter(_is_batch, members)):
                stream = tar.extractfile(members[name])
                if stream is not None and (wanted is None or name in wanted):
                    yield load_batch(stream.read(MAX_PICKLE_BYTES + 1), name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{tarball} is damaged or no tar archive ({error}): get it again") from error


def batch_names(path: Path) -> list[Path]:
    """Return the files that the batches come from: the unpacked ones, else the tarball."""
    return _unpacked(path) or [_tarball(path)]


def load_batch(content: bytes, name: str) -> ImageBatch:
    """Unpickle one batch.

    Args:
        content: The pickle, of Python 2 or 3.
        name: Its name, for messages.

    Raises:
        DataError: If the pickle is damaged, asks for anything but numpy arrays, or holds something else.
    """
    given = load_arrays(content, name)
    try:
        images = np.stack([_as_image(image) for image in given["data"]])
        labels = np.asarray(given["labels"], dtype=np.int64)
        filenames = tuple(PurePosixPath(str(file)).stem for file in given["filenames"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"batch {name!r} cannot be read: {error}") from error
    if images.ndim != 3 or not len(images) == len(labels) == len(filenames):
        raise DataError(
            f"batch {name!r} holds images of shape {images.shape}, {len(labels)} labels and {len(filenames)} names; "
            "expected one label and one name for each (y, x) image"
        )
    return ImageBatch(name, images, labels, filenames)


def _as_image(image: object) -> NDArray[np.uint8]:
    """Refuse what is no array: a list may hold itself many times over and take any memory to convert."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise TypeError(
            f"an image is of type {getattr(image, 'dtype', type(image).__name__)}; expected an array of uint8"
        )
    return np.asarray(image)


def _is_batch(name: str) -> bool:
    return name == "test_batch" or name.startswith("data_batch_")


def _unpacked(path: Path) -> list[Path]:
    """Return the batch files of a folder, or of the one folder that the tarball unpacks to."""
    if path.is_file():
        return [path] if _is_batch(path.name) else []
    here = sorted(file for file in path.iterdir() if file.is_file() and _is_batch(file.name))
    return here or sorted(file for file in path.glob("*_batches/*") if file.is_file() and _is_batch(file.name))


def _tarball(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*_batches.tar.gz"))
    if not found:
        raise DataError(f"{path} holds neither data_batch_* files nor a *_batches.tar.gz")
    return found[0]
