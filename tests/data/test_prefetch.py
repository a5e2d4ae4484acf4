"""Working ahead changes neither the batches nor the position, hides no error and leaves no thread."""

from __future__ import annotations

import threading
import time
from itertools import islice

import numpy as np
import pytest

from astrofm.data import loader as loader_module
from astrofm.data.feeding.feed import Feed
from astrofm.data.feeding.prefetch import NUM_AHEAD, Prefetch
from astrofm.data.ingest import ingest
from astrofm.data.loader import Loader
from astrofm.data.store import CutoutStore
from astrofm.errors import StoreError


@pytest.fixture
def store(small_pieces, survey, archive, tmp_path) -> CutoutStore:
    ingest(survey, archive, tmp_path / "store")
    return CutoutStore.open(tmp_path / "store")


@pytest.fixture
def feed(store) -> Feed:
    return Feed("tiny", store, np.arange(39))


@pytest.fixture(params=["kept", "by windows"])
def make_loader(feed, request, monkeypatch):
    """Return a function that makes a loader, of one kind after the other."""
    monkeypatch.setattr(loader_module, "WINDOW_ROWS", 11)
    limit = 2**30 if request.param == "kept" else 0
    return lambda: Loader((feed,), 4, seed=1, memory_limit_bytes=limit)


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("astrofm")]


def assert_same(batch, other):
    assert batch.row_ids.tolist() == other.row_ids.tolist()
    for share, expected in zip(batch.shares, other.shares, strict=True):
        np.testing.assert_array_equal(share.images, expected.images)
        np.testing.assert_array_equal(share.places, expected.places)


def test_batches_of_three_epochs_are_those_of_the_loader(make_loader):
    plain = make_loader()
    expected = [batch for _ in range(3) for batch in plain]
    with Prefetch(make_loader()) as ahead:
        assert len(ahead) == len(plain)
        made = [batch for _ in range(3) for batch in ahead]
    assert len(made) == len(expected) == 27
    for batch, other in zip(made, expected, strict=True):
        assert_same(batch, other)


@pytest.mark.parametrize("taken", [0, 1, 5, 9, 13])
def test_position_is_that_of_the_batches_taken_and_a_run_goes_on_from_it(make_loader, taken):
    plain = make_loader()
    expected = [batch for _ in range(4) for batch in plain]
    with Prefetch(make_loader()) as ahead:
        list(islice((batch for _ in range(4) for batch in ahead), taken))
        deadline = time.monotonic() + 20
        while taken and not all(future.done() for future in ahead._pending.values()) and time.monotonic() < deadline:
            time.sleep(0.01)
        state = ahead.state_dict()
    assert state["epoch"] * 9 + state["step"] == taken
    with Prefetch(make_loader()) as resumed:
        resumed.load_state_dict(state)
        rest = list(islice((batch for _ in range(4) for batch in resumed), 12))
    for batch, other in zip(rest, expected[taken:], strict=False):
        assert_same(batch, other)


def test_going_elsewhere_drops_what_was_made(make_loader):
    expected = list(make_loader())
    with Prefetch(make_loader()) as ahead:
        state = ahead.state_dict()
        list(islice(ahead, 3))
        ahead.load_state_dict(state)
        for batch, other in zip(ahead, expected, strict=True):
            assert_same(batch, other)


def test_batches_wait_made_before_they_are_asked_for(make_loader):
    made: list[int] = []
    everything_made = threading.Event()

    def note(batch, number):
        made.append(batch.size)
        if len(made) == NUM_AHEAD + 1:
            everything_made.set()
        return batch

    with Prefetch(make_loader(), send=note) as ahead:
        next(iter(ahead))
        assert everything_made.wait(20)
        assert len(made) == NUM_AHEAD + 1


def test_nothing_is_made_beyond_the_end_of_the_run(make_loader):
    made: list[int] = []
    with Prefetch(make_loader(), num_steps=11, send=lambda batch, number: made.append(number) or batch) as ahead:
        list(islice((batch for _ in range(2) for batch in ahead), 11))
    assert made == list(range(11))


def test_next_window_is_decoded_before_a_batch_needs_it(feed, monkeypatch):
    """With 13 rows a window and 4 a batch, the first two batches need the first window alone."""
    monkeypatch.setattr(loader_module, "WINDOW_ROWS", 13)
    asked: list[int] = []
    second = threading.Event()
    real = CutoutStore.read

    def read(self, rows, out=None):
        asked.append(len(rows))
        if len(asked) == 2:
            second.set()
        return real(self, rows, out)

    monkeypatch.setattr(CutoutStore, "read", read)
    monkeypatch.setattr("astrofm.data.feeding.prefetch.NUM_AHEAD", 0)
    with Prefetch(Loader((feed,), 4, seed=1, memory_limit_bytes=0)) as ahead:
        batches = iter(ahead)
        next(batches)
        assert second.wait(20)
        list(islice(batches, 8))
    assert asked[:3] == [13, 13, 10]  # of 39 rows 36 make whole batches


def test_two_windows_are_held_at_most(feed, monkeypatch):
    monkeypatch.setattr(loader_module, "WINDOW_ROWS", 8)
    loader = Loader((feed,), 4, seed=1, memory_limit_bytes=0)
    held = []
    with Prefetch(loader) as ahead:
        for _ in range(3):
            for _ in ahead:
                held.append(len(loader._pixels[0][0]._windows._held))
    assert max(held) == 2


@pytest.mark.filterwarnings("error")
def test_error_in_a_thread_is_raised_where_the_batch_is_taken(store, make_loader):
    (store.path / "image" / "c" / "2" / "0" / "0" / "0").unlink()
    with (
        Prefetch(make_loader()) as ahead,
        pytest.raises(StoreError, match=r"image/c/2/0/0/0 of .* it is missing") as raised,
    ):
        list(ahead)
    frames = [entry.name for entry in raised.traceback]
    assert "batch_at" in frames
    assert "_index" in frames
    assert own_threads() == []


def test_error_in_sending_is_raised_and_ends_the_threads(make_loader):
    def fail(batch, number):
        raise RuntimeError("no device")

    with pytest.raises(RuntimeError, match="no device"), Prefetch(make_loader(), send=fail) as ahead:
        list(ahead)
    assert own_threads() == []


@pytest.mark.parametrize("taken", [0, 1, 5, 9])
def test_no_thread_is_left_however_early_it_ends(make_loader, taken):
    with Prefetch(make_loader()) as ahead:
        list(islice(ahead, taken))
        assert bool(own_threads()) == (taken > 0)
    assert own_threads() == []
