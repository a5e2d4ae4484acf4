"""What rounding the mantissa of float32 pixels gains in size, and what it costs in error.

    python benchmarks/bit_rounding.py FITS_CUBE [--rows 512]

The cube is that of the test data, ``mirabest/mirabest_jy_per_beam_150px_rice.fits``: radio galaxies in Jy/beam. Sizes
are those of a store's codec, chunk by chunk. The error is given relative to the value, and to the noise of its image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from astrofm.data.changes.rounding import MANTISSA_BITS, round_mantissa
from astrofm.data.files.noise import clipped_std
from astrofm.data.layout import BLOCK_BYTES, CODEC_LEVEL, CODEC_NAME

CHUNK_ROWS = 64
KEPT = (3, 5, 7, 9, 11, 13, 16, MANTISSA_BITS)


def read_cube(path: Path, num_rows: int) -> NDArray[np.float32]:
    from astropy.io import fits

    with fits.open(path) as hdus:
        cube = next(hdu for hdu in hdus if len(hdu.shape) == 3)
        return np.asarray(cube.section[:num_rows], dtype=np.float32)


def stored_bytes(images: NDArray[np.float32]) -> int:
    chunks = (images[first : first + CHUNK_ROWS] for first in range(0, len(images), CHUNK_ROWS))
    packed = (blosc.compress(c, CODEC_NAME.encode(), CODEC_LEVEL, blosc.BITSHUFFLE, BLOCK_BYTES) for c in chunks)
    return sum(map(len, packed))


def measure(images: NDArray[np.float32]) -> None:
    rms = np.array([clipped_std(image) for image in images])
    full = stored_bytes(images)
    print(f"{len(images)} images of {images.shape[1]} x {images.shape[2]} px, {images.nbytes / 1e6:.1f} MB as float32")
    print("bits kept   size of store   times smaller   largest error / value   largest / rms   typical / rms")
    for keep_bits in KEPT:
        rounded = round_mantissa(images, keep_bits)
        error = np.abs(rounded.astype(float) - images)
        relative = np.divide(error, np.abs(images), out=np.zeros_like(error), where=images != 0).max()
        in_rms = error / rms[:, None, None]
        size = stored_bytes(rounded)
        print(
            f"{keep_bits:9d}   {size / 1e6:10.1f} MB   {full / size:13.2f}   {relative:21.1e}   "
            f"{in_rms.max():13.1e}   {np.sqrt((in_rms**2).mean()):13.1e}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cube", type=Path)
    parser.add_argument("--rows", type=int, default=512)
    given = parser.parse_args()
    measure(read_cube(given.cube, given.rows))
