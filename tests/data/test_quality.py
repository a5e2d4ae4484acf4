import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrofm.card import QualityRules
from astrofm.data.quality import fit_to, judge, judge_all, too_small

sizes = st.integers(1, 12)


def field(size=20, dtype=np.float32):
    return np.random.default_rng(0).uniform(0, 255, (2, size, size)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_an_ordinary_image_is_accepted(dtype):
    assert judge(field(dtype=dtype)) is None
    assert judge(field(dtype=dtype), np.zeros((20, 20), bool)) is None


def with_missing(num_rows):
    image = field()
    image[:, :num_rows] = np.nan
    return image


def one_band(value):
    image = field()
    image[1] = value
    return image


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (with_missing(20), "no data"),
        (with_missing(6), "missing pixels"),
        (one_band(np.inf), "missing pixels"),
        (np.concatenate([field(), field(), one_band(np.nan)]), "empty band"),
        (one_band(3.0), "constant image"),
        (np.zeros((1, 4, 4), np.uint8), "constant image"),
        (field().astype(complex), "not numeric"),
        (field() > 1, "not numeric"),
        (field().astype(str), "not numeric"),
        (field()[0], "wrong shape"),
        (np.zeros((1, 0, 4)), "wrong shape"),
    ],
)
def test_an_unfit_image_is_rejected_by_name(image, reason):
    rejected = judge(image)
    assert rejected is not None
    assert rejected.reason == reason
    assert rejected.detail


def test_a_quarter_may_be_missing_whether_masked_or_nan():
    assert judge(with_missing(5)) is None
    mask = np.zeros((20, 20), bool)
    mask[:5] = True
    assert judge(field(), mask) is None
    mask[5, 0] = True
    assert judge(field(), mask).reason == "missing pixels"
    assert judge(field(), mask, QualityRules(max_missing=0.5)) is None
    assert judge(field(), mask[1:]).reason == "wrong shape"


def test_the_centre_150_of_300_pixels_are_75_to_225():
    image = np.arange(300.0 * 300.0).reshape(1, 300, 300)
    fitted, mask = fit_to(image, None, (150, 150))
    np.testing.assert_array_equal(fitted, image[:, 75:225, 75:225])
    assert mask is None


@given(sizes, sizes, sizes, sizes)
def test_the_centre_pixel_stays_the_centre_pixel(ny, nx, new_ny, new_nx):
    image = np.arange(1.0, 1.0 + ny * nx).reshape(1, ny, nx)
    fitted, _ = fit_to(image, None, (new_ny, new_nx))
    assert fitted.shape == (1, new_ny, new_nx)
    assert fitted[0, new_ny // 2, new_nx // 2] == image[0, ny // 2, nx // 2]


@given(sizes, sizes, st.integers(0, 8), st.sampled_from([np.float32, np.uint8]), st.booleans())
def test_padding_then_cropping_gives_the_image_back(ny, nx, more, dtype, has_mask):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (3, ny, nx)).astype(dtype)
    mask = rng.random((ny, nx)) < 0.5 if has_mask else None
    padded, padded_mask = fit_to(image, mask, (ny + more, nx + more))
    again, again_mask = fit_to(padded, padded_mask, (ny, nx))
    np.testing.assert_array_equal(again, image)
    assert again.dtype == dtype
    if again_mask is not None:
        np.testing.assert_array_equal(again_mask, mask if has_mask else np.zeros((ny, nx), bool))


def test_added_pixels_are_nan_or_masked():
    floats, mask = fit_to(np.ones((1, 2, 2), np.float32), None, (4, 4))
    assert np.isnan(floats).sum() == 12
    assert mask is None
    integers, mask = fit_to(np.ones((1, 2, 2), np.uint8), None, (4, 4))
    np.testing.assert_array_equal(mask, integers[0] == 0)
    assert mask.sum() == 12
    _, mask = fit_to(np.ones((1, 2, 2), np.float32), np.zeros((2, 2), bool), (4, 4))
    assert mask.sum() == 12


def test_a_picture_that_is_mostly_white_is_saturated():
    picture = field(dtype=np.uint8)
    picture[:, :11] = 255
    assert judge(picture).reason == "saturated"
    assert judge(picture, rules=QualityRules(max_saturated=1)) is None
    assert judge(picture.astype(np.float32)) is None  # whose range has no top


def test_an_image_that_fills_less_than_a_quarter_is_too_small():
    assert too_small((10, 10), (20, 20)) is None
    assert too_small((9, 10), (20, 20)).reason == "too small"
    assert too_small((300, 4), (20, 20)).reason == "too small"
    assert too_small((300, 300), (20, 20)) is None


pixel = st.sampled_from([0.0, 1.0, 255.0, np.nan, np.inf])


@given(st.data(), st.sampled_from([np.float32, np.float64, np.uint8, bool]), st.booleans())
def test_many_are_judged_as_one_by_one(data, dtype, has_masks):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)))
    num = int(np.prod(shape))
    values = np.array(data.draw(st.lists(pixel, min_size=num, max_size=num))).reshape(shape)
    images = (values if np.dtype(dtype).kind == "f" else np.nan_to_num(values, posinf=7)).astype(dtype)
    hidden = data.draw(st.lists(st.booleans(), min_size=num, max_size=num)) if has_masks else []
    masks = np.array(hidden).reshape(shape)[:, 0] if has_masks else None
    rules = QualityRules(max_missing=data.draw(st.sampled_from([0.0, 0.25, 0.9])))
    one_by_one = {
        place: found
        for place, image in enumerate(images)
        if (found := judge(image, None if masks is None else masks[place], rules)) is not None
    }
    assert judge_all(images, masks, rules) == one_by_one


@given(sizes, sizes, sizes, sizes, st.sampled_from([np.float32, np.uint8]), st.booleans())
def test_many_are_fitted_as_one_by_one(ny, nx, new_ny, new_nx, dtype, has_masks):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (3, 2, ny, nx)).astype(dtype)
    masks = rng.random((3, ny, nx)) < 0.5 if has_masks else None
    fitted, fitted_masks = fit_to(images, masks, (new_ny, new_nx))
    for place, image in enumerate(images):
        one, mask = fit_to(image, None if masks is None else masks[place], (new_ny, new_nx))
        np.testing.assert_array_equal(fitted[place], one)
        assert (fitted_masks is None) == (mask is None)
        if mask is not None:
            np.testing.assert_array_equal(fitted_masks[place], mask)
