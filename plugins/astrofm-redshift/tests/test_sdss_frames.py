"""The survey ``sdss-mgs`` from cutouts of SDSS frames: a FITS file for each band, and a table."""

import numpy as np
import pytest
from astropy.io import fits

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore

BANDS = "ugriz"
SIZE = 111
NOISE = {"u": 0.05, "g": 0.01, "r": 0.015, "i": 0.02, "z": 0.06}
"""In nanomaggies, about those of a frame."""


@pytest.fixture
def folder(tmp_path):
    """Three galaxies on the grid of the camera, a source of 10 nanomaggies in r in the centre; the last lacks z."""
    path = tmp_path / "frames"
    path.mkdir()
    lines = ["id_str,ra,dec,ebv,z_spec"]
    for number in range(3):
        ra, dec = 150.0 + number, 2.0 - number
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec})
        header.update({"CRPIX1": 56.0, "CRPIX2": 56.0, "CDELT1": -0.396 / 3600, "CDELT2": 0.396 / 3600})
        header["BUNIT"] = "nanomaggy"
        for place, band in enumerate(BANDS):
            rng = np.random.default_rng([number, place])
            image = rng.normal(0.0, NOISE[band], (SIZE, SIZE)).astype(np.float32)
            image[55, 55] += 2.5 * (place + 2)
            if (number, band) != (2, "z"):
                fits.PrimaryHDU(image, header).writeto(path / f"gal{number}-{band}.fits")
        lines.append(f"gal{number},{ra},{dec},{0.02 * number},{0.1 + 0.01 * number}")
    (path / "sources.csv").write_text("\n".join(lines) + "\n")
    return path


def test_frames_become_a_store_with_redshifts_dust_and_the_noise_of_each_band(folder, tmp_path):
    survey = plugins.survey("sdss-mgs")
    info = ingest(survey, folder, tmp_path / "frames.zarr")
    assert (info["product"], info["num_cutouts"]) == ("frames", 2)
    assert info["rejected"] == {"missing file of SDSS-z": 1}
    store = CutoutStore.open(tmp_path / "frames.zarr")
    assert store.shape == (2, 5, 107, 107)
    images = np.asarray(store.read(np.arange(2)))
    np.testing.assert_allclose(images[:, :, 53, 53].mean(axis=0), [5.0, 7.5, 10.0, 12.5, 15.0], atol=0.2)
    np.testing.assert_allclose(store.catalog.column("z_spec"), [0.1, 0.11])
    np.testing.assert_allclose(store.catalog.column("ebv"), [0.0, 0.02])
    for band in BANDS:
        np.testing.assert_allclose(store.catalog.column(f"rms_SDSS-{band}"), NOISE[band], rtol=0.1)
