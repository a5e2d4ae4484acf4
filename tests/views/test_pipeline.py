"""The pipeline: where light ends up, in arcsec; the same views whatever the ranks; another step, other views."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.card import Step
from astrofm.data.batch import Batch, Share
from astrofm.errors import ContractError, UnknownNameError
from astrofm.views.base import GeometryView, PhysicalView, Stage
from astrofm.views.blur import Blur, BlurConfig
from astrofm.views.geometry import Flip, FlipConfig, Rotate, RotateConfig, Shift, ShiftConfig, Zoom, ZoomConfig
from astrofm.views.noise import Noise, NoiseConfig
from astrofm.views.photometry import Jitter, JitterConfig
from astrofm.views.pipeline import CoarseStart, ViewPipeline
from astrofm.views.stretch import InputPlan


class Turned(GeometryView):
    """A fixed matrix for every cutout."""

    stage = Stage.GEOMETRY
    invariance = "test"

    def __init__(self, matrix):
        self.fixed = torch.tensor(matrix, dtype=torch.float64)

    def draw(self, rng, num):
        return np.zeros((num, 0), dtype=np.float32)

    def matrix(self, parameters):
        return self.fixed.expand(len(parameters), 3, 3)


class Doubled(PhysicalView):
    """Twice the brightness, before the stretch."""

    stage = Stage.PHYSICAL
    invariance = "test"

    def draw(self, rng, num):
        return np.full((num, 1), 2.0, dtype=np.float32)

    def apply(self, images, parameters, sky):
        return images * parameters[:, :, None, None], sky


QUARTER = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
ALL_VIEWS = (
    Rotate(RotateConfig()),
    Zoom(ZoomConfig()),
    Shift(ShiftConfig()),
    Flip(FlipConfig()),
    Jitter(JitterConfig()),
    Blur(BlurConfig(p=0.5)),
    Noise(NoiseConfig(sigma=(0.1, 0.2))),
)


def batch_of(images, *, survey="a", first=0, global_size=None, **meta):
    """A batch from one store."""
    size = len(images)
    columns = {name: np.broadcast_to(np.float64(value), (size,)) for name, value in meta.items()}
    share = Share(survey, images, None, np.arange(size), columns)
    return Batch((share,), np.arange(first, first + size), first, global_size or size)


def pipeline_of(*views, size_pix=32, fov=None, num_views=1, seed=0, coarse=None, **plan):
    given = {"stretch": (), **plan}
    inputs = {survey: InputPlan(survey, **given) for survey in ("a", "b")}
    options = {"num_views": num_views, "size_pix": size_pix, "field_of_view_arcsec": fov}
    return ViewPipeline(inputs, views, **options, seed=seed, coarse=coarse)


def random_images(*shape, seed=0, dtype=np.float32):
    values = np.random.default_rng(seed).random(shape) * 255
    return values.astype(dtype)


def gaussian(size, sigma_pix, x=0.0, y=0.0):
    """A round source at (x, y) pixels from the centre of the array."""
    place = np.arange(size) - (size - 1) / 2
    return np.exp(-0.5 * ((place[:, None] - y) ** 2 + (place[None] - x) ** 2) / sigma_pix**2).astype(np.float32)[
        None, None
    ]


def centre_of_light(image):
    """Return (x, y) of the flux-weighted mean, from the centre of the array."""
    place = np.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    total = image.sum()
    return (image.sum(axis=-2) @ place) / total, (image.sum(axis=-1) @ place) / total


@pytest.mark.parametrize("size", [32, 33])
def test_matching_scale_and_no_view_give_the_pixels_back(size):
    images = random_images(3, 2, size, size)
    out = pipeline_of(size_pix=size).plain(batch_of(images), "cpu")
    torch.testing.assert_close(out, torch.from_numpy(images), rtol=0, atol=1e-2)  # of 255


def test_the_centre_of_a_larger_cutout_is_cut_out_exactly():
    images = random_images(2, 1, 300, 300)
    out = pipeline_of(size_pix=64, fov=64 * 1.8, pixel_scale_arcsec=1.8).plain(batch_of(images), "cpu")
    torch.testing.assert_close(out, torch.from_numpy(images[..., 118:182, 118:182]), rtol=0, atol=1e-2)


@given(turns=st.integers(0, 4), is_flipped=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_quarter_turns_and_flips_move_pixels_without_changing_them(turns, is_flipped, seed):
    images = random_images(2, 1, 24, 24, seed=seed)
    mirror = Turned(np.diag([-1.0 if is_flipped else 1.0, 1.0, 1.0]).tolist())
    out = pipeline_of(mirror, *[Turned(QUARTER)] * turns, size_pix=24)(batch_of(images), 0, "cpu").images[0]
    expected = np.flip(images, axis=-1) if is_flipped else images
    expected = np.rot90(expected, turns, axes=(-2, -1))
    torch.testing.assert_close(out, torch.from_numpy(expected.copy()), rtol=0, atol=1e-2)


def test_the_drawn_angle_of_four_quarter_turns_is_the_identity():
    quarter = Rotate(RotateConfig()).matrix(torch.tensor([[np.pi / 2]]))[0]
    torch.testing.assert_close(
        torch.linalg.matrix_power(quarter, 4), torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(quarter, torch.tensor(QUARTER, dtype=torch.float64), atol=1e-6, rtol=0)


@given(x=st.floats(-8, 8), y=st.floats(-8, 8), angle=st.floats(0, 6.28))
@settings(max_examples=20, deadline=None)
def test_a_rotated_source_moves_where_the_rotation_takes_it(x, y, angle):
    turn = Turned(Rotate(RotateConfig()).matrix(torch.tensor([[angle]]))[0].tolist())
    image = pipeline_of(turn, size_pix=48)(batch_of(gaussian(48, 2.0, x, y)), 0, "cpu").images[0][0, 0].numpy()
    # An output position p shows R p of the input, so the source appears at the inverse rotation of its place.
    expected = (np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y)
    assert centre_of_light(image) == pytest.approx(expected, abs=0.02)


def test_shift_and_zoom_compose_in_the_order_they_are_given():
    shift = Turned([[1.0, 0.0, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    zoom = Turned(np.diag([0.5, 0.5, 1.0]).tolist())
    source = batch_of(gaussian(64, 1.5, x=8.0))  # a shift by a quarter of half the field is 8 pixels
    image = pipeline_of(shift, zoom, size_pix=64)(source, 0, "cpu").images[0][0, 0].numpy()
    assert centre_of_light(image) == pytest.approx((0.0, 0.0), abs=0.02)
    image = pipeline_of(zoom, shift, size_pix=64)(source, 0, "cpu").images[0][0, 0].numpy()
    assert centre_of_light(image) == pytest.approx((8.0, 0.0), abs=0.02)  # 16 after the zoom, then shifted back by 8


@pytest.mark.parametrize("size", [150, 300, 301])
def test_a_source_keeps_its_place_and_its_brightness_when_the_image_is_averaged_down(size):
    image = gaussian(size, 12.0, x=20.0, y=-31.0)  # 2.5 pixels of the input: what is sharper, sampling changes
    small = pipeline_of(size_pix=64).plain(batch_of(image), "cpu")[0, 0].numpy()
    factor = size / 64
    assert centre_of_light(small) == pytest.approx((20.0 / factor, -31.0 / factor), abs=0.02)
    assert small.sum() * factor**2 == pytest.approx(image.sum(), rel=0.01)


def test_averaging_down_by_two_is_the_mean_of_four():
    images = random_images(2, 1, 64, 64)
    out = pipeline_of(size_pix=32).plain(batch_of(images), "cpu")
    means = images.reshape(2, 1, 32, 2, 32, 2).mean(axis=(3, 5))
    torch.testing.assert_close(out, torch.from_numpy(means), rtol=0, atol=1e-2)


@pytest.mark.parametrize("own_scale", [False, True])
def test_two_pixel_scales_show_a_source_at_the_same_angular_size(own_scale):
    fine, coarse = gaussian(300, 10.0, x=30.0), gaussian(110, 4.0, x=12.0)  # 1 and 2.5 arcsec: 10 and 30 arcsec each
    shares = []
    for place, (survey, image, scale) in enumerate([("a", fine, 1.0), ("b", coarse, 2.5)]):
        meta = {"pixel_scale": np.array([scale if own_scale else np.nan])}
        shares.append(Share(survey, image, None, np.array([1 - place]), meta))
    plans = {
        survey: InputPlan(survey, (), pixel_scale_arcsec=None if own_scale else scale)
        for survey, scale in (("a", 1.0), ("b", 2.5))
    }
    pipeline = ViewPipeline(plans, (), num_views=1, size_pix=64, field_of_view_arcsec=128.0, seed=0)
    out = pipeline.plain(Batch(tuple(shares), np.arange(2), 0, 2), "cpu")[:, 0].numpy()
    np.testing.assert_allclose(out[0], out[1], atol=0.03)
    assert centre_of_light(out[1]) == pytest.approx((15.0, 0.0), abs=0.1)


def test_an_unknown_pixel_scale_shows_the_whole_cutout():
    images = random_images(1, 1, 64, 64)
    known_nowhere = pipeline_of(size_pix=64, fov=10.0).plain(batch_of(images, pixel_scale=np.nan), "cpu")
    torch.testing.assert_close(known_nowhere, torch.from_numpy(images), rtol=0, atol=1e-2)


@pytest.mark.parametrize("size", [300, 301])
@pytest.mark.parametrize("fov_pix", [64, 80, 128, 150, 200])
def test_cropping_before_the_stretch_changes_nothing_but_rounding(size, fov_pix):
    batch = batch_of(random_images(4, 1, size, size, dtype=np.uint8))
    scale = [Step(name="scale", settings={"factor": 1 / 255})]
    setting = {"size_pix": 64, "fov": 1.8 * fov_pix, "num_views": 2, "pixel_scale_arcsec": 1.8, "stretch": scale}
    cropping, whole = (pipeline_of(*ALL_VIEWS, **setting, has_one_scale=has) for has in (True, False))
    for a, b in zip(cropping(batch, 3, "cpu").images, whole(batch, 3, "cpu").images, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)
    torch.testing.assert_close(cropping.plain(batch, "cpu"), whole.plain(batch, "cpu"), rtol=0, atol=2e-4)


def test_a_scale_that_a_header_rounds_is_that_of_the_survey():
    images = random_images(2, 1, 300, 300)
    setting = {"size_pix": 64, "fov": 128 * 1.8, "pixel_scale_arcsec": 1.8}
    rounded = pipeline_of(**setting).plain(batch_of(images, pixel_scale=1.8001), "cpu")
    assert torch.equal(rounded, pipeline_of(**setting).plain(batch_of(images, pixel_scale=1.8), "cpu"))


@pytest.mark.parametrize("fov_pix", [64, 128])
def test_a_row_does_not_depend_on_the_pixel_scale_of_its_neighbours(fov_pix):
    images = random_images(4, 1, 300, 300)
    pipeline = pipeline_of(*ALL_VIEWS, size_pix=64, fov=1.8 * fov_pix, pixel_scale_arcsec=1.8)
    first, second = batch_of(images), batch_of(images, pixel_scale=[1.8, 1.8, 1.8, 1.2])
    assert torch.equal(pipeline(first, 2, "cpu").images[0][:3], pipeline(second, 2, "cpu").images[0][:3])


@pytest.mark.parametrize("fov", [None, 64.0, 115.2])
def test_two_ranks_see_the_views_of_one_bit_for_bit(fov):
    images = random_images(8, 1, 128, 128, dtype=np.uint8)
    pipeline = pipeline_of(*ALL_VIEWS, num_views=2, fov=fov, pixel_scale_arcsec=1.8, has_one_scale=True)
    whole = pipeline(batch_of(images), 5, "cpu")
    halves = [pipeline(batch_of(images[i : i + 4], first=i, global_size=8), 5, "cpu") for i in (0, 4)]
    for view in range(2):
        assert torch.equal(whole.images[view], torch.cat([half.images[view] for half in halves]))


def test_views_differ_between_steps_seeds_and_branches_and_not_between_calls():
    batch = batch_of(random_images(4, 1, 32, 32))
    make = pipeline_of(*ALL_VIEWS, num_views=2)
    first, again, later = make(batch, 0, "cpu"), make(batch, 0, "cpu"), make(batch, 1, "cpu")
    other = pipeline_of(*ALL_VIEWS, num_views=2, seed=1)(batch, 0, "cpu")
    assert torch.equal(first.images[0], again.images[0])
    for different in (later.images[0], other.images[0], first.images[1]):
        assert not torch.allclose(first.images[0], different)


@pytest.mark.parametrize("fov", [None, 64.0])
def test_first_steps_see_the_same_field_in_fewer_pixels_and_the_others_what_they_always_see(fov):
    """Pixels of a whole number of input pixels, so that averaging them down is what the coarse view shows."""
    options = {"num_views": 2, "fov": fov, "size_pix": 64, "pixel_scale_arcsec": 1.0, "has_one_scale": True}
    batch = batch_of(random_images(4, 1, 64, 64))
    turned = Turned(QUARTER)
    coarse = pipeline_of(turned, coarse=CoarseStart(32, 5), **options)
    always = pipeline_of(turned, **options)
    for step in (0, 4):
        expected = torch.nn.functional.avg_pool2d(always(batch, step, "cpu").images[1], 2)
        torch.testing.assert_close(coarse(batch, step, "cpu").images[1], expected, rtol=1e-5, atol=1e-3)
    for step in (5, 9):
        assert torch.equal(coarse(batch, step, "cpu").images[1], always(batch, step, "cpu").images[1])
    assert torch.equal(coarse.plain(batch, "cpu"), always.plain(batch, "cpu"))


def test_the_global_generators_are_neither_read_nor_moved():
    batch = batch_of(random_images(2, 1, 32, 32))
    state = torch.get_rng_state()
    pipeline_of(*ALL_VIEWS)(batch, 0, "cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_the_batch_is_left_as_it_was_also_where_it_is_read_only():
    images = random_images(2, 1, 32, 32)
    images[0, 0, 3, 3] = np.nan
    before = images.copy()
    images.flags.writeable = False
    out = pipeline_of(*ALL_VIEWS)(batch_of(images), 0, "cpu").images[0]
    np.testing.assert_array_equal(images, before)
    assert torch.isfinite(out).all()


def test_outside_the_cutout_the_sky_is_zero_before_normalisation():
    images = np.ones((1, 1, 32, 32), dtype=np.float32)
    half = Turned(np.diag([2.0, 2.0, 1.0]).tolist())
    out = pipeline_of(half, mean=(0.25,), std=(0.5,))(batch_of(images), 0, "cpu").images[0]
    assert out[0, 0, 0, 0] == -0.5
    assert out[0, 0, 16, 16] == 1.5


@pytest.mark.parametrize("num_bytes", [1, 5 * 3 * 16 * 16 * 4])
def test_how_many_images_are_worked_on_together_changes_nothing(num_bytes, monkeypatch):
    """One by one, and by fives, against all at once; two surveys, whose rows lie between each other."""
    shares = tuple(
        Share(survey, random_images(8, 3, 40, 40, seed=seed, dtype=np.uint8), mask, np.arange(seed, 16, 2), meta)
        for survey, seed, mask, meta in (
            ("a", 0, None, {"pixel_scale": np.linspace(1.0, 3.0, 8)}),
            ("b", 1, np.random.default_rng(3).random((8, 40, 40)) < 0.1, {}),
        )
    )
    plans = {"a": InputPlan("a", (), (1.0,), (2.0,), pixel_scale_arcsec=2.0), "b": InputPlan("b", (), (3.0,), (4.0,))}
    views = (*ALL_VIEWS, Jitter(JitterConfig(saturation=0.2, hue=0.1, p=0.5)))
    options = {"num_views": 2, "size_pix": 16, "field_of_view_arcsec": 60.0, "seed": 4}
    pipeline = ViewPipeline(plans, views, **options)
    batch = Batch(shares, np.arange(16), 0, 16)
    whole, plain = pipeline(batch, 3, "cpu").images, pipeline.plain(batch, "cpu")
    monkeypatch.setattr("astrofm.views.pipeline.PIECE_BYTES", num_bytes)
    for one, other in zip(
        (*pipeline(batch, 3, "cpu").images, pipeline.plain(batch, "cpu")), (*whole, plain), strict=True
    ):
        assert torch.equal(one, other)


def test_each_share_has_its_own_normalisation_and_place():
    ones = np.ones((2, 1, 8, 8), dtype=np.float32)
    shares = (Share("b", ones, None, np.array([0, 3]), {}), Share("a", 4 * ones, None, np.array([2, 1]), {}))
    plans = {"a": InputPlan("a", (), (1.0,), (1.0,)), "b": InputPlan("b", (), (0.0,), (0.5,))}
    pipeline = ViewPipeline(plans, (), num_views=1, size_pix=8, field_of_view_arcsec=None, seed=0)
    out = pipeline.plain(Batch(shares, np.arange(4), 0, 4), "cpu")
    assert out[:, 0, 4, 4].tolist() == [2.0, 3.0, 3.0, 2.0]


def test_masked_pixels_are_zero():
    images = np.full((1, 1, 4, 4), 200, dtype=np.uint8)
    batch = batch_of(images)
    mask = np.zeros((1, 4, 4), dtype=bool)
    mask[0, 1, 2] = True
    masked = dataclasses.replace(batch, shares=(dataclasses.replace(batch.shares[0], mask=mask),))
    out = pipeline_of(size_pix=4).plain(masked, "cpu")[0, 0]
    assert out[1, 2] == 0
    assert (out == 200).sum() == 15


def test_physical_views_come_before_the_stretch():
    images = np.full((2, 1, 8, 8), 2.0, dtype=np.float32)
    floor = [Step(name="sigma_clip_floor", settings={"k": 3})]  # 2 is below 3 rms, 4 is above
    pipeline = pipeline_of(Doubled(), size_pix=8, num_views=2, stretch=floor)
    batch = batch_of(images, rms=1.0)
    assert [view[0, 0, 4, 4].item() for view in pipeline(batch, 0, "cpu").images] == [4.0, 4.0]
    assert pipeline.plain(batch, "cpu")[0, 0, 4, 4] == 0


def test_labels_and_rows_come_along():
    batch = dataclasses.replace(batch_of(random_images(2, 1, 8, 8)), labels={"label": np.array([1, 0])})
    views = pipeline_of(size_pix=8)(batch, 0, "cpu")
    assert views.labels["label"].tolist() == [1, 0]
    assert views.row_ids.tolist() == [0, 1]


def test_a_survey_without_a_plan_and_constants_that_do_not_fit_are_refused():
    images = random_images(1, 2, 8, 8)
    with pytest.raises(UnknownNameError, match="no survey with an input plan named 'c'"):
        pipeline_of().plain(batch_of(images, survey="c"), "cpu")
    with pytest.raises(ContractError, match="3 values of mean for 2 channels"):
        pipeline_of(mean=(1.0, 2.0, 3.0)).plain(batch_of(images), "cpu")
