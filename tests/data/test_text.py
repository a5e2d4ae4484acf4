import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrofm.data import text
from astrofm.data.text import blocks_of, text_from_arrow, text_to_arrow

WORDS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6))


@pytest.fixture(autouse=True, scope="module")
def few_rows_a_block():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK_ROWS", 3)
        yield


def test_blocks_cover_every_row_once():
    assert [(rows.start, rows.stop) for rows in blocks_of(7)] == [(0, 3), (3, 6), (6, 7)]
    assert list(blocks_of(0)) == []


@given(WORDS)
def test_text_comes_back_with_its_widest_word_whole_and_nulls_empty(words):
    found = text_from_arrow(pa.chunked_array([pa.array(words[:2], pa.string()), pa.array(words[2:], pa.string())]))
    whole = np.array([word or "" for word in words], np.str_)
    assert found.dtype == whole.dtype
    assert found.tolist() == whole.tolist()


@given(WORDS)
def test_objects_bytes_and_unicode_become_the_same_text(words):
    mask = np.array([word is None for word in words], bool)
    known = [word or "" for word in words]
    for values in (
        np.array(words, object),
        np.array(known, np.str_),
        np.array([word.encode() for word in known], np.bytes_),
    ):
        assert text_to_arrow(values, mask).to_pylist() == known


def test_each_word_is_spelt_as_asked():
    spelt = text_to_arrow(np.array([7, 8, 9, 10]), np.array([False, True, False, False]), lambda word: f"<{word}>")
    assert spelt.to_pylist() == ["<7>", "<>", "<9>", "<10>"]
