import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from astrofm.contract import Channel, InputContract, Range
from astrofm.errors import ContractError

positive = st.floats(0.1, 1e4)
scales = (
    positive | st.tuples(positive, positive).map(lambda ends: Range(low=min(ends), high=max(ends))) | st.just("unknown")
)


def contract(channels=(("radio", ("VLA-FIRST-1.4GHz",)),), size_pix=70, field_of_view_arcsec=126.0, **rest):
    made = tuple(Channel(name=name, accepts=accepts) for name, accepts in channels)
    return InputContract(channels=made, size_pix=size_pix, field_of_view_arcsec=field_of_view_arcsec, **rest)


@given(scales, scales, st.integers(1, 512))
def test_json_gives_the_same_contract_back(field_of_view, resolution, size_pix):
    made = contract(size_pix=size_pix, field_of_view_arcsec=field_of_view, resolution_arcsec=resolution)
    assert InputContract.model_validate_json(made.model_dump_json()) == made


@given(scales)
def test_the_window_lies_within_the_field_of_view(field_of_view):
    window = contract(field_of_view_arcsec=field_of_view).window_arcsec
    if field_of_view == "unknown":
        assert window is None
    elif isinstance(field_of_view, Range):
        assert window == (field_of_view.low + field_of_view.high) / 2
    else:
        assert window == field_of_view


def test_the_pixel_scale_is_the_field_of_view_over_the_size():
    assert contract().pixel_scale_arcsec == 1.8
    assert contract(field_of_view_arcsec=126).pixel_scale_arcsec == 1.8
    assert contract(field_of_view_arcsec="unknown").pixel_scale_arcsec == "unknown"
    ranged = contract(field_of_view_arcsec=Range(low=70, high=140)).pixel_scale_arcsec
    assert ranged == Range(low=1, high=2)


def test_a_range_is_ordered_and_prints_as_an_interval():
    assert str(Range(low=1.8, high=5)) == "1.8-5"
    with pytest.raises(ValidationError, match=r"range from 2\.0 to 1\.0 is empty"):
        Range(low=2, high=1)
    with pytest.raises(ValidationError):
        Range(low=float("nan"), high=1)


def test_accepted_bands_pass_in_any_of_their_names():
    either = contract([("radio", ("VLA-FIRST-1.4GHz", "MeerKAT-L"))])
    either.check_bands("first", ("VLA-FIRST-1.4GHz",))
    either.check_bands("mightee", ("MeerKAT-L",))


def test_a_band_the_channel_does_not_accept_is_refused_with_both_sides():
    with pytest.raises(ContractError) as caught:
        contract().check_bands("mightee", ("MeerKAT-L",))
    assert str(caught.value) == (
        "channel 'radio' of the network accepts VLA-FIRST-1.4GHz and 'mightee' brings MeerKAT-L: "
        "choose a model trained on that band, or accept it with --adapt-bands"
    )


def test_another_number_of_bands_is_refused_with_both_sides():
    with pytest.raises(ContractError) as caught:
        contract().check_bands("sdss", ("SDSS-g", "SDSS-r"))
    sentence = str(caught.value)
    assert "'sdss' has 2 bands (SDSS-g, SDSS-r)" in sentence
    assert "the network takes 1 (radio)" in sentence
    assert "--set 'data.channels=[{name: SDSS-g}, {name: SDSS-r}]'" in sentence


def test_the_order_of_the_bands_counts():
    two = contract([("g", ("SDSS-g",)), ("r", ("SDSS-r",))])
    two.check_bands("sdss", ("SDSS-g", "SDSS-r"))
    with pytest.raises(ContractError, match="channel 'g'"):
        two.check_bands("sdss", ("SDSS-r", "SDSS-g"))


@pytest.mark.parametrize("cutout", [None, 126.0, 270.0, 0.91 * 126])
def test_cutouts_that_cover_the_view_or_are_of_unknown_scale_pass(cutout):
    contract().check_scale("first", cutout)


def test_cutouts_that_are_too_small_are_refused_with_both_sides():
    with pytest.raises(ContractError) as caught:
        contract().check_scale("first", 100.0)
    assert str(caught.value) == (
        "the network looks at 126 arcsec and the cutouts of 'first' span only 100 arcsec: "
        "ingest larger cutouts, or accept empty borders with --resample"
    )


def test_the_middle_of_a_range_is_looked_at_and_cutouts_must_cover_it():
    ranged = contract(field_of_view_arcsec=Range(low=100, high=200))
    ranged.check_scale("first", 140.0)
    with pytest.raises(ContractError, match="looks at 150 arcsec"):
        ranged.check_scale("first", 100.0)
    contract(field_of_view_arcsec="unknown").check_scale("first", 1.0)


# 5.4 arcsec; two pixels of the input are 3.94 arcsec
@pytest.mark.parametrize("resolution", [None, 0.1, 5.4, 10.7])
def test_images_about_as_sharp_as_those_the_network_knows_pass(resolution):
    contract(resolution_arcsec=Range(low=5.4, high=5.4)).check_resolution("mightee", resolution)
    contract(resolution_arcsec=5.4).check_resolution("mightee", resolution)


def test_images_more_than_twice_as_blurred_are_refused_with_both_sides():
    with pytest.raises(ContractError) as caught:
        contract(resolution_arcsec=Range(low=5.4, high=5.4)).check_resolution("nvss", 45.0)
    assert str(caught.value) == (
        "the network knows images of a resolution of 5.4 arcsec and 'nvss' has 45 arcsec: choose a model of such a "
        "resolution, or accept more blurred images with --resample"
    )


def test_images_more_than_twice_as_sharp_are_refused_with_the_convolution_that_helps():
    with pytest.raises(ContractError, match=r"of 15-45 arcsec and 'first' has .*: ingest it with --beam 15, or"):
        contract(resolution_arcsec=Range(low=15, high=45)).check_resolution("first", 5.4)


def test_a_network_that_knows_no_resolution_takes_any():
    contract(resolution_arcsec="unknown").check_resolution("nvss", 45.0)


def test_of_resolutions_finer_than_two_pixels_of_the_input_the_network_sees_no_difference():
    coarse = contract(size_pix=16, resolution_arcsec=5.4)  # two pixels are 15.75 arcsec
    coarse.check_resolution("vlass", 0.5)
    coarse.check_resolution("other", 31.0)
    with pytest.raises(ContractError, match="more blurred"):
        coarse.check_resolution("nvss", 45.0)


@pytest.mark.parametrize("field_of_view", [-100.0, 0.0, {"low": -1, "high": 2}])
def test_a_field_of_view_is_positive(field_of_view):
    with pytest.raises(ValidationError, match="greater than 0"):
        contract(field_of_view_arcsec=field_of_view)


def test_a_contract_without_channels_or_with_a_misspelt_key_is_no_contract():
    with pytest.raises(ValidationError):
        contract([])
    with pytest.raises(ValidationError):
        contract(fov=3)
