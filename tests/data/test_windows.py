"""Windows that are held while they are wanted, in memory that is used again."""

import numpy as np
import pytest

from astrofm.data.feeding.windows import Buffers, Decoded, Windows


def decoded(number):
    return Decoded(np.array([number]), np.full((1, 1, 2, 2), number), None)


def test_each_window_is_decoded_once_and_told_of_when_it_goes():
    asked, gone = [], []
    windows = Windows(lambda window: asked.append(window) or decoded(window), gone.append)
    windows.keep_only([1, 2])
    assert windows.get(1) is windows.get(1)
    windows.prepare(2)
    assert windows.get(2).row_ids == [2]
    windows.keep_only([2, 3])
    assert asked == [1, 2]
    assert [found.row_ids[0] for found in gone] == [1]


def test_a_window_that_is_past_is_not_prepared_any_more():
    asked = []
    windows = Windows(lambda window: asked.append(window) or decoded(window), lambda gone: None)
    windows.keep_only([5, 6])
    windows.prepare(4)
    assert asked == []
    windows.prepare(6)
    assert asked == [6]


def test_a_window_that_failed_is_read_again():
    outcomes = iter([OSError("torn"), decoded(1)])

    def decode(window):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    windows = Windows(decode, lambda gone: None)
    with pytest.raises(OSError, match="torn"):
        windows.get(1)
    assert windows.get(1).row_ids == [1]


def test_memory_is_used_again_where_it_is_large_enough_and_of_the_same_kind():
    buffers, kind = Buffers(), np.dtype(np.float32)
    first = buffers.take((8, 1, 4, 4), kind)
    buffers.give_back(first)
    part = buffers.take((5, 1, 4, 4), kind)
    assert np.shares_memory(part, first)
    buffers.give_back(part)
    for shape, dtype in (((9, 1, 4, 4), kind), ((8, 1, 4, 5), kind), ((8, 1, 4, 4), np.dtype(np.uint8))):
        assert not np.shares_memory(buffers.take(shape, dtype), first)
    whole = buffers.take((8, 1, 4, 4), kind)
    assert np.shares_memory(whole, first)
    assert whole.shape == (8, 1, 4, 4)
