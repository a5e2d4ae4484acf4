"""Cutouts as pictures."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from astrofm.errors import DataError
from astrofm.report.pictures import cutout_png


def pixels(png):
    picture = Image.open(BytesIO(png))
    assert picture.format == "PNG"
    return np.asarray(picture)


@pytest.mark.parametrize("colormap", ["gray", "ember"])
def test_north_is_up_and_the_first_column_left(colormap):
    image = np.zeros((1, 8, 8))
    image[0, 7, 0] = 1.0  # the largest y: the northern edge
    shown = pixels(cutout_png(image, size_pix=8, colormap=colormap)).sum(axis=-1)
    assert np.unravel_index(shown.argmax(), shown.shape) == (0, 0)


def test_three_channels_are_red_green_and_blue():
    image = np.zeros((3, 4, 4), dtype=np.uint8)
    image[0, 0], image[1, 1], image[2, 3] = 255, 128, 7
    shown = pixels(cutout_png(image, size_pix=4))
    np.testing.assert_array_equal(shown[::-1], np.moveaxis(image, 0, -1))


def test_ember_is_lighter_for_every_brighter_pixel():
    shown = pixels(cutout_png(np.arange(256.0).reshape(1, 1, 256), size_pix=256, colormap="ember"))[0]
    luminance = shown @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) >= -0.5).all()
    assert luminance[0] < 5
    assert luminance[-1] > 245


def test_eight_bits_keep_their_brightness_and_floats_span_the_range():
    eight_bit = np.array([[[10, 20]]], dtype=np.uint8)
    assert pixels(cutout_png(eight_bit, size_pix=2))[0, :, 0].tolist() == [10, 20]
    assert pixels(cutout_png(eight_bit.astype(float), size_pix=2))[0, :, 0].tolist() == [0, 255]
    clipped = pixels(cutout_png(np.array([[[-5.0, 1.0, 9.0]]]), size_pix=3, limits=(0.0, 2.0)))
    assert clipped[0, :, 0].tolist() == [0, 128, 255]


def test_what_was_not_observed_is_transparent():
    image = np.linspace(0, 1, 16).reshape(1, 4, 4)
    image[0, 0, 0] = np.nan
    shown = pixels(cutout_png(image, size_pix=4))
    assert shown.shape == (4, 4, 4)
    assert shown[3, 0, 3] == 0
    assert (np.delete(shown[..., 3].ravel(), 12) == 255).all()


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan])
def test_an_image_of_one_value_is_dark(value):
    assert pixels(cutout_png(np.full((1, 5, 5), value)))[..., :3].max() == 0


def test_size_is_the_longer_side_and_the_input_is_left_alone():
    image = np.random.default_rng(0).random((1, 10, 20))
    before = image.copy()
    assert pixels(cutout_png(image, size_pix=100)).shape[:2] == (50, 100)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4), (1, 0, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(DataError, match="1 or 3 channels"):
        cutout_png(np.zeros(shape))
