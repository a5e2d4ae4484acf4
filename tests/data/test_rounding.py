import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from astrofm.data.changes.rounding import round_mantissa

keep_bits = st.integers(1, 23)
floats = st.lists(st.floats(width=32), min_size=1, max_size=20).map(lambda values: np.array(values, np.float32))


def nearest(value: np.float32, keep: int) -> np.float32:
    """Round one normal number in exact integer arithmetic: halves go to the even one."""
    mantissa, exponent = np.frexp(np.float64(value))
    scaled = mantissa * 2.0 ** (keep + 1)
    return np.float32(np.ldexp(np.rint(scaled), int(exponent) - keep - 1))


@given(floats, keep_bits)
def test_it_is_the_nearest_value_with_so_many_bits(values, keep):
    tiny, huge = np.finfo(np.float32).tiny, np.float32(1e38)
    values = values[(np.abs(values) >= tiny) & (np.abs(values) <= huge)]
    expected = np.array([nearest(value, keep) for value in values], np.float32)
    np.testing.assert_array_equal(round_mantissa(values, keep), expected)


def test_halves_go_to_the_even_neighbour():
    half = np.array([1 + 1 / 4, 1 + 3 / 4, 1 + 1 / 4 + 2**-20], np.float32)
    np.testing.assert_array_equal(round_mantissa(half, 1), np.array([1.0, 2.0, 1.5], np.float32))


@given(floats, keep_bits)
def test_nothing_moves_further_than_was_said_and_again_changes_nothing(values, keep):
    rounded = round_mantissa(values, keep)
    normal = np.abs(values) >= np.finfo(np.float32).tiny
    normal &= np.isfinite(values) & (np.abs(values) < np.float32(3e38) / 2)
    error = np.abs(rounded[normal].astype(float) - values[normal])
    assert (error <= np.abs(values[normal].astype(float)) * 2.0 ** -(keep + 1)).all()
    assert round_mantissa(rounded, keep).tobytes() == rounded.tobytes()


@given(keep_bits)
def test_nan_infinity_and_the_largest_number_stay_what_they_are(keep):
    payload = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000, 0xFF800000], np.uint32)
    assert round_mantissa(payload.view(np.float32), keep).tobytes() == payload.tobytes()
    largest = np.array([np.finfo(np.float32).max, np.finfo(np.float32).min], np.float32)
    assert np.isfinite(round_mantissa(largest, keep)).all()
    given_values = np.array([1.1, 2.2], np.float32)
    round_mantissa(given_values, keep)[:] = 0
    np.testing.assert_array_equal(given_values, np.array([1.1, 2.2], np.float32))
