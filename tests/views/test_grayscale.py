"""Grey is what the weights say, as often as asked, and the bands stay as many."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.transforms.v2.functional import rgb_to_grayscale

from astrofm.errors import RecipeError
from astrofm.views.grayscale import Grayscale, GrayscaleConfig


def images_of(num=4, channels=3, size=8):
    return torch.rand(num, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("p", [0.0, 0.2, 0.9, 1.0])
def test_views_are_grey_with_the_probability_asked_for(p):
    drawn = Grayscale(GrayscaleConfig(p=p)).draw(np.random.default_rng(3), 10_000)
    assert drawn.shape == (10_000, 1)
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    assert abs(drawn.mean() - p) <= 4 * (p * (1 - p) / 10_000) ** 0.5


def test_one_row_turns_grey_and_the_others_and_the_input_stay():
    images = images_of()
    before = images.clone()
    out = Grayscale(GrayscaleConfig())(images, torch.tensor([[0.0], [1.0], [0.0], [0.0]]))
    assert torch.equal(images, before)
    assert torch.equal(out[[0, 2, 3]], images[[0, 2, 3]])
    torch.testing.assert_close(out[1], rgb_to_grayscale(images[1], num_output_channels=3))


def test_pure_colours_have_the_weights_of_bt601():
    colours = torch.eye(3)[:, :, None, None]
    grey = Grayscale(GrayscaleConfig()).apply(colours, torch.ones(3, 1))
    for band in range(3):
        assert grey[:, band, 0, 0].tolist() == pytest.approx([0.2989, 0.587, 0.114])


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_the_mean_counts_all_bands_alike_and_keeps_their_number(channels):
    images = images_of(channels=channels)
    grey = Grayscale(GrayscaleConfig(weights="mean")).apply(images, torch.ones(4, 1))
    torch.testing.assert_close(grey, images.mean(dim=1, keepdim=True).expand_as(images))


def test_bands_that_have_no_such_grey_are_refused():
    with pytest.raises(RecipeError, match="these images have one: leave it out"):
        Grayscale(GrayscaleConfig(weights="mean"))(images_of(channels=1), torch.zeros(4, 1))
    with pytest.raises(RecipeError, match="these images have 5 bands: set weights to mean"):
        Grayscale(GrayscaleConfig())(images_of(channels=5), torch.zeros(4, 1))
    with pytest.raises(ValidationError):
        GrayscaleConfig(weights="luma")
