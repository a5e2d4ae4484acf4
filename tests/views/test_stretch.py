"""Stretches: the published 8-bit images bit for bit, and each step by values known by hand."""

import csv
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from astropy.visualization import make_lupton_rgb

from astrofm.card import Step
from astrofm.errors import ContractError, DataError, RecipeError, UnknownNameError
from astrofm.views.stretch import STEPS, InputPlan, Stretch, fill_missing

FIELD_STEPS = [{"sigma_clip_floor": {"k": 3}}, {"center_crop": {"size_pix": 150}}]
CROPPED_STEPS = [{"circular_mask": {"radius_pix": 75}}, "minmax", "uint8"]
NUMPY_GLOBALS = {("ndarray", np.ndarray), ("dtype", np.dtype), ("scalar", np._core.multiarray.scalar)}
NUMPY_GLOBALS |= {("_reconstruct", np._core.multiarray._reconstruct)}


def stretch_of(*steps):
    return Stretch([Step.model_validate(step) for step in steps])


class NumpyUnpickler(pickle.Unpickler):
    """Reads numpy arrays and nothing that could run code."""

    def find_class(self, module, name):
        known = dict(NUMPY_GLOBALS)
        if module.split(".")[0] != "numpy" or name not in known:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return known[name]


@pytest.fixture(scope="module")
def published(data_dir):
    """The index of the archive, by source name, and its 8-bit batches."""
    folder = data_dir / "mirabest"
    with (folder / "mirabest_index.csv").open() as lines:
        index = {row["name"]: row for row in csv.DictReader(lines)}
    batches = {}
    with tarfile.open(folder / "MiraBest_F_batches.tar.gz") as archive:
        for member in archive.getmembers():
            if member.name.endswith("_batch") or "data_batch" in member.name:
                content = archive.extractfile(member).read()
                batch = NumpyUnpickler(io.BytesIO(content), encoding="latin1").load()
                batches[member.name.split("/")[-1]] = np.stack(batch["data"]).reshape(-1, 150, 150)
    return index, batches


@pytest.mark.parametrize("rms_dtype", [np.float32, np.float64])
def test_the_raw_fields_give_the_published_images_bit_for_bit(data_dir, published, rms_dtype):
    index, batches = published
    files = [file for file in sorted((data_dir / "mirabest" / "fits").glob("*.fits")) if file.stem in index]
    assert len(files) == 26  # of 27: one is on the archive's blacklist
    fields = np.stack([fits.getdata(file).squeeze().astype(np.float32) for file in files])
    rms = np.array([sigma_clipped_stats(f.astype(rms_dtype), sigma=3, maxiters=5)[2] for f in fields], np.float64)
    ours = stretch_of(*FIELD_STEPS, *CROPPED_STEPS)(torch.from_numpy(fields)[:, None], torch.from_numpy(rms))
    rows = [index[file.stem] for file in files]
    theirs = np.stack([batches[row["batch"]][int(row["batch_index"])] for row in rows])
    np.testing.assert_array_equal(ours[:, 0].numpy().astype(np.uint8), theirs)


def test_the_compressed_cube_gives_the_published_images_up_to_its_compression(data_dir, published):
    index, batches = published
    rows = sorted(index.values(), key=lambda row: int(row["cube_index"]))[::10]
    with fits.open(data_dir / "mirabest" / "mirabest_jy_per_beam_150px_rice.fits") as hdus:
        cube = next(hdu for hdu in hdus if hdu.is_image and hdu.data is not None).data
        images = np.stack([cube[int(row["cube_index"])] for row in rows]).astype(np.float32)
    rms = torch.tensor([float(row["rms300_jy_beam"]) for row in rows], dtype=torch.float64)
    ours = stretch_of(FIELD_STEPS[0], *CROPPED_STEPS)(torch.from_numpy(images)[:, None], rms)[:, 0].numpy()
    theirs = np.stack([batches[row["batch"]][int(row["batch_index"])] for row in rows]).astype(np.float32)
    peak = images.max(axis=(1, 2))
    is_near_the_floor = np.abs(images - 3 * rms.numpy()[:, None, None]) < 1.5e-5
    off = np.abs(ours - theirs) - (2 * 255 * 1.3e-5 / peak[:, None, None] + 1.5)
    share_of_sources = np.mean([off[i][~is_near_the_floor[i]].max() <= 0 for i in range(len(rows))])
    assert share_of_sources > 0.97  # three of the 1256 published images were made otherwise


def test_missing_pixels_become_zero_and_are_named():
    images = torch.tensor([[[[1.0, torch.nan], [2.0, 3.0]]]])
    mask = torch.tensor([[[False, False], [False, True]]])
    filled, missing = fill_missing(images, mask)
    assert filled.tolist() == [[[[1.0, 0.0], [2.0, 0.0]]]]
    assert missing.tolist() == [[[[False, True], [False, True]]]]
    assert torch.isnan(images).sum() == 1


def test_a_pixel_at_k_rms_becomes_zero_and_one_above_stays():
    images = torch.tensor([[[[3.0, 3.0000005, -9.0]]]])
    rms = torch.tensor([1.0], dtype=torch.float64)
    floored = stretch_of({"sigma_clip_floor": {"k": 3}})(images, rms)
    assert floored.flatten().tolist() == [0.0, pytest.approx(3.0000005), 0.0]


def test_a_floor_without_rms_is_refused():
    with pytest.raises(DataError, match="1 of 2 cutouts have no rms"):
        stretch_of("sigma_clip_floor")(torch.ones(2, 1, 2, 2), torch.tensor([1.0, torch.nan]))


def test_minmax_is_per_cutout_and_a_constant_becomes_zero():
    images = torch.stack([torch.arange(4.0).reshape(1, 2, 2), torch.full((1, 2, 2), 7.0)])
    scaled = stretch_of("minmax")(images)
    torch.testing.assert_close(scaled[0], torch.arange(4.0).reshape(1, 2, 2) / 3)
    assert scaled[1].abs().max() == 0


def test_eight_bit_truncates_and_ends_at_its_range():
    images = torch.tensor([[[[-0.1, 0.0, 0.5, 1.0, 1.2]]]])
    assert stretch_of("uint8")(images).flatten().tolist() == [0, 0, 127, 255, 255]


def test_an_eight_bit_product_is_scaled_to_one():
    images = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(
        stretch_of({"scale": {"factor": 1 / 255}})(images).flatten(), torch.tensor([0.0, 0.2, 1.0])
    )


def test_lupton_agrees_with_astropy():
    rng = np.random.default_rng(3)
    bands = rng.exponential(2.0, (3, 16, 16)) - 0.5
    theirs = make_lupton_rgb(*bands, minimum=0, stretch=5, Q=8, output_dtype=float)
    ours = stretch_of({"lupton_rgb": {"stretch": 5, "Q": 8}})(torch.from_numpy(bands).float()[None])
    np.testing.assert_allclose(ours[0].permute(1, 2, 0).numpy(), theirs, atol=1e-6)


def test_asinh_is_linear_below_its_scale():
    images = torch.tensor([[[[1e-5, 1.0]]]])
    out = stretch_of({"asinh": {"scale": 0.01}})(images).flatten()
    assert out[0].item() == pytest.approx(1e-3, rel=1e-5)
    assert out[1].item() == pytest.approx(np.arcsinh(100.0), rel=1e-5)


def test_no_step_changes_its_input():
    settings = {
        "asinh": {"scale": 1.0},
        "center_crop": {"size_pix": 4},
        "circular_mask": {"radius_pix": 2},
        "scale": {"factor": 2.0},
    }
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    for name, step in STEPS.items():
        step(**settings.get(name, {}))(images, torch.ones(2, dtype=torch.float64))
        assert torch.equal(images, before), name


def test_an_unknown_step_or_setting_is_named():
    with pytest.raises(UnknownNameError, match="did you mean 'minmax'"):
        stretch_of("minmaxx")
    with pytest.raises(RecipeError, match="'center_crop': size: no such key"):
        stretch_of({"center_crop": {"size_pix": 3, "size": 3}})


def test_constants_are_one_for_all_channels_or_one_for_each():
    assert InputPlan("a", (), (0.5,), (2.0,)).constants(3).tolist() == [[0.5] * 3, [2.0] * 3]
    with pytest.raises(ContractError, match="2 values of mean for 3 channels"):
        InputPlan("a", (), (0.5, 0.1)).constants(3)
