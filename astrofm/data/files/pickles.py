"""Pickled dictionaries of arrays, as some archives are published, read without running what is in them.

A pickle may name any function to call. Those of archives hold lists, text and numpy arrays, and these need five names;
the unpickler here knows these five, under their names in numpy 1 and 2, and refuses all others. Even numpy's own five
may not be called with what a stranger wrote: their states are trusted, and a forged one ends the process or worse. So
each has a stand-in, which checks what it is given and makes the array anew.
"""

from __future__ import annotations

__all__ = ["MAX_PICKLE_BYTES", "load_arrays"]

import io
import math
import pickle
import re
from typing import Any

import numpy as np

from astrofm.errors import DataError

MAX_PICKLE_BYTES = 2**30
"""What is larger is refused unread: a pickle is held in memory as a whole, twice."""

_NDARRAY = "numpy.ndarray"
"""Only ever the first argument of ``_reconstruct``, so it need not be callable."""

_PLAIN_KIND = re.compile(r"[<>|=]?([?]|[biufSU][0-9]{1,6})")


def load_arrays(content: bytes, name: str) -> dict[str, Any]:
    """Unpickle a dictionary of arrays, lists and text.

    Args:
        content: The pickle, of Python 2 or 3.
        name: Its name, for messages.

    Returns:
        The dictionary. What is in it takes no more memory than a small multiple of ``content``.

    Raises:
        DataError: If the pickle is damaged or too large, asks for anything but numpy arrays, or is no dictionary.
    """
    if len(content) > MAX_PICKLE_BYTES:
        raise DataError(f"{name!r} has {len(content)} bytes; a pickle of more than {MAX_PICKLE_BYTES} is not read")
    try:
        given = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged or forged pickle may raise anything
        raise DataError(f"{name!r} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error
    if not isinstance(given, dict):
        raise DataError(f"{name!r} cannot be read: it holds a {type(given).__name__}, where a dictionary is due")
    return given


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        plain = module.replace("numpy._core.", "numpy.core.")
        if (plain, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no numpy array needs; nothing was run")
        return _STAND_INS[plain, name]


class _Kind:
    """Stand-in for ``numpy.dtype``: numbers, booleans and text of fixed length, nothing with fields or objects."""

    def __init__(self, spelt: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(spelt, str) or not _PLAIN_KIND.fullmatch(spelt):
            raise pickle.UnpicklingError(f"it holds an array of type {spelt!r}, which is neither numbers nor text")
        self.dtype = np.dtype(spelt)

    def __setstate__(self, state: Any) -> None:
        """Take the byte order, the only part of the state that plain types have of their own."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it gives an array the byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray[Any, Any]):
    """Stand-in for ``numpy.ndarray``: an array whose state is checked before numpy sees it."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Kind):
            raise pickle.UnpicklingError("it holds an array without shape, type and content")
        _, shape, kind, is_fortran, content = state
        content = content.encode("latin1") if isinstance(content, str) else content
        is_shape = isinstance(shape, tuple) and all(type(length) is int and length >= 0 for length in shape)
        if not isinstance(content, bytes) or not is_shape or math.prod(shape) * kind.dtype.itemsize != len(content):
            raise pickle.UnpicklingError(f"it holds an array of shape {shape!r} and other content")
        checked: Any = (1, shape, kind.dtype, bool(is_fortran), content)  # numpy refuses the type its stub asks for
        super().__setstate__(checked)


def _empty_array(subtype: object, shape: object, kind: object) -> _Array:
    """Return the empty array that a pickle begins with; its content follows, and with it the true shape and type."""
    if subtype != _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError(f"it begins an array of shape {shape!r}; pickled arrays begin empty")
    return np.empty(0, dtype=np.int8).view(_Array)


def _scalar(kind: Any, content: Any = None) -> Any:
    content = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(kind, _Kind) or not isinstance(content, bytes) or kind.dtype.itemsize != len(content):
        raise pickle.UnpicklingError("it holds a number without type and content")
    return np.frombuffer(content, kind.dtype)[0] if content else kind.dtype.type()


def _latin1(text: Any, encoding: Any) -> bytes:
    """Return bytes that an old protocol of pickling has written as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}, which no numpy array needs")
    return text.encode("latin1")


_STAND_INS = {
    ("_codecs", "encode"): _latin1,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Kind,
}
