"""Each augmentation by itself: how often it acts, what it does, that its input survives."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest
from torchvision.transforms.v2.functional import adjust_hue

from astrofm.errors import RecipeError
from astrofm.views.blur import Blur, BlurConfig
from astrofm.views.geometry import (
    Flip,
    FlipConfig,
    Rotate,
    RotateConfig,
    Shift,
    ShiftConfig,
    Size,
    SizeConfig,
    Zoom,
    ZoomConfig,
)
from astrofm.views.grayscale import Grayscale, GrayscaleConfig
from astrofm.views.noise import Noise, NoiseConfig, normal_field
from astrofm.views.photometry import Jitter, JitterConfig, turn_hue

DRAWS = 10_000
PIXEL_VIEWS = [
    lambda p: Jitter(JitterConfig(p=p)),
    lambda p: Blur(BlurConfig(sigma=(0.5, 2.0), p=p)),  # narrower than half a pixel changes next to nothing
    lambda p: Noise(NoiseConfig(sigma=(0.1, 0.2), p=p)),
    lambda p: Jitter(JitterConfig(brightness=0.0, contrast=0.0, hue=0.5, p=p)),
    lambda p: Grayscale(GrayscaleConfig(p=p)),
]


def images_of(num=4, channels=1, size=16):
    return torch.rand(num, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", PIXEL_VIEWS)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.8, 1.0])
def test_a_pixel_view_acts_with_its_probability(make, p):
    view = make(p)
    parameters = torch.from_numpy(view.draw(np.random.default_rng(5), DRAWS))
    images = images_of(1, 3, size=4).expand(DRAWS, 3, 4, 4)
    has_changed = (view(images, parameters) - images).abs().amax(dim=(1, 2, 3)) > 1e-9
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
def test_a_pixel_view_leaves_its_input_as_it_was_and_its_channels_as_many(make):
    view, images = make(1.0), images_of(channels=3)
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
    out = Jitter(JitterConfig()).apply(images, torch.tensor([[1.5, 0.5, 1.0, 0.0]]))
    assert out.flatten().tolist() == pytest.approx([0.75, 2.25])  # 0, 3 about 1.5, halved


def test_saturation_zero_makes_all_bands_alike_and_keeps_their_mean():
    images = images_of(channels=3)
    out = Jitter(JitterConfig(saturation=0.5)).apply(images, torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(4, 4))
    torch.testing.assert_close(out, images.mean(dim=1, keepdim=True).expand_as(images))


def test_saturation_of_one_band_is_refused():
    with pytest.raises(RecipeError, match="these images have one"):
        Jitter(JitterConfig(saturation=0.5))(images_of(), torch.ones(4, 4))


def test_hue_is_that_of_colorsys():
    colours = torch.rand(50, 3, 1, 1, generator=torch.Generator().manual_seed(2))
    turn = torch.linspace(-0.5, 0.5, 50)
    for found, colour, one in zip(turn_hue(colours, turn), colours, turn.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*colour.flatten().tolist())
        assert found.flatten().tolist() == pytest.approx(
            colorsys.hsv_to_rgb((hue + one) % 1, saturation, value), abs=2e-6
        )


def test_a_third_of_the_circle_takes_red_to_green_to_blue_and_grey_stays():
    colours = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.4, 0.4, 0.4]])[:, :, None, None]
    found = turn_hue(colours, torch.full((4,), 1 / 3))
    torch.testing.assert_close(found, colours[[1, 2, 0, 3]], atol=1e-6, rtol=0)


def test_every_cutout_has_a_hue_of_its_own_and_it_is_torchvisions():
    images, turn = images_of(channels=3), torch.tensor([-0.5, -0.1, 0.0, 0.3])
    parameters = torch.cat([torch.ones(4, 3), turn[:, None]], dim=1)
    found = Jitter(JitterConfig(hue=0.5)).apply(images, parameters)
    for ours, image, one in zip(found, images, turn.tolist(), strict=True):
        torch.testing.assert_close(ours, adjust_hue(image, one), atol=1e-5, rtol=0)
    assert torch.equal(found[2], images[2])


@given(low=st.floats(-5, 5), span=st.floats(0.1, 50), turn=st.floats(-0.5, 0.5))
def test_hue_commutes_with_brightness_and_offset_so_that_images_need_no_range(low, span, turn):
    images, turns = images_of(2, 3, 4), torch.full((2,), turn)
    torch.testing.assert_close(
        turn_hue(low + span * images, turns), low + span * turn_hue(images, turns), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_hue_of_other_than_three_bands_is_refused(channels):
    with pytest.raises(RecipeError, match=f"these images have {channels}: set it to 0"):
        Jitter(JitterConfig(hue=0.1))(images_of(channels=channels), torch.ones(4, 4))


def test_a_hue_leaves_the_draws_of_the_other_parts_as_they_were():
    without = Jitter(JitterConfig()).draw(np.random.default_rng(3), 100)
    with_hue = Jitter(JitterConfig(hue=0.1)).draw(np.random.default_rng(3), 100)
    np.testing.assert_array_equal(without[:, :3], with_hue[:, :3])
    assert (without[:, 3] == 0).all()
    assert (with_hue[:, 3] != 0).any()


@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation", "hue"])
def test_each_part_of_the_jitter_is_switched_by_itself(part):
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    images, column = images_of(channels=3), list(off).index(part)
    jitter = Jitter(JitterConfig(**{**off, part: 0.4}, p=1.0))
    drawn = torch.from_numpy(jitter.draw(np.random.default_rng(8), 4))
    others = [c for c in range(4) if c != column]
    assert torch.equal(drawn[:, others], torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(4, 4)[:, others])
    out = jitter.apply(images, drawn)
    assert (out - images).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    if part != "brightness":
        keeps = {"contrast": (1, 2, 3), "saturation": (1,)}
        if part in keeps:
            torch.testing.assert_close(out.mean(dim=keeps[part]), images.mean(dim=keeps[part]))
        else:
            torch.testing.assert_close(out.amax(dim=1), images.amax(dim=1), atol=1e-6, rtol=0)
            torch.testing.assert_close(out.amin(dim=1), images.amin(dim=1), atol=1e-6, rtol=0)
    assert torch.equal(Jitter(JitterConfig(**off, p=1.0)).apply(images, torch.tensor([[1.0, 1, 1, 0]] * 4)), images)


def test_jitter_is_its_three_parts_one_after_the_other():
    images = images_of(channels=3).double()
    parameters = torch.from_numpy(
        Jitter(JitterConfig(saturation=0.4, p=1.0)).draw(np.random.default_rng(9), 4)
    ).double()
    found = Jitter(JitterConfig(saturation=0.4)).apply(images, parameters)
    for ours, image, (brightness, contrast, saturation, _) in zip(found, images, parameters, strict=True):
        bright = image * brightness
        contrasted = bright.mean() + contrast * (bright - bright.mean())
        grey = contrasted.mean(dim=0, keepdim=True)
        torch.testing.assert_close(ours, grey + saturation * (contrasted - grey))


LAWS = {
    "rotate": (Rotate(RotateConfig()), 0, (0, 2 * np.pi)),
    "size": (Size(SizeConfig()), 0, (0.9, 1.1)),
    "shift x": (Shift(ShiftConfig(max_fraction=0.1)), 0, (-0.1, 0.1)),
    "shift y": (Shift(ShiftConfig(max_fraction=0.1)), 1, (-0.1, 0.1)),
    "brightness": (Jitter(JitterConfig(p=1.0)), 0, (0.6, 1.4)),
    "contrast": (Jitter(JitterConfig(contrast=1.5, p=1.0)), 1, (0.0, 2.5)),  # never below 0
    "saturation": (Jitter(JitterConfig(saturation=0.3, p=1.0)), 2, (0.7, 1.3)),
    "hue": (Jitter(JitterConfig(hue=0.1, p=1.0)), 3, (-0.1, 0.1)),
    "blur": (Blur(BlurConfig(p=1.0)), 0, (0.1, 2.0)),
    "noise": (Noise(NoiseConfig(sigma=(0.1, 0.2), p=1.0)), 0, (0.1, 0.2)),
}


@pytest.mark.parametrize("name", LAWS)
def test_parameters_are_uniform_over_the_range_of_their_settings(name):
    view, column, (low, high) = LAWS[name]
    drawn = view.draw(np.random.default_rng(12), DRAWS)[:, column]
    assert kstest((drawn - low) / (high - low), "uniform").pvalue > 0.01


def test_a_zoom_that_always_fits_has_a_uniform_area_and_ratio_and_lies_anywhere():
    width, height, x, y = Zoom(ZoomConfig(scale=(0.2, 0.5))).draw(np.random.default_rng(13), DRAWS).astype(float).T
    assert kstest((width * height - 0.2) / 0.3, "uniform").pvalue > 0.01
    assert kstest(np.log(width / height) / np.log(16 / 9) + 0.5, "uniform").pvalue > 0.01
    for place, side in ((x, width), (y, height)):
        assert kstest(place / (1 - side) / 2 + 0.5, "uniform").pvalue > 0.01


def test_clipping_ends_at_its_range():
    out = Jitter(JitterConfig(clip=(0.0, 1.0))).apply(images_of(), torch.full((4, 4), 1.4))
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
    together = noise(images, parameters)
    apart = torch.cat([noise(images[i : i + 1], parameters[i : i + 1]) for i in range(8)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (JitterConfig, {"hue": 0.6}),
        (GrayscaleConfig, {"p": -0.1}),
        (SizeConfig, {"factor": (1.1, 0.9)}),
        (ShiftConfig, {"max_fraction": 0.6}),
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
