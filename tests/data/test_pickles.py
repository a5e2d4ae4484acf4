"""Pickles of arrays are read; whatever else a pickle can ask for is not."""

import contextlib
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from astrofm.data.files import pickles
from astrofm.data.files.pickles import load_arrays
from astrofm.errors import DataError


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.call = function, arguments, state

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_lists_and_text_come_back(protocol):
    arrays = [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.arange(4.0)[::2],
        np.asfortranarray(np.ones((2, 3), ">i2")),
    ]
    given = {"data": arrays, "labels": [1, np.int64(2)], "names": ["a", np.str_("b")]}
    found = load_arrays(pickle.dumps(given, protocol=protocol), "batch")
    assert (found["labels"], found["names"]) == ([1, 2], ["a", "b"])
    for one, other in zip(found["data"], arrays, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype.newbyteorder("=")


def test_the_names_of_numpy_1_are_known_too():
    content = pickle.dumps({"x": np.arange(3)}, protocol=2)
    old = content.replace(b"numpy._core", b"numpy.core")
    assert content != old
    assert load_arrays(old, "batch")["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "function", [os.system, eval, getattr, np.load, np.frombuffer, np.lib.format.read_array, bytearray, memoryview]
)
def test_no_other_function_is_called(function, tmp_path):
    content = pickle.dumps({"x": Calls(function, f"touch {tmp_path / 'made'}")}, protocol=2)
    with pytest.raises(DataError, match=r"'batch' cannot be read: it asks for .*nothing was run"):
        load_arrays(content, "batch")
    assert not (tmp_path / "made").exists()


def test_a_name_inside_an_allowed_one_is_refused():
    inner = b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.tobytes\x93."
    with pytest.raises(DataError):
        load_arrays(inner, "batch")
    with pytest.raises(DataError, match=r"numpy\.ndarray\.dump"):
        load_arrays(b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "batch")


def test_a_few_bytes_cannot_ask_for_much_memory():
    huge = (10**10,)
    bombs = [
        b"cnumpy\nndarray\n(I10000000000\ntR.",
        pickle.dumps(Calls(np._core.multiarray._reconstruct, np.ndarray, huge, b"b"), protocol=2),
        pickle.dumps(Calls(np._core.multiarray.scalar, np.dtype("V1000000000")), protocol=2),
        pickle.dumps(Calls(np._core.multiarray.scalar, np.dtype("S1000000000"), b"x"), protocol=2),
    ]
    state = pickle.dumps(np.zeros(1000, dtype=np.uint8), protocol=2)
    bombs.append(state.replace(b"M\xe8\x03\x85", b"J\x00\x00\x00\x7f\x85"))
    assert bombs[-1] != state
    tracemalloc.start()
    for bomb in bombs:
        with pytest.raises(DataError, match="'batch' cannot be read"):
            load_arrays(bomb, "batch")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x80\x04.", pickle.dumps({"a": 1})[:-3], pickle.dumps([1])])
def test_what_is_no_dictionary_is_one_sentence(content):
    with pytest.raises(DataError, match="'batch' cannot be read"):
        load_arrays(content, "batch")


def test_a_forged_state_does_not_reach_numpy():
    """Flags and fields of a type, and objects given as raw bytes, are pointers to numpy."""
    for kind in ("O8", "O", "V8", "i4,O", ["x"], None):
        with pytest.raises(DataError, match="neither numbers nor text"):
            load_arrays(pickle.dumps(Calls(np.dtype, kind, False, True), protocol=2), "batch")
    order = Calls(np.dtype, "i8", False, True, state=(3, "x", None, None, None, -1, -1, 63))
    with pytest.raises(DataError, match="byte order 'x'"):
        load_arrays(pickle.dumps(order, protocol=2), "batch")
    begin = (np.ndarray, (0,), b"b")
    for shape, content in (((1,), b"AAAA"), ((1,), [1]), ((1,), None), ((-1, -1), b"AAAAAAAA"), (8, b"AAAAAAAA")):
        forged = Calls(np._core.multiarray._reconstruct, *begin, state=(1, shape, np.dtype("i8"), False, content))
        with pytest.raises(DataError, match="and other content"):
            load_arrays(pickle.dumps(forged, protocol=2), "batch")


def test_no_byte_of_a_pickle_changed_at_random_does_more_than_fail():
    content = pickle.dumps({"data": [np.arange(6, dtype=np.uint8)], "labels": [np.int64(2)]}, protocol=2)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        changed = bytearray(content)
        changed[rng.integers(len(content))] = rng.integers(256)
        with contextlib.suppress(DataError):
            assert isinstance(load_arrays(bytes(changed), "batch"), dict)


def test_a_pickle_over_the_bound_is_refused_unread(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_PICKLE_BYTES", 10)
    with pytest.raises(DataError, match="a pickle of more than 10 is not read"):
        load_arrays(pickle.dumps({"a": list(range(50))}), "batch")
