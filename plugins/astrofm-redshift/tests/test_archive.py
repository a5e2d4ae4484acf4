"""What the keys of the archive become, and that its dust is removed once."""

import h5py
import numpy as np
import pytest
import torch
from astrofm_redshift.dust import R_SDSS, ebv_of

from astrofm.data.ingest import ingest
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError
from astrofm.plan import input_plan
from astrofm.survey import find_source
from astrofm.views.pipeline import ViewPipeline

EBV = np.array([0.0, 0.05, 0.4])


def write(folder, **changed):
    """A file with the keys of the archive, of three galaxies of random light behind dust."""
    light = np.random.default_rng(0).random((3, 5, 107, 107)).astype(np.float32)
    arrays = {
        "images": light * 10 ** (-0.4 * np.outer(EBV, R_SDSS)).astype(np.float32)[..., None, None],
        "e_bv": EBV,
        "specz_redshift": np.array([0.05, 0.1, 0.3]),
        "specz_redshift_err": np.array([1e-5, 2e-5, -3.0]),
        "ra": np.array([10.0, 20.0, 30.0]),
        "dec": np.array([-1.0, 0.0, 1.0]),
        "ObjID": np.array([1237648720693755918, 1237648720693755919, 1237648720693755920]),
        "specObjID": np.array([1, 2, 2**63 + 9], dtype=np.uint64),
    }
    folder.mkdir(parents=True)
    with h5py.File(folder / "sdss_w_specz_valid.h5", "w") as file:
        for name, values in (arrays | changed).items():
            file[name] = values
    return folder


def test_the_keys_of_the_archive_become_the_columns_of_the_catalogue(sdss_mgs, tmp_path):
    path = write(tmp_path / "archive")
    ingest(sdss_mgs, path, tmp_path / "mgs.zarr")
    catalog = CutoutStore.open(tmp_path / "mgs.zarr").catalog
    assert catalog.column("id_str").tolist() == [f"12376487206937559{number}" for number in (18, 19, 20)]
    assert catalog.column("specObjID").tolist() == ["1", "2", "9223372036854775817"]
    np.testing.assert_allclose(catalog.column("z_spec"), [0.05, 0.1, 0.3])
    np.testing.assert_allclose(catalog.column("z_err"), [1e-5, 2e-5, np.nan])
    np.testing.assert_allclose(catalog.column("ebv"), EBV)
    np.testing.assert_allclose(catalog.column("dec"), [-1.0, 0.0, 1.0])
    behind_dust = np.array(12**-0.5) * 10 ** (-0.4 * 0.4 * R_SDSS[2])  # of a uniform law, and of its third galaxy
    assert catalog.column("rms_SDSS-r")[2] == pytest.approx(behind_dust, rel=0.03)
    assert set(catalog.column("split")) <= {"train", "test"}


def test_five_values_are_the_extinctions_of_dr12_and_one_is_the_reddening(sdss_mgs, tmp_path):
    extinctions = np.outer(EBV, [5.155, 3.793, 2.751, 2.086, 1.479])
    five = write(tmp_path / "five", e_bv=extinctions)
    for folder in (five, write(tmp_path / "one"), write(tmp_path / "column", e_bv=EBV[:, None])):
        table = sdss_mgs.catalog(find_source(sdss_mgs.card, folder))
        np.testing.assert_allclose(table["ebv"], EBV, rtol=1e-12)


def test_any_other_number_of_values_is_refused():
    with pytest.raises(DataError, match=r"'e_bv' has the shape \(3, 4\)"):
        ebv_of(np.zeros((3, 4)))


def test_the_card_removes_the_dust_that_the_catalogue_gives(sdss_mgs, tmp_path):
    """A galaxy behind dust and its twin in front of it: the same input, from archive to network."""
    clear = {"images": np.random.default_rng(0).random((3, 5, 107, 107)).astype(np.float32), "e_bv": np.zeros(3)}
    inputs = []
    for folder in (write(tmp_path / "red"), write(tmp_path / "twin", **clear)):
        ingest(sdss_mgs, folder, folder / "mgs.zarr")
        store = CutoutStore.open(folder / "mgs.zarr")
        pipeline = ViewPipeline(
            {"sdss-mgs": input_plan(store)}, (), num_views=1, size_pix=64, field_of_view_arcsec=25.344, seed=0
        )
        (batch,) = Loader((Feed("sdss-mgs", store, np.arange(3)),), 3, 0, shuffle=False)
        inputs.append(pipeline.plain(batch, "cpu"))
    assert inputs[0].shape == (3, 5, 64, 64)
    torch.testing.assert_close(inputs[0], inputs[1], rtol=1e-4, atol=1e-4)


def test_the_coefficients_of_the_card_are_those_of_the_mock(sdss_mgs):
    first, _ = sdss_mgs.card.products["hdf5"].input.stretch
    assert first.name == "deredden"
    assert tuple(first.settings["coefficients"]) == R_SDSS


def test_the_card_looks_at_the_field_of_its_pixels(sdss_mgs):
    card = sdss_mgs.card
    assert card.band_names == ("SDSS-u", "SDSS-g", "SDSS-r", "SDSS-i", "SDSS-z")
    assert card.field_of_view_arcsec.value == pytest.approx(107 * card.pixel_scale_arcsec.value)
