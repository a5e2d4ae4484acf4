"""The edges of a cutout in the one resampling: no dark rim inside, nothing outside."""

import numpy as np
import pytest
import torch

from astrofm.views.geometry import Shift, ShiftConfig, Size, SizeConfig
from astrofm.views.resample import resample


def one(image, size_pix, matrix=None, window=None):
    """Resample one image of one channel by one matrix; the window is the whole image."""
    matrix = np.eye(3) if matrix is None else np.asarray(matrix)
    windows = np.array([float(max(image.shape)) if window is None else float(window)])
    return resample(torch.as_tensor(image)[None, None].float(), windows, matrix[None, None], size_pix)[0, 0, 0]


@pytest.mark.parametrize(("size", "size_pix"), [(8, 8), (8, 16), (8, 13), (9, 4), (151, 64), (152, 50)])
def test_a_flat_cutout_stays_flat_to_its_edge_at_any_size(size, size_pix):
    torch.testing.assert_close(one(torch.ones(size, size), size_pix), torch.ones(size_pix, size_pix))


def test_twice_as_many_pixels_repeat_the_border_and_interpolate_within():
    found = one(torch.tensor([[0.0, 4.0], [0.0, 4.0]]), 4)
    assert found[0].tolist() == [0.0, 1.0, 3.0, 4.0]  # the outermost lie in the outer half of a pixel


def test_beyond_the_edge_is_nothing_and_up_to_it_everything():
    # The window is 1.5 times the cutout: of 12 output pixels the outer two on each side lie beyond its edge.
    found = one(torch.ones(8, 8), 12, np.diag([1.5, 1.5, 1.0]))
    expected = torch.zeros(12, 12)
    expected[2:10, 2:10] = 1.0
    torch.testing.assert_close(found, expected)


def test_a_window_inside_the_cutout_never_meets_the_edge():
    image = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    inside, whole = one(image, 8, window=8), image[6:14, 6:14]
    torch.testing.assert_close(inside, whole, rtol=0, atol=1e-5)


def test_a_turned_cutout_is_dark_only_in_its_corners():
    turn = [[np.sqrt(0.5), -np.sqrt(0.5), 0.0], [np.sqrt(0.5), np.sqrt(0.5), 0.0], [0.0, 0.0, 1.0]]
    found = one(torch.ones(32, 32), 32, turn)
    place = (torch.arange(32) - 15.5) / 16
    diamond = (place[:, None].abs() + place[None].abs()) <= np.sqrt(2) - 1e-6
    torch.testing.assert_close(found, diamond.float())


def test_a_cutout_that_is_not_square_is_dark_along_its_short_side_only():
    found = one(torch.ones(4, 8), 8)
    assert found[:, 4].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_size_scales_a_source_about_the_centre_and_keeps_its_surface_brightness(factor):
    place = np.arange(65) - 32
    radius = np.hypot(place[:, None], place[None])
    source = torch.from_numpy(np.exp(-0.5 * (radius / 6.0) ** 2))
    matrix = Size(SizeConfig(factor=(0.5, 2.0))).matrix(torch.tensor([[factor]]))[0].numpy()
    scaled = one(source, 65, matrix)
    expected = np.exp(-0.5 * (radius / (6.0 * factor)) ** 2)
    np.testing.assert_allclose(scaled.numpy(), expected, atol=0.006)


def test_the_jitter_crop_of_seven_pixels_of_64_is_a_shift_by_7_64ths():
    image = torch.rand(107, 107, generator=torch.Generator().manual_seed(0))
    shift = Shift(ShiftConfig(max_fraction=7 / 64))
    drawn = shift.draw(np.random.default_rng(0), 1000)
    assert 6.9 < np.abs(drawn * 64).max() <= 7
    matrix = shift.matrix(torch.tensor([[7 / 64, -7 / 64]]))[0].numpy()
    found = one(image, 64, matrix, window=64)
    x, y = 21 + 7, 21 - 7
    torch.testing.assert_close(found, image[y : y + 64, x : x + 64], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("size", "size_pix"), [(107, 64), (8, 5), (9, 5), (8, 4)])
def test_an_input_of_the_cutouts_pixels_takes_them_as_they_are(size, size_pix):
    image = torch.rand(size, size, generator=torch.Generator().manual_seed(0))
    first = (size - size_pix) // 2
    found = one(image, size_pix, window=size_pix)
    torch.testing.assert_close(found, image[first : first + size_pix, first : first + size_pix], rtol=0, atol=1e-4)


def test_a_window_of_other_pixels_stays_centred():
    image = torch.zeros(9, 9)
    image[4, 4] = 1.0
    torch.testing.assert_close(one(image, 4, window=5), one(image, 4, window=5).flip(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [20, 21, 22, 23, 24])
@pytest.mark.parametrize(("factor", "size_pix"), [(2, 8), (2, 5), (3, 4), (3, 5)])
def test_an_input_of_blocks_of_pixels_has_their_means_whatever_the_size_of_the_cutout(size, factor, size_pix):
    image = torch.rand(size, size, generator=torch.Generator().manual_seed(0))
    window = factor * size_pix
    first = (size - window) // 2
    blocks = image[first : first + window, first : first + window].reshape(size_pix, factor, size_pix, factor)
    torch.testing.assert_close(one(image, size_pix, window=window), blocks.mean(dim=(1, 3)), rtol=0, atol=1e-4)
