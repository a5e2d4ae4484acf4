"""The dust of the Galaxy leaves the pixels once, whatever the views do; where it is not known nothing is guessed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.card import Band, Step
from astrofm.data.batch import Batch, Share
from astrofm.errors import DataError, RecipeError
from astrofm.views.deredden import Deredden
from astrofm.views.dust import Dust, DustConfig
from astrofm.views.extinction import COEFFICIENTS
from astrofm.views.geometry import Rotate, RotateConfig
from astrofm.views.pipeline import ViewPipeline
from astrofm.views.sky import sky_of
from astrofm.views.stretch import InputPlan, Stretch

R = (4.239, 3.303, 2.285, 1.698, 1.263)
STEPS = [{"deredden": {"coefficients": list(R)}}, {"asinh": {"scale": 0.1}}]


def stretch_of(*steps):
    return Stretch([Step.model_validate(step) for step in steps])


def skies(num=3, size=8, seed=0):
    """Light before it meets dust. Shape: (num, 5, size, size)."""
    return torch.from_numpy(np.random.default_rng(seed).random((num, len(R), size, size), dtype=np.float32) * 5)


def reddened(images, ebv):
    """What dust leaves of light, by a slow loop over the definition of a magnitude."""
    dimmed = images.double().clone()
    for row, reddening in enumerate(ebv):
        for band, coefficient in enumerate(R):
            dimmed[row, band] *= 100.0 ** (-coefficient * float(reddening) / 5.0)
    return dimmed.float()


def test_one_magnitude_of_reddening_dims_a_band_by_its_coefficient():
    factors = Deredden(coefficients=R).factors(torch.tensor([0.0, 1.0]))
    assert factors[0].tolist() == [1.0] * 5
    np.testing.assert_allclose(2.5 * np.log10(factors[1].numpy()), R)


@settings(deadline=None)
@given(ebv=st.lists(st.floats(0.0, 2.0), min_size=3, max_size=3))
def test_what_dust_took_comes_back(ebv):
    images = skies()
    before = images.clone()
    found = Deredden(coefficients=R)(reddened(images, ebv), torch.tensor(ebv))
    torch.testing.assert_close(found, images, rtol=1e-5, atol=0.0)
    assert torch.equal(images, before)


def test_the_stretch_corrects_before_its_other_steps():
    images, ebv = skies(), torch.tensor([0.0, 0.1, 0.5])
    found = stretch_of(*STEPS)(reddened(images, ebv), ebv=ebv)
    torch.testing.assert_close(found, torch.asinh(images / 0.1), rtol=1e-5, atol=1e-6)


def test_missing_pixels_stay_missing_until_they_are_filled():
    images = skies(1)
    images[0, 2, 3, 3] = torch.nan
    stretch = stretch_of(STEPS[0])
    assert torch.isnan(stretch.deredden(images, torch.tensor([0.1]))).sum() == 1
    assert stretch(images, ebv=torch.tensor([0.1]))[0, 2, 3, 3] == 0.0


def test_a_cutout_without_a_reddening_is_refused():
    known = torch.tensor([0.1, torch.nan, 0.2])
    with pytest.raises(DataError, match="1 of 3 cutouts have no E\\(B-V\\): give the catalogue a column 'ebv'"):
        stretch_of(*STEPS)(skies(), ebv=known)
    with pytest.raises(DataError, match="3 of 3 cutouts have no E"):
        stretch_of(*STEPS)(skies())


def test_a_coefficient_for_each_band_is_asked_for():
    with pytest.raises(DataError, match="5 coefficients for images of 2 bands"):
        stretch_of(*STEPS)(skies()[:, :2], ebv=torch.zeros(3))


def test_the_step_comes_first_and_not_beside_a_noise_floor():
    with pytest.raises(RecipeError, match="'deredden' comes first"):
        stretch_of(*reversed(STEPS))
    with pytest.raises(RecipeError, match="each band has a noise of its own"):
        stretch_of(STEPS[0], "sigma_clip_floor")
    with pytest.raises(RecipeError, match=r"deredden.*coefficients"):
        stretch_of("deredden")


BANDS = tuple(
    Band(name=f"SDSS-{name}", unit="DN", wavelength_nm=wavelength_nm)
    for name, wavelength_nm in (("u", 354), ("g", 476), ("r", 628), ("i", 769), ("z", 925))
)


def pipeline_of(*views, num_views=1):
    plan = InputPlan("a", [Step.model_validate(step) for step in STEPS], bands=BANDS, unit="DN")
    return ViewPipeline({"a": plan}, views, num_views=num_views, size_pix=8, field_of_view_arcsec=None, seed=0)


def batch_of(images, ebv, **noise):
    meta = {name: np.asarray(values, dtype=np.float64) for name, values in {"ebv": ebv, **noise}.items()}
    share = Share("a", images.numpy(), None, np.arange(len(images)), meta)
    return Batch((share,), np.arange(len(images)), 0, len(images))


def test_a_red_galaxy_and_its_twin_without_dust_give_the_network_the_same():
    images, ebv = skies(), [0.02, 0.1, 0.6]
    red, twin = batch_of(reddened(images, ebv), ebv), batch_of(images, [0.0] * 3)
    torch.testing.assert_close(pipeline_of().plain(red, "cpu"), pipeline_of().plain(twin, "cpu"), rtol=1e-5, atol=1e-5)
    turned = pipeline_of(Rotate(RotateConfig()), num_views=2)
    for view, of_twin in zip(turned(red, 3, "cpu").images, turned(twin, 3, "cpu").images, strict=True):
        torch.testing.assert_close(view, of_twin, rtol=1e-5, atol=1e-5)


def test_a_view_leaves_exactly_the_dust_that_it_draws():
    """Through the card's correction and the view: what a network sees is light behind E(B-V) = 0.3, once."""
    images, ebv = skies(), [0.0, 0.1, 0.6]
    view = Dust(DustConfig(ebv={"law": "uniform", "low": 0.3, "high": 0.3}))
    (found,) = pipeline_of(view)(batch_of(reddened(images, ebv), ebv), 0, "cpu").images
    torch.testing.assert_close(found, torch.asinh(reddened(images, [0.3] * 3) / 0.1), rtol=1e-4, atol=1e-5)
    (as_it_was,) = pipeline_of(Dust(DustConfig(p=0.0)))(batch_of(reddened(images, ebv), ebv), 0, "cpu").images
    torch.testing.assert_close(as_it_was, torch.asinh(images / 0.1), rtol=1e-4, atol=1e-5)


def test_the_noise_of_a_band_is_its_own_and_grows_with_its_flux():
    rms, ebv = [[0.1 * (place + 1) for place in range(len(BANDS))]], [0.5]
    batch = batch_of(skies(1), ebv, rms=rms)
    plan = pipeline_of().inputs["a"]
    sky = sky_of(batch.shares[0], plan, np.array([0.4]), "cpu")
    assert sky.ebv.tolist() == [0.0]
    expected = np.array([0.1, 0.2, 0.3, 0.4, 0.5]) * 10 ** (0.4 * np.array(R) * 0.5)
    np.testing.assert_allclose(sky.rms.numpy()[0], expected, rtol=1e-6)
    one_for_all = batch_of(skies(1), [0.0], rms=[0.2])
    assert sky_of(one_for_all.shares[0], plan, np.array([0.4]), "cpu").rms.tolist()[0] == pytest.approx([0.2] * 5)


def test_the_view_and_the_correction_have_the_same_coefficients():
    assert tuple(COEFFICIENTS[band.name] for band in BANDS) == R
