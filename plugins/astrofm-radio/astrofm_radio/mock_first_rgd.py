"""A made-up FIRST radio galaxy dataset: a zipped HDF5 file with the groups and attributes of the real one."""

from __future__ import annotations

__all__ = ["to_8bit", "write_mock_first_rgd"]

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astrofm import SurveyCard
from astrofm.mock.mark import write_mock_mark
from astrofm.mock.radio import sample_radio_source
from astrofm.mock.seeding import object_rng
from astrofm_radio.mock_fits import random_position, render
from astrofm_radio.mock_mirabest import NOISE_JY_PER_BEAM

if TYPE_CHECKING:
    import h5py

MORPHOLOGIES = ("fr1", "fr2", "compact", "bent")
"""In the order of the labels."""

FOLDERS = ("FRI", "FRII", "Compact", "Bent")

CLASS_COUNTS = (495, 924, 391, 348)
SPLIT_COUNTS = {"train": 1758, "valid": 200, "test": 200}
"""Images of the published file (its README)."""

SIZE_PIX = 300


def write_mock_first_rgd(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write ``n`` images; object ``i`` is the same whatever ``n``."""
    import h5py

    out.mkdir(parents=True, exist_ok=True)
    unzipped = io.BytesIO()
    with h5py.File(unzipped, "w") as archive:
        archive.attrs["MOCK"] = True
        for number in range(n):
            _add(archive, card, number, seed)
    # A fixed date in the zip: the same seed writes the same bytes.
    member = zipfile.ZipInfo("galaxy_data_h5.h5")
    with zipfile.ZipFile(out / "galaxy_data_h5.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(member, unzipped.getvalue(), zipfile.ZIP_DEFLATED)
    write_mock_mark(card.name, n, seed, out)
    return out


def to_8bit(image: NDArray[np.float32], noise_jy_per_beam: float) -> NDArray[np.uint8]:
    """Set what is below three times the noise to zero and scale the rest to 0-255. Shape: (y, x)."""
    bright = np.where(image > 3.0 * noise_jy_per_beam, image, 0.0)
    return (255.0 * bright / max(float(bright.max()), 1e-30)).astype(np.uint8)


def _add(archive: h5py.File, card: SurveyCard, number: int, seed: int) -> None:
    rng = object_rng(seed, number)
    counts = np.array(CLASS_COUNTS)
    label = int(rng.choice(len(counts), p=counts / counts.sum()))
    splits = np.array(list(SPLIT_COUNTS.values()))
    split = str(rng.choice(list(SPLIT_COUNTS), p=splits / splits.sum()))
    ra, dec = (round(value, 3) for value in random_position(rng, (110.0, 260.0), (0.0, 60.0)))
    image = render(
        sample_radio_source(rng, MORPHOLOGIES[label]), object_rng(seed, number, 1), card, SIZE_PIX, NOISE_JY_PER_BEAM
    )
    file = f"{FOLDERS[label]}/{ra}_{dec}_{label}_Mock.png"
    group = archive.create_group(f"data_{number}", track_times=False)
    pixels = group.create_dataset("Img", data=to_8bit(image, NOISE_JY_PER_BEAM), track_times=False)
    pixels.attrs.update({"RA": ra, "DEC": dec, "Source": "Mock", "Filepath_literature": file, "MOCK": True})
    group.create_dataset("Label_literature", data=float(label), track_times=False)
    group.create_dataset("Split_literature", data=split.encode(), track_times=False)
