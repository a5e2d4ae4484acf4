"""The survey ``legacy-z``: what its archive becomes, its mock, and real cubes of the cutout service."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from astrofm_redshift.mock_legacy_z import NOISE_NANOMAGGY, R_DECAM, _galaxy, _light, _observed

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.loader import Feed, Loader
from astrofm.data.options import IngestOptions
from astrofm.data.store import CutoutStore
from astrofm.plan import check_normalisation, input_plan, make_contract
from astrofm.pretrain import pretrain
from astrofm.recipe import NamedPart, Recipe
from astrofm.testing import SurveyTests
from astrofm.views.extinction import COEFFICIENTS
from astrofm.views.pipeline import ViewPipeline

KEYS = {
    *(
        "brickid",
        "dec",
        "ebv",
        "fiberflux",
        "flux",
        "fracin",
        "images",
        "inds",
        "maskbits",
        "nobs",
        "objid",
        "psfdepth",
    ),
    *("psfsize", "ra", "release", "source_type", "transmission", "z_phot_l68", "z_phot_l95", "z_phot_mean"),
    *("z_phot_median", "z_phot_std", "z_phot_u68", "z_phot_u95", "z_spec", "z_training"),
}
"""Of each file, as the documentation of the archive lists them."""

EBV = np.array([0.0, 0.05, 0.4])
SCALE_ARCSEC = 0.262


class TestLegacyRedshifts(SurveyTests):
    survey = "legacy-z"


@pytest.fixture(scope="module")
def legacy():
    return plugins.survey("legacy-z")


@pytest.fixture(scope="module")
def mock_archive(legacy, tmp_path_factory):
    return legacy.mock(64, 3, tmp_path_factory.mktemp("legacy-z"))


@pytest.fixture(scope="module")
def store(legacy, mock_archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "legacy.zarr"
    ingest(legacy, mock_archive, path)
    return CutoutStore.open(path)


@pytest.fixture(scope="module")
def cubes():
    """Folder of real cubes; skips where it is absent, fails where ASTROFM_REQUIRE_TEST_DATA is set."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("ASTROFM_TEST_DATA", beside)) / "decals-fits"
    if not folder.is_dir():
        reason = f"no real test data at {folder}; set ASTROFM_TEST_DATA to the folder above it"
        (pytest.fail if os.environ.get("ASTROFM_REQUIRE_TEST_DATA") == "1" else pytest.skip)(reason)
    return folder


def write(folder, **changed):
    """A file with the keys of the archive, of three galaxies of random light behind dust."""
    light = np.random.default_rng(0).random((3, 3, 152, 152)).astype(np.float32)
    redshifts = np.array([0.1, 0.2, -99.0], dtype=np.float32)
    arrays = {name: np.full((3, 3), 1.5, np.float32) for name in ("fiberflux", "fracin", "nobs", "psfdepth", "psfsize")}
    arrays |= {name: redshifts for name in KEYS if name.startswith("z_phot")}
    arrays |= {
        "images": light * 10 ** (-0.4 * np.outer(EBV, R_DECAM)).astype(np.float32)[..., None, None],
        "flux": np.arange(9, dtype=np.float32).reshape(3, 3),
        "transmission": 10 ** (-0.4 * np.outer(EBV, R_DECAM)),
        "ebv": EBV,
        "ra": np.array([10.0, 20.0, 30.0]),
        "dec": np.array([-1.0, 0.0, 1.0]),
        "z_spec": redshifts,
        "z_training": np.array([True, False, False]),
        "release": np.array([9010, 9012, 9010], dtype=np.int16),
        "brickid": np.array([7, 7, 8], dtype=np.int32),
        "objid": np.array([1, 1, 1], dtype=np.int32),
        "inds": np.arange(3),
        "maskbits": np.zeros(3, dtype=np.int16),
        "source_type": np.array([b"DEV", b"EXP", b"REX"]),
    }
    assert set(arrays) == KEYS
    folder.mkdir(parents=True)
    with h5py.File(folder / "images_npix152_000000000_000000003.h5", "w") as file:
        for name, values in (arrays | changed).items():
            file[name] = values
    return folder


def network_input(store, size_pix=96):
    plan = {"legacy-z": input_plan(store)}
    pipeline = ViewPipeline(plan, (), num_views=1, size_pix=size_pix, field_of_view_arcsec=25.152, seed=0)
    (batch,) = Loader((Feed("legacy-z", store, np.arange(len(store))),), len(store), 0, shuffle=False)
    return pipeline.plain(batch, "cpu")


# The archive


def test_the_keys_of_the_archive_become_the_columns_of_the_catalogue(legacy, tmp_path, recwarn):
    ingest(legacy, write(tmp_path / "archive"), tmp_path / "legacy.zarr")
    assert not [warning for warning in recwarn if "left out" in str(warning.message)]
    catalog = CutoutStore.open(tmp_path / "legacy.zarr").catalog
    assert catalog.column("id_str").tolist() == ["9010-7-1", "9012-7-1", "9010-8-1"]
    for name in ("z_spec", "z_phot", "z_phot_lo", "z_phot_hi", "z_phot_mean"):
        np.testing.assert_allclose(catalog.column(name), [0.1, 0.2, np.nan], rtol=1e-6)
    np.testing.assert_allclose(catalog.column("ebv"), EBV)
    np.testing.assert_allclose(catalog.column("flux_r"), [1.0, 4.0, 7.0])
    np.testing.assert_allclose(catalog.column("dec"), [-1.0, 0.0, 1.0])
    assert catalog.column("source_type").tolist() == ["DEV", "EXP", "REX"]
    behind_dust = np.array(12**-0.5) * 10 ** (-0.4 * 0.4 * R_DECAM[1])  # of a uniform law, and of its third galaxy
    assert catalog.column("rms_DECam-r")[2] == pytest.approx(behind_dust, rel=0.03)


def test_a_repeated_row_and_a_galaxy_of_another_camera_are_rejected(legacy, tmp_path):
    path = write(tmp_path / "a", release=np.array([9010, 9010, 9011], np.int16))
    info = ingest(legacy, path, tmp_path / "legacy.zarr")
    assert info["rejected"] == {"repeated row": 1, "release 9011: not of DECam in DR9": 1}
    assert CutoutStore.open(tmp_path / "legacy.zarr").catalog.column("id_str").tolist() == ["9010-7-1"]


def test_the_card_removes_the_dust_that_the_catalogue_gives(legacy, tmp_path):
    """A galaxy behind dust and its twin in front of it: the same input, from archive to network."""
    clear = {"images": np.random.default_rng(0).random((3, 3, 152, 152)).astype(np.float32), "ebv": np.zeros(3)}
    inputs = []
    for folder in (write(tmp_path / "red"), write(tmp_path / "twin", **clear)):
        ingest(legacy, folder, folder / "legacy.zarr")
        inputs.append(network_input(CutoutStore.open(folder / "legacy.zarr")))
    assert inputs[0].shape == (3, 3, 96, 96)
    torch.testing.assert_close(inputs[0], inputs[1], rtol=1e-4, atol=1e-4)


def test_the_coefficients_of_the_card_are_those_of_the_mock_and_of_the_view(legacy):
    for product in legacy.card.products.values():
        first, _ = product.input.stretch
        assert first.name == "deredden"
        assert tuple(first.settings["coefficients"]) == R_DECAM
    assert tuple(COEFFICIENTS[band] for band in legacy.card.band_names) == R_DECAM


def test_the_card_looks_at_the_field_of_its_pixels(legacy):
    assert legacy.card.field_of_view_arcsec.value == pytest.approx(152 * legacy.card.pixel_scale_arcsec.value)


# The mock


def test_the_mock_has_the_keys_and_the_form_of_the_published_files(mock_archive):
    with h5py.File(mock_archive / "images_npix152_000000000_000000064.h5") as file:
        assert set(file) == KEYS
        assert file.attrs["MOCK"]
        assert file["images"].shape == (64, 3, 152, 152)
        assert file["images"].dtype == np.float32
        assert file["flux"].shape == (64, 3)
        assert (file["z_spec"][:] == -99).sum() == 16


def test_dust_dims_the_light_of_the_mock_and_not_its_noise(legacy):
    galaxy, ebv, row = _galaxy(3, 0)
    clear, dusty = _light(galaxy, 0.0, 3, 0), _light(galaxy, ebv, 3, 0)
    np.testing.assert_allclose(dusty.sum(axis=(1, 2)) / clear.sum(axis=(1, 2)), row["transmission"], rtol=1e-5)
    np.testing.assert_allclose((_observed(dusty, 3, 0) - dusty).std(axis=(1, 2)), NOISE_NANOMAGGY, rtol=0.02)


def test_the_noise_of_the_mock_is_that_of_its_depth(store):
    """A star's error is the noise of the 4 pi sigma^2 pixels that it covers; psfdepth is the inverse of its square."""
    catalog = store.catalog
    sigma_pix = catalog.column("psfsize_r") / SCALE_ARCSEC / 2.3548
    expected = 1 / np.sqrt(catalog.column("psfdepth_r") * 4 * np.pi * sigma_pix**2)
    np.testing.assert_allclose(expected, NOISE_NANOMAGGY[1], rtol=1e-3)
    # Galaxies that fill their image raise what is left after clipping.
    assert np.median(catalog.column("rms_DECam-r")) == pytest.approx(NOISE_NANOMAGGY[1], rel=0.25)


def test_the_catalogue_of_the_mock_has_the_flux_of_its_pixels(store):
    y, x = np.indices((152, 152)) - 76
    inside = np.hypot(y, x) * SCALE_ARCSEC <= 6.0
    sums = np.asarray(store.read(np.arange(len(store))))[:, 2][:, inside].sum(axis=1)
    error = NOISE_NANOMAGGY[2] * np.sqrt(inside.sum())
    np.testing.assert_allclose(sums, store.catalog.column("flux_z"), atol=5 * error)


# Pretraining


def test_two_steps_have_a_finite_loss(store, tmp_path):
    small = ("training.batch_size=8", "training.max_steps=2", "objective.settings.num_keys=64")
    result = pretrain(Recipe.load("moco-quick-legacy", small), {"legacy-z": store}, tmp_path / "run")
    assert result.step == 2
    assert result.is_mock
    assert np.isfinite(list(result.metrics.values())).all()


def test_redshifts_are_labels_to_learn_from(store, tmp_path):
    """With the bins that the card names: the first loss is the logarithm of their number."""
    head = {"kind": "redshift", "num_bins": 200, "z_max": 1.0}
    recipe = Recipe.load("moco-quick-legacy", ("training.batch_size=8", "training.max_steps=2"))
    part = NamedPart.model_validate({"name": "supervised", "settings": {"head": head}})
    result = pretrain(recipe.model_copy(update={"objective": part}), {"legacy-z": store}, tmp_path / "run")
    assert result.metrics["loss"] == pytest.approx(np.log(200), rel=0.2)


# Cubes of the cutout service

REDSHIFTS = {"temp_small": 0.0668661817908, "example_a": 0.0668661817908, "example_b": None, "example_incomplete": None}


@pytest.fixture
def folder(cubes, tmp_path):
    """Four real files and a table, as a user has them; one cube is of another size of pixels, one file is cut off."""
    path = tmp_path / "cubes"
    path.mkdir()
    positions = {"temp_small": (146.714208787, -1.04128156958), "example_b": (0.0779308877236, -0.651845669667)}
    positions |= {"example_a": positions["temp_small"], "example_incomplete": (18.066262308, -6.05180745469)}
    lines = ["id_str,ra,dec,ebv,z_spec"]
    for name, redshift in REDSHIFTS.items():
        (path / f"{name}.fits").symlink_to(cubes / f"{name}.fits")
        ra, dec = positions[name]
        lines.append(f"{name},{ra},{dec},0.05,{'' if redshift is None else redshift}")
    (path / "sources.csv").write_text("\n".join(lines) + "\n")
    return path


def test_real_cubes_are_read_with_their_table(legacy, folder, tmp_path):
    with pytest.warns(UserWarning, match="resample with --pixel-scale"):
        info = ingest(legacy, folder, tmp_path / "cubes.zarr")
    assert (info["product"], info["num_cutouts"]) == ("cutout-service", 3)
    assert list(info["rejected"]) == ["truncated file"]
    store = CutoutStore.open(tmp_path / "cubes.zarr")
    catalog = store.catalog
    assert catalog.column("id_str").tolist() == ["temp_small", "example_a", "example_b"]
    np.testing.assert_allclose(catalog.column("z_spec"), [0.0668661817908, 0.0668661817908, np.nan])
    scales = [0.262, 0.1, 2.81566964255556e-05 * 3600]
    np.testing.assert_allclose(catalog.column("pixel_scale"), scales, rtol=1e-6)
    noise = [catalog.column(f"rms_{band}") for band in legacy.card.band_names]
    for rms in noise:
        assert 0.002 < rms[0] < 0.03
        assert np.isnan(rms[1:]).all()  # of other pixels


def test_a_galaxy_has_the_same_flux_in_cubes_of_any_pixel_scale(legacy, folder, tmp_path):
    """The same galaxy twice, with pixels of 0.262 and 0.1 arcsec; from two releases, which agree to a per cent."""
    options = IngestOptions(pixel_scale_arcsec=SCALE_ARCSEC)
    ingest(legacy, folder, tmp_path / "cubes.zarr", options=options)
    small, fine, _ = np.asarray(CutoutStore.open(tmp_path / "cubes.zarr").read(np.arange(3)))
    y, x = np.indices(small.shape[1:]) - 76
    inside = np.hypot(y, x) * SCALE_ARCSEC < 8.0
    np.testing.assert_allclose(fine[:, inside].sum(axis=1), small[:, inside].sum(axis=1), rtol=0.01)
    assert np.nanargmax(fine[1]) == np.nanargmax(small[1])  # the nucleus, on the same pixel


def test_real_cubes_pass_the_check_of_the_normalisation(legacy, folder, tmp_path):
    """The constants of the card were measured on mock galaxies; these are real, and brighter than most."""
    ingest(legacy, folder, tmp_path / "cubes.zarr", options=IngestOptions(pixel_scale_arcsec=SCALE_ARCSEC))
    store = CutoutStore.open(tmp_path / "cubes.zarr")
    found = network_input(store)
    assert torch.isfinite(found).all()
    contract = make_contract(Recipe.load("moco-quick-legacy"), [store])
    check_normalisation(contract, {"legacy-z": input_plan(store)}, (Feed("legacy-z", store, np.arange(3)),))
