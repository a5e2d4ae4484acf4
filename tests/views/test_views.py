"""Each augmentation by itself: how often it acts, what it does, that its input survives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from astrofm.errors import RecipeError
from astrofm.views.blur import Blur, BlurConfig
from astrofm.views.geometry import Flip, FlipConfig, Rotate, RotateConfig, Shift, ShiftConfig, Zoom, ZoomConfig
from astrofm.views.noise import Noise, NoiseConfig, normal_field
from astrofm.views.photometry import Jitter, JitterConfig

DRAWS = 10_000
PIXEL_VIEWS = [
    lambda p: Jitter(JitterConfig(p=p)),
    lambda p: Blur(BlurConfig(sigma=(0.5, 2.0), p=p)),  # narrower than half a pixel changes next to nothing
    lambda p: Noise(NoiseConfig(sigma=(0.1, 0.2), p=p)),
]


def images_of(num=4, channels=1, size=16):
    return torch.rand(num, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", PIXEL_VIEWS)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.8, 1.0])
def test_a_pixel_view_acts_with_its_probability(make, p):
    view = make(p)
    parameters = torch.from_numpy(view.draw(np.random.default_rng(5), DRAWS))
    images = images_of(1, size=4).expand(DRAWS, 1, 4, 4)
    has_changed = (view.apply(images, parameters) - images).abs().amax(dim=(1, 2, 3)) > 1e-9
    spread = (p * (1 - p) / DRAWS) ** 0.5
    assert abs(has_changed.float().mean().item() - p) <= 4 * spread


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_each_axis_is_flipped_with_its_probability_and_by_itself(p):
    signs = Flip(FlipConfig(p=p)).draw(np.random.default_rng(6), DRAWS)
    both = (signs == -1).all(axis=1).mean()
    assert np.abs((signs == -1).mean(axis=0) - p).max() <= 4 * (p * (1 - p) / DRAWS) ** 0.5
    assert abs(both - p * p) <= 4 * (p * p * (1 - p * p) / DRAWS) ** 0.5


def test_angles_fill_the_circle_uniformly():
    angles = Rotate(RotateConfig()).draw(np.random.default_rng(7), DRAWS)[:, 0]
    assert kstest(angles / (2 * np.pi), "uniform").pvalue > 0.01


@pytest.mark.parametrize("make", PIXEL_VIEWS)
def test_a_pixel_view_leaves_its_input_as_it_was(make):
    view, images = make(1.0), images_of()
    before = images.clone()
    out = view.apply(images, torch.from_numpy(view.draw(np.random.default_rng(0), len(images))))
    assert torch.equal(images, before)
    assert out.shape == images.shape


@given(low=st.floats(0.05, 1.0), span=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_a_zoomed_rectangle_lies_inside_the_field_and_has_the_area_asked_for(low, span, seed):
    scale = (low, low + span * (1 - low))
    width, height, x, y = Zoom(ZoomConfig(scale=scale)).draw(np.random.default_rng(seed), 200).T
    assert (np.abs(x) + width <= 1 + 1e-6).all()
    assert (np.abs(y) + height <= 1 + 1e-6).all()
    is_whole = np.isclose(width, 1) & np.isclose(height, 1)
    assert (is_whole | ((width * height >= scale[0] - 1e-6) & (width * height <= scale[1] + 1e-6))).all()
    assert (width / height >= 3 / 4 - 1e-5).all()
    assert (width / height <= 4 / 3 + 1e-5).all()


def test_a_zoom_without_range_changes_nothing():
    zoom = Zoom(ZoomConfig(scale=(1.0, 1.0), ratio=(1.0, 1.0)))
    matrix = zoom.matrix(torch.from_numpy(zoom.draw(np.random.default_rng(0), 3)))
    torch.testing.assert_close(matrix, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))


def test_shifts_stay_within_their_share_of_the_field():
    shift = Shift(ShiftConfig(max_fraction=0.1))
    drawn = shift.draw(np.random.default_rng(1), DRAWS)
    assert 0.099 < np.abs(drawn).max() <= 0.1
    assert shift.matrix(torch.tensor([[0.1, -0.05]]))[0, :2, 2].tolist() == pytest.approx([0.2, -0.1])


def test_jitter_multiplies_then_stretches_about_the_mean():
    images = torch.tensor([[[[0.0, 2.0]]]])
    out = Jitter(JitterConfig()).apply(images, torch.tensor([[1.5, 0.5, 1.0]]))
    assert out.flatten().tolist() == pytest.approx([0.75, 2.25])  # 0, 3 about 1.5, halved


def test_saturation_zero_makes_all_bands_alike_and_keeps_their_mean():
    images = images_of(channels=3)
    out = Jitter(JitterConfig(saturation=0.5)).apply(images, torch.tensor([[1.0, 1.0, 0.0]]).expand(4, 3))
    torch.testing.assert_close(out, images.mean(dim=1, keepdim=True).expand_as(images))


def test_saturation_of_one_band_is_refused():
    with pytest.raises(RecipeError, match="these images have one"):
        Jitter(JitterConfig(saturation=0.5)).apply(images_of(), torch.ones(4, 3))


def test_clipping_ends_at_its_range():
    out = Jitter(JitterConfig(clip=(0.0, 1.0))).apply(images_of(), torch.full((4, 3), 1.4))
    assert out.min() >= 0
    assert out.max() == 1


def test_blur_is_scipys_gaussian_filter():
    images, sigma = images_of(3, 2, 24), [0.5, 1.0, 2.0]
    ours = Blur(BlurConfig(sigma=(0.1, 2.0), p=1.0)).apply(images, torch.tensor(sigma)[:, None])
    for image, blurred, width in zip(images, ours, sigma, strict=True):
        theirs = gaussian_filter(image.double().numpy(), (0, width, width), mode="nearest", radius=(0, 6, 6))
        np.testing.assert_allclose(blurred.numpy(), theirs, atol=1e-6)


def test_noise_is_standard_normal_and_differs_between_keys():
    field = normal_field(torch.tensor([0, 1, 1 << 40]), 40_000)
    for one in field:
        assert kstest(one.double().numpy(), "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(field.numpy()) - np.eye(3)).max() < 0.02


def test_noise_of_a_row_does_not_depend_on_the_rows_beside_it():
    noise, images = Noise(NoiseConfig(sigma=(0.1, 0.2), p=0.5)), images_of(8)
    parameters = torch.from_numpy(noise.draw(np.random.default_rng(2), 8))
    together = noise.apply(images, parameters)
    apart = torch.cat([noise.apply(images[i : i + 1], parameters[i : i + 1]) for i in range(8)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (RotateConfig, {"angle": 3}),
        (FlipConfig, {"p": 1.5}),
        (ZoomConfig, {"scale": (0.9, 0.8)}),
        (ZoomConfig, {"ratio": (0.0, 1.0)}),
        (JitterConfig, {"clip": (1.0, 0.0)}),
        (BlurConfig, {"sigma": (0.0, 1.0)}),
        (NoiseConfig, {"sigma": (0.2, 0.1)}),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, settings):
    with pytest.raises(ValidationError):
        config(**settings)
