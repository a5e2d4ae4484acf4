import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from astrofm.data.units import Geometry, brightness_factor, is_flux_per_pixel, is_per_beam, unit_factor
from astrofm.errors import DataError

FIRST = Geometry(pixel_scale_arcsec=1.8, bmaj_arcsec=5.4, bmin_arcsec=5.4, frequency_hz=1.4e9)
UNITS = ["Jy/beam", "mJy/beam", "Jy/pixel", "MJy/sr", "Jy/arcsec2", "K", "nanomaggy", "nJy"]


def test_a_nanomaggy_is_3631_nanojansky():
    assert brightness_factor("nanomaggy", "nJy") == pytest.approx(3631, rel=1e-12)
    assert brightness_factor("nmgy", "Jy") == pytest.approx(3.631e-6, rel=1e-12)
    assert brightness_factor("mJy", "nanomaggy") == pytest.approx(1e-3 / 3.631e-6, rel=1e-12)


def test_a_beam_of_three_pixels_holds_ten_of_them():
    pixels_per_beam = math.pi / (4 * math.log(2)) * 3 * 3
    assert pixels_per_beam == pytest.approx(10.198, abs=1e-3)
    assert brightness_factor("Jy/beam", "Jy/pixel", FIRST) == pytest.approx(1 / pixels_per_beam, rel=1e-12)
    assert brightness_factor("Jy/pixel", "mJy/beam", FIRST) == pytest.approx(1e3 * pixels_per_beam, rel=1e-12)


def test_a_megajansky_per_steradian_is_23_5_microjansky_per_square_arcsec():
    per_pixel = brightness_factor("MJy/sr", "Jy/pixel", Geometry(pixel_scale_arcsec=1.0))
    assert per_pixel == pytest.approx(2.350443e-5, rel=1e-6)
    assert brightness_factor("MJy/sr", "Jy/arcsec2") == pytest.approx(2.350443e-5, rel=1e-6)


def test_a_jansky_per_beam_is_1_222e6_kelvin_over_square_frequency_and_beam():
    kelvin = brightness_factor("Jy/beam", "K", FIRST)
    assert kelvin == pytest.approx(1.222e6 / (1.4**2 * 5.4**2), rel=1e-3)  # GHz and arcsec, as observers know it


def test_what_needs_no_geometry_asks_for_none():
    assert brightness_factor("JY/BEAM", "Jy/beam") == 1.0
    assert brightness_factor("mJy/beam", "Jy/beam") == pytest.approx(1e-3)
    assert brightness_factor("nanomaggy", "Jy/pixel") == pytest.approx(3.631e-6)
    assert brightness_factor("nanomaggy/beam", "Jy/beam") == pytest.approx(3.631e-6)


@given(st.sampled_from(UNITS), st.sampled_from(UNITS), st.sampled_from(UNITS))
def test_two_conversions_are_the_one_from_the_first_to_the_last(first, second, third):
    along = brightness_factor(first, second, FIRST) * brightness_factor(second, third, FIRST)
    assert along == pytest.approx(brightness_factor(first, third, FIRST), rel=1e-9)


@given(st.sampled_from(UNITS), st.floats(1.01, 5))
def test_flux_in_a_source_does_not_depend_on_the_pixels_it_is_counted_in(unit, ratio):
    assume(is_flux_per_pixel(unit))
    fine = brightness_factor("MJy/sr", unit, Geometry(pixel_scale_arcsec=1.0))
    coarse = brightness_factor("MJy/sr", unit, Geometry(pixel_scale_arcsec=ratio))
    assert coarse == pytest.approx(fine * ratio**2, rel=1e-9)


@pytest.mark.parametrize(
    ("found", "wanted", "known", "needs"),
    [
        ("Jy/beam", "Jy/pixel", Geometry(pixel_scale_arcsec=1.8), "the beam"),
        ("Jy/beam", "Jy/pixel", Geometry(1.8, 5.4), "the beam"),
        ("MJy/sr", "Jy/pixel", Geometry(), "the pixel scale"),
        ("Jy/beam", "K", Geometry(1.8, 5.4, 5.4), "the frequency"),
        ("Jy/beam", "nJy", Geometry(), "the beam (bmaj and bmin, in arcsec) and the pixel scale"),
        ("adu", "Jy", FIRST, "'adu' is no flux"),
        ("Jy", "mag", FIRST, "'mag' is no flux"),
        ("Jy", "m/s", FIRST, "'m/s' is no flux"),
        ("Jy/beam", "", FIRST, "'' is no flux"),
    ],
)
def test_a_conversion_says_what_it_lacks(found, wanted, known, needs):
    with pytest.raises(DataError) as raised:
        brightness_factor(found, wanted, known)
    assert needs in str(raised.value)
    assert repr(found) in str(raised.value)


@pytest.mark.parametrize(
    "unit", ["Jy/pixel", "JY/PIX", "nanomaggy", "nmgy", "mJy", "counts", "electrons/s", "ADU", "DN"]
)
def test_flux_in_a_pixel_adds_up(unit):
    assert is_flux_per_pixel(unit) is True
    assert not is_per_beam(unit)


@pytest.mark.parametrize("unit", ["Jy/beam", "JY/BEAM", "uJy beam-1", "MJy/sr", "K", "mK", "counts/s/arcsec2"])
def test_brightness_does_not_add_up(unit):
    assert is_flux_per_pixel(unit) is False
    assert is_per_beam(unit) == ("beam" in unit.lower())


@pytest.mark.parametrize("unit", ["", "mag", "mag/arcsec2", "mag(AB)", "m/s", "UNKNOWN", "1e-7"])
def test_other_quantities_are_neither(unit):
    assert is_flux_per_pixel(unit) is None
    assert not is_per_beam(unit)


def test_spellings_of_a_pixel_are_one_unit():
    assert unit_factor("JY/PIXEL", "Jy/pix") == 1.0
    assert unit_factor("Jy px-1", "Jy/pixel") == 1.0
