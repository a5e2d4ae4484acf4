"""Physical views in the pipeline: what they are told, what the stretch is told after them, rows that stand alone."""

import dataclasses

import numpy as np
import pytest
import torch
from astropy.io import fits

from astrofm.card import Band, Beam, Step
from astrofm.data.batch import Batch, Share
from astrofm.data.files.noise import clipped_std
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.errors import PluginError, RecipeError
from astrofm.parts import build_view
from astrofm.plan import check_views, input_plan, plan_run, rows_of_splits
from astrofm.recipe import NamedPart
from astrofm.views.base import PhysicalView, PixelView, Sky, Stage
from astrofm.views.pipeline import ViewPipeline
from astrofm.views.stretch import InputPlan

OPTICAL = tuple(Band(name=f"DECam-{name}", unit="nanomaggy", wavelength_nm=600.0) for name in "gr")
NEAR_INFRARED = tuple(Band(name=f"TEST-{name}", unit="nanomaggy", wavelength_nm=1200.0) for name in "YJ")
PSF = Beam(bmaj_arcsec=1.2, bmin_arcsec=1.2)
FLOOR = (Step(name="sigma_clip_floor", settings={"k": 3}),)


class Told(PhysicalView):
    """Keeps what it is told."""

    invariance = "test"

    def __init__(self):
        self.sky = None

    def draw(self, rng, num):
        return np.zeros((num, 1), dtype=np.float32)

    def apply(self, images, parameters, sky):
        assert torch.isfinite(images).all()
        self.sky = sky
        return images, sky


def part(name, **settings):
    return build_view(NamedPart(name=name, settings=settings))


def all_views():
    return (
        part("dust", ebv_in_pixels=0.0, p=0.7),
        part("psf", factor=[1.0, 4.0], axis_ratio=[0.5, 1.0], p=0.7),
        part("sky-noise", factor=[1.0, 2.0], correlated=True, p=0.7),
        part("dim", p=0.7),
        part("rotate"),
    )


def plans(stretch=(), **changes):
    shared = {"stretch": stretch, "pixel_scale_arcsec": 0.3, "unit": "nanomaggy", "beam": PSF} | changes
    return {
        "optical": InputPlan("optical", **({"bands": OPTICAL} | shared)),
        "infrared": InputPlan("infrared", bands=NEAR_INFRARED, **shared),
    }


def pipeline_of(*views, num_views=1, size_pix=24, inputs=None):
    inputs = plans() if inputs is None else inputs
    return ViewPipeline(inputs, views, num_views=num_views, size_pix=size_pix, field_of_view_arcsec=None, seed=0)


def images_of(num, channels=2, size=24, seed=0):
    return np.random.default_rng(seed).normal(size=(num, channels, size, size)).astype(np.float32)


def share_of(images, survey="optical", places=None, **columns):
    meta = {"rms": np.linspace(0.5, 1.5, len(images))} | {name: np.array(values) for name, values in columns.items()}
    return Share(survey, images, None, np.arange(len(images)) if places is None else places, meta)


def batch_of(*shares, first=0, global_size=None):
    size = sum(len(share.places) for share in shares)
    return Batch(shares, np.arange(first, first + size), first, global_size or size)


def test_a_cutouts_own_values_come_before_those_of_the_card():
    told = Told()
    nan = np.nan
    share = share_of(
        images_of(3),
        pixel_scale=[0.3, 0.5, nan],
        ebv=[0.1, nan, 0.2],
        bmaj=[nan, 2.0, nan],
        bmin=[nan, 1.5, 1.0],
        bpa=[nan, 40.0, nan],
        orientation_deg=[0.0, 15.0, nan],
    )
    pipeline_of(told, num_views=2)(batch_of(share), 0, "cpu")
    sky = told.sky
    assert sky.bands == ("DECam-g", "DECam-r")
    assert sky.wavelengths_nm == (600.0, 600.0)
    assert sky.unit == "nanomaggy"
    assert sky.pixel_scale_arcsec.tolist() == pytest.approx([0.3, 0.5, 0.3] * 2)
    assert sky.rms.tolist() == [[0.5, 0.5], [1.0, 1.0], [1.5, 1.5]] * 2
    assert sky.fwhm_arcsec[:, 1].tolist() == [pytest.approx(axes) for axes in [[1.2, 1.2], [2.0, 1.5], [1.2, 1.2]] * 2]
    assert sky.position_angle_deg[:, 0].tolist() == [0.0, 25.0, 0.0] * 2
    assert sky.ebv[1::3].isnan().all()
    assert sky.ebv[::3].tolist() == pytest.approx([0.1, 0.1])


def test_what_nothing_gives_is_unknown():
    told = Told()
    inputs = {"optical": InputPlan("optical", ())}
    share = dataclasses.replace(share_of(images_of(2)), meta={})
    pipeline_of(told, inputs=inputs)(batch_of(share), 0, "cpu")
    for name in ("pixel_scale_arcsec", "rms", "fwhm_arcsec", "ebv"):
        assert getattr(told.sky, name).isnan().all()
    assert told.sky.bands == ("unknown", "unknown")
    with pytest.raises(RecipeError, match="in 'no unit'"):
        pipeline_of(part("dim"), inputs=inputs)(batch_of(share), 0, "cpu")


def test_dust_that_the_stretch_removes_is_not_in_the_pixels_any_more():
    told = Told()
    deredden = (Step(name="deredden", settings={"coefficients": [3.0, 2.0]}),)
    share = share_of(np.ones((2, 2, 8, 8), dtype=np.float32), ebv=[0.1, 0.2])
    pipeline = pipeline_of(told, part("dust", ebv={"law": "uniform", "low": 0.3, "high": 0.3}), inputs=plans(deredden))
    out = pipeline(batch_of(share), 0, "cpu").images[0]
    assert told.sky.ebv.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(told.sky.rms[0], 0.5 * 10 ** (0.4 * np.array([0.3, 0.2])), rtol=1e-5)
    expected = 10 ** (0.4 * np.array([3.0, 2.0]) * 0.2 - 0.4 * np.array([3.214, 2.165]) * 0.3)
    np.testing.assert_allclose(out[1, :, 4, 4], expected, rtol=1e-5)


def test_the_stretch_is_told_the_noise_of_the_new_observation():
    images = np.full((1, 2, 16, 16), 4.0, dtype=np.float32)
    images[..., 8, 8] = 1e6
    share = dataclasses.replace(share_of(images), meta={"rms": np.array([1.0])})  # 4 is above 3 rms of 1, not of 2
    pixels = slice(2, 6)
    faint = pipeline_of(
        part("dust", ebv={"law": "uniform", "low": 0.1, "high": 0.1}, ebv_in_pixels=0.0),
        size_pix=16,
        inputs=plans(FLOOR),
    )(batch_of(share), 0, "cpu").images[0]
    assert (faint[..., pixels, pixels] > 0).all()  # the noise is dimmed with the source: still 4 rms
    told = Told()
    noisy = pipeline_of(part("sky-noise", factor=[4.0, 4.0], p=1.0), told, size_pix=16, inputs=plans(FLOOR))
    out = noisy(batch_of(share), 0, "cpu").images[0]
    assert told.sky.rms.tolist() == [[4.0, 4.0]]
    assert (out[out > 0] > 12).all()
    assert (out == 0).float().mean() > 0.9


def test_the_stretch_has_the_noise_of_each_band_with_and_without_physical_views():
    images = images_of(1, size=64) * np.array([1.0, 10.0], dtype=np.float32)[:, None, None]
    share = dataclasses.replace(share_of(images), meta={"rms": np.array([[1.0, 10.0]])})
    pipeline = pipeline_of(part("dim", p=0.0), size_pix=64, inputs=plans(FLOOR))
    plain, viewed = pipeline.plain(batch_of(share), "cpu"), pipeline(batch_of(share), 0, "cpu").images[0]
    assert torch.equal(plain, viewed)
    assert (plain > 0).float().mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.0013, 0.0013], abs=0.002)


def test_a_run_learns_before_it_begins_what_its_views_will_miss(mock_stores, tiny_recipe, monkeypatch):
    plan = plan_run(tiny_recipe("mirabest"), {"mirabest": mock_stores["mirabest"]})
    check_views([part("stripes", p=0.001), part("sky-noise", factor=[1.0, 2.0])], plan)
    known = mock_stores["mirabest"].noise()
    known[plan.feeds[0].rows[3]] = np.nan
    monkeypatch.setattr(CutoutStore, "noise", lambda store: known)
    with pytest.raises(RecipeError, match=r"of survey 'mirabest', the view 'stripes' needs the rms, unknown of 1 of"):
        check_views([part("rotate"), part("stripes", p=0.001)], plan)


def test_missing_and_masked_pixels_stay_empty_whatever_the_views_add():
    images = np.full((2, 2, 24, 24), 5.0, dtype=np.float32)
    images[0, 1, 3, 4] = np.nan
    mask = np.zeros((2, 24, 24), dtype=bool)
    mask[1, 10, 12] = True
    share = dataclasses.replace(share_of(images, ebv=[0.0, 0.0]), mask=mask)
    views = (part("psf", factor=[2.0, 2.0], p=1.0), part("sky-noise", factor=[2.0, 2.0], p=1.0), part("dust"))
    for out in pipeline_of(*views, num_views=2)(batch_of(share), 0, "cpu").images:
        assert abs(out[0, 1, 3, 4]) < 1e-3
        assert (out[1, :, 10, 12].abs() < 1e-3).all()
        assert (out.abs() < 1e-3).sum() == 3


def test_the_batch_is_left_as_it_was():
    images = images_of(4)
    images[1, 0, 2, 2] = np.nan
    before, share = images.copy(), share_of(images)
    rms = share.meta["rms"].copy()
    images.flags.writeable = False
    pipeline_of(*all_views(), num_views=2)(batch_of(share), 0, "cpu")
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(share.meta["rms"], rms)


def test_two_ranks_see_the_views_of_one_bit_for_bit():
    images, rms, pipeline = images_of(10), np.linspace(0.5, 1.5, 10), pipeline_of(*all_views(), num_views=2)

    def views(rows):
        share = Share("optical", images[rows], None, np.arange(len(rows)), {"rms": rms[rows]})
        return pipeline(batch_of(share, first=rows[0], global_size=10), 7, "cpu").images

    whole, parts = views(np.arange(10)), [views(np.arange(0, 3)), views(np.arange(3, 10))]
    for view in range(2):
        assert torch.equal(whole[view], torch.cat([of_rank[view] for of_rank in parts]))


def test_a_row_does_not_depend_on_the_survey_beside_it():
    optical, infrared = images_of(3, seed=1), images_of(2, seed=2)
    pipeline = pipeline_of(*all_views())
    mixed = pipeline(
        batch_of(share_of(infrared, "infrared", np.array([4, 0])), share_of(optical, places=np.array([1, 2, 3]))),
        2,
        "cpu",
    )
    alone = pipeline(batch_of(share_of(optical), first=1, global_size=5), 2, "cpu")
    assert torch.equal(mixed.images[0][1:4], alone.images[0])


def test_views_of_the_stretched_image_are_what_they_were_where_physical_views_do_nothing():
    off = (part("psf", factor=[2.0, 3.0], p=0.0), part("sky-noise", factor=[2.0, 3.0], p=0.0), part("dim", p=0.0))
    batch = batch_of(share_of(images_of(4)))
    # Random numbers belong to a view's place, so what the others draw must not matter here: a turn by nothing.
    without = pipeline_of(part("flip", p=1.0), inputs=plans(FLOOR))(batch, 0, "cpu").images[0]
    with_them = pipeline_of(*off, part("flip", p=1.0), inputs=plans(FLOOR))(batch, 0, "cpu").images[0]
    assert torch.equal(with_them, without)


def test_a_view_of_the_stretched_image_cannot_act_before_it():
    class Early(PixelView):
        stage = Stage.PHYSICAL
        invariance = "test"

        def draw(self, rng, num):
            return np.zeros((num, 1), dtype=np.float32)

        def apply(self, images, parameters):
            return images

    with pytest.raises(PluginError, match="Early has the stage PHYSICAL: a PhysicalView, and no other"):
        pipeline_of(Early())


def test_a_store_tells_the_views_what_its_catalogue_and_card_know(mock_stores):
    store = mock_stores["mirabest"]
    inputs = {"mirabest": input_plan(store)}
    batch = next(iter(Loader((Feed("mirabest", store, rows_of_splits(store, ("train",))),), 8, 0)))
    told = Told()
    pipeline_of(told, inputs=inputs)(batch, 0, "cpu")
    assert told.sky.bands == store.card.band_names
    assert told.sky.unit == store.product.unit
    beam = store.card.beam.value
    assert told.sky.fwhm_arcsec[0, 0].tolist() == pytest.approx([beam.bmaj_arcsec, beam.bmin_arcsec])
    rows = batch.row_ids[batch.shares[0].places]
    train = rows_of_splits(store, ("train",))
    np.testing.assert_allclose(told.sky.rms[:, 0], store.measured("rms")[train][rows], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "tolerance"),
    [
        ("sky-noise", {"factor": [2.0, 2.0]}, 0.03),
        ("sky-noise", {"factor": [2.0, 2.0], "correlated": True}, 0.03),
        ("psf", {"factor": [1.5, 1.5]}, 0.1),  # the noise of an interferometer is not quite of the shape of its beam
    ],
)
def test_the_rms_handed_on_is_what_one_would_measure_on_real_images(data_dir, name, settings, tolerance):
    files = sorted((data_dir / "mirabest" / "fits").glob("*.fits"))
    fields = np.stack([fits.getdata(file).squeeze().astype(np.float32) for file in files])
    fields = fields[np.isfinite(fields).all(axis=(1, 2))][:12]
    num = len(fields)
    sky = Sky(
        bands=("VLA-FIRST-1.4GHz",),
        unit="Jy/beam",
        pixel_scale_arcsec=torch.full((num,), 1.8),
        rms=torch.tensor([[clipped_std(field)] for field in fields]),
        fwhm_arcsec=torch.full((num, 1, 2), 5.4),
        position_angle_deg=torch.zeros(num, 1),
        ebv=torch.zeros(num),
        wavelengths_nm=(None,),
    )
    view = part(name, p=1.0, **settings)
    parameters = torch.from_numpy(view.draw(np.random.default_rng(0), num))
    out, after = view.apply(torch.from_numpy(fields)[:, None], parameters, sky)
    measured = np.array([clipped_std(image) for image in out[:, 0].numpy()])
    assert np.median(measured / after.rms[:, 0].numpy()) == pytest.approx(1.0, abs=tolerance)
