"""Each row once an epoch, in an order that depends on nothing but seed, epoch and world size."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrofm.data import loader as loader_module
from astrofm.data.feeding.order import EpochOrder
from astrofm.data.ingest import ingest
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.errors import RunError, UsageError


@pytest.fixture
def feeds(small_pieces, survey, archive, make_archive, tmp_path) -> list[Feed]:
    """Two stores of 39 and 17 cutouts; of the first, some rows in no order."""
    ingest(survey, archive, tmp_path / "one")
    ingest(survey, make_archive(tmp_path / "other", num=20, seed=1), tmp_path / "two")
    one, two = CutoutStore.open(tmp_path / "one"), CutoutStore.open(tmp_path / "two")
    rows = np.random.default_rng(0).permutation(39)[:31]
    return [
        Feed("one", one, rows, {"label": one.catalog.column("label")[rows]}),
        Feed("two", two, np.arange(17), {"label": two.catalog.column("label")}),
    ]


GOLDEN = [[19, 3, 40, 39, 30, 7, 24, 47, 32, 33, 34, 31], [29, 12, 47, 31, 27, 33, 34, 32, 13, 23, 14, 43]]
"""Last batch of the first epoch and first of the second, of 12 rows of :func:`feeds` with seed 3 and windows of 11."""


def ids(batches) -> list[list[int]]:
    return [batch.row_ids.tolist() for batch in batches]


orders = st.builds(
    dict,
    blocks=st.lists(st.integers(0, 20), min_size=1, max_size=200).map(np.array),
    window_rows=st.integers(1, 300),
    share=st.integers(1, 9),
    world_size=st.integers(1, 5),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 1000),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)


def of_ranks(drawn) -> list[EpochOrder]:
    given = {key: value for key, value in drawn.items() if key != "share"}
    batch_size = drawn["share"] * drawn["world_size"]
    return [EpochOrder(**given, batch_size=batch_size, rank=rank) for rank in range(drawn["world_size"])]


@given(drawn=orders)
def test_every_row_comes_once_over_all_ranks_which_make_equal_steps(drawn):
    ranks = of_ranks(drawn)
    num_rows, batch_size = len(drawn["blocks"]), ranks[0].batch_size
    steps = {order.num_steps for order in ranks}
    assert steps == {num_rows // batch_size if drawn["drop_last"] else -(-num_rows // batch_size)}
    read = [row for order in ranks for step in range(order.num_steps) for row in order.rows_at(step)]
    assert len(read) == len(set(read))
    assert set(read) <= set(range(num_rows))
    assert len(read) == (min(num_rows, steps.pop() * batch_size))
    for step in range(ranks[0].num_steps):
        assert [len(order.rows_at(step)) for order in ranks] == ranks[0].sizes(step)


@given(drawn=orders)
def test_a_rank_never_jumps_between_more_rows_than_a_window(drawn):
    for order in of_ranks({**drawn, "shuffle": True}):
        windows = [window for step in range(order.num_steps) for window in order.windows_at(step)]
        assert windows == sorted(windows)
        for step in range(order.num_steps):
            for row, window in zip(order.rows_at(step), order.windows_at(step), strict=True):
                assert row in order.window(window)


@given(drawn=orders)
def test_ranks_share_at_most_one_block_with_the_next(drawn):
    ranks = of_ranks({**drawn, "shuffle": True})
    for one, other in pairwise(ranks):
        assert len(set(drawn["blocks"][one.rows]) & set(drawn["blocks"][other.rows])) <= 1


def test_blocks_of_one_class_are_mixed_within_a_window():
    order = EpochOrder(
        np.arange(6400) // 64, 6400, 64, seed=0, epoch=0, shuffle=True, drop_last=True, rank=0, world_size=1
    )
    num_blocks = [len(set(order.rows_at(step) // 64)) for step in range(order.num_steps)]
    assert min(num_blocks) > 30  # of 100; without the window it would be 1


@pytest.mark.parametrize("memory_limit_bytes", [2**30, 31 * 2304, 0])
def test_a_batch_holds_the_pixels_labels_and_numbers_of_its_rows(feeds, memory_limit_bytes, monkeypatch):
    monkeypatch.setattr(loader_module, "WINDOW_ROWS", 11)
    loader = Loader(feeds, 10, seed=3, memory_limit_bytes=memory_limit_bytes, drop_last=False)
    images = np.concatenate([feed.store.read(feed.rows) for feed in feeds])
    labels = np.concatenate([feed.labels["label"] for feed in feeds])
    rms = np.concatenate([feed.store.measured("rms")[feed.rows] for feed in feeds])
    for batch in loader:
        places = np.concatenate([share.places for share in batch.shares])
        assert sorted(places) == list(range(batch.size))
        for share in batch.shares:
            rows = batch.row_ids[share.places]
            assert set(np.where(rows < 31, "one", "two")) == {share.survey}
            np.testing.assert_array_equal(share.images, images[rows])
            np.testing.assert_array_equal(share.meta["rms"][:, 0], rms[rows])
            np.testing.assert_allclose(share.meta["pixel_scale"], 1.8, rtol=1e-6)
            assert share.mask is None
        np.testing.assert_array_equal(batch.labels["label"], labels[batch.row_ids])


def test_the_order_is_the_same_whatever_fits_in_memory(feeds, monkeypatch):
    monkeypatch.setattr(loader_module, "WINDOW_ROWS", 11)
    seen = [ids(Loader(feeds, 10, seed=3, memory_limit_bytes=limit)) for limit in (2**30, 31 * 2304, 0)]
    assert seen[0] == seen[1] == seen[2]


def test_a_store_over_the_limit_is_decoded_window_by_window(feeds, monkeypatch):
    monkeypatch.setattr(loader_module, "WINDOW_ROWS", 11)
    asked: list[int] = []
    real = CutoutStore.read
    monkeypatch.setattr(
        CutoutStore, "read", lambda self, rows, out=None: asked.append(len(rows)) or real(self, rows, out)
    )
    list(Loader(feeds, 6, seed=3, memory_limit_bytes=0, drop_last=False))
    assert max(asked) <= 11
    assert sum(asked) == 48  # each row once


def test_order_without_weights_is_the_one_of_its_version(feeds, monkeypatch):
    """Remade by printing the same from a loader; a change here needs another ORDER_VERSION."""
    monkeypatch.setattr(loader_module, "WINDOW_ROWS", 11)
    loader = Loader(feeds, 12, seed=3)
    assert [ids(loader)[-1], ids(loader)[0]] == GOLDEN


def test_a_state_of_another_order_is_not_continued(feeds):
    loader = Loader(feeds, 12, seed=3)
    state = {name: value for name, value in loader.state_dict().items() if name != "order_version"}
    with pytest.raises(RunError, match=r"cannot be resumed in the order they were in; changed: order_version \(2, not"):
        loader.load_state_dict(state)


def labelled_feeds(feeds, *weights):
    return [
        replace(feed, weight=weight, is_labelled=np.arange(len(feed.rows)) % 4 == 0)
        for feed, weight in zip(feeds, weights, strict=True)
    ]


@pytest.mark.parametrize("memory_limit_bytes", [2**30, 20 * 2304, 0])
def test_weights_and_labelled_fraction_give_each_batch_its_shares_with_the_pixels_of_its_rows(
    feeds, memory_limit_bytes, monkeypatch
):
    """Of 8 rows 4 are labelled, and of every 4 one comes from the first survey."""
    monkeypatch.setattr(loader_module, "WINDOW_ROWS", 11)
    mixed = labelled_feeds(feeds, 0.5, 1.5)
    loader = Loader(mixed, 8, seed=3, labelled_fraction=0.5, memory_limit_bytes=memory_limit_bytes)
    images = np.concatenate([feed.store.read(feed.rows) for feed in mixed])
    is_labelled = np.concatenate([feed.is_labelled for feed in mixed])
    assert len(loader) == 6
    orders = []
    for _ in range(3):
        for batch in loader:
            assert is_labelled[batch.row_ids].sum() == 4
            assert (batch.row_ids < 31).sum() == 2
            for share in batch.shares:
                np.testing.assert_array_equal(share.images, images[batch.row_ids[share.places]])
            orders.append(batch.row_ids.tolist())
    expected = Loader(mixed, 8, seed=3, labelled_fraction=0.5)
    assert orders == [order for _ in range(3) for order in ids(expected)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(taken=st.integers(0, 20), world_size=st.sampled_from([1, 2, 4]))
def test_a_mixed_run_resumes_in_the_middle_of_an_epoch(feeds, taken, world_size):
    mixed = labelled_feeds(feeds, 2.0, 1.0)
    for rank in range(world_size):
        options = {"labelled_fraction": 0.25, "rank": rank, "world_size": world_size}
        whole = Loader(mixed, 8, seed=5, **options)
        endless = (batch for _ in range(10) for batch in whole)
        list(islice(endless, taken))
        resumed = Loader(mixed, 8, seed=5, **options)
        resumed.load_state_dict(whole.state_dict())
        assert ids(islice((batch for _ in range(10) for batch in resumed), 13)) == ids(islice(endless, 13))


def test_other_shares_are_another_order(feeds):
    state = Loader(labelled_feeds(feeds, 2.0, 1.0), 8, seed=5).state_dict()
    assert all(type(value) is int for value in state.values())
    with pytest.raises(RunError, match="changed: shares"):
        Loader(labelled_feeds(feeds, 1.0, 1.0), 8, seed=5).load_state_dict(state)
    with pytest.raises(RunError, match="changed: shares"):
        Loader(labelled_feeds(feeds, 2.0, 1.0), 8, seed=5, labelled_fraction=0.5).load_state_dict(state)
    with pytest.raises(ValueError, match="weights and labelled_fraction need shuffle and drop_last"):
        Loader(labelled_feeds(feeds, 2.0, 1.0), 8, seed=5, drop_last=False)


def test_rows_that_come_most_often_are_kept_first(feeds):
    """The 5 labelled rows of a survey come ten times an epoch: they are what memory is best spent on."""
    mixed = labelled_feeds(feeds, None, None)
    num_labelled = sum(int(feed.is_labelled.sum()) for feed in mixed)
    loader = Loader(mixed, 8, seed=0, labelled_fraction=0.5, memory_limit_bytes=num_labelled * 2304)
    assert [[pixels.is_kept for pixels in of.values()] for of in loader._pixels] == [[True, True], [False, False]]


def test_epochs_differ_and_the_seed_repeats_them(feeds):
    loader = Loader(feeds, 8, seed=0)
    epochs = [ids(loader) for _ in range(4)]
    again = Loader(feeds, 8, seed=0)
    assert [ids(again) for _ in range(4)] == epochs
    assert len({str(epoch) for epoch in [*epochs, ids(Loader(feeds, 8, seed=1))]}) == 5
    assert epochs[0][0] != sorted(epochs[0][0])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(taken=st.integers(0, 20), world_size=st.sampled_from([1, 2, 4]))
def test_a_run_resumes_in_the_middle_of_an_epoch(feeds, taken, world_size):
    for rank in range(world_size):
        whole = Loader(feeds, 8, seed=5, rank=rank, world_size=world_size)
        endless = (batch for _ in range(10) for batch in whole)
        list(islice(endless, taken))
        state = whole.state_dict()
        resumed = Loader(feeds, 8, seed=5, rank=rank, world_size=world_size)
        resumed.load_state_dict(state)
        rest = ids(islice((batch for _ in range(10) for batch in resumed), 13))
        assert rest == ids(islice(endless, 13))
        assert all(type(value) is int for value in state.values())


def test_taken_len_batches_at_a_time_it_sees_every_epoch_once(feeds):
    loader = Loader(feeds, 8, seed=0)
    epochs = []
    for _ in range(5):  # as Lightning does: it never asks for one batch more
        iterator = iter(loader)
        epochs.append(ids(next(iterator) for _ in range(len(loader))))
    assert len(loader) == 6
    assert len({str(batch) for epoch in epochs for batch in epoch}) == 5 * 6
    assert all(len({row for batch in epoch for row in batch}) == 48 for epoch in epochs)


def test_ranks_make_one_global_batch(feeds):
    loaders = [Loader(feeds, 8, seed=0, rank=rank, world_size=4) for rank in range(4)]
    for batches in zip(*loaders, strict=True):
        assert [(batch.first, batch.size, batch.global_size) for batch in batches] == [(2 * r, 2, 8) for r in range(4)]
        assert len({row for batch in batches for row in batch.row_ids}) == 8


def test_without_shuffling_rows_come_in_the_order_of_the_feeds(feeds):
    loader = Loader(feeds, 20, seed=0, shuffle=False, drop_last=False)
    assert [row for batch in ids(loader) for row in batch] == list(range(48))
    assert ids(loader) == [list(range(20)), list(range(20, 40)), list(range(40, 48))]


def test_what_cannot_be_read_is_refused(feeds):
    with pytest.raises(UsageError, match="a batch of 64 is larger than the data, 48 rows of one, two"):
        Loader(feeds, 64, seed=0)
    with pytest.raises(UsageError, match="a batch of 9 cannot be shared equally by 2"):
        Loader(feeds, 9, seed=0, world_size=2)
    with pytest.raises(UsageError, match="no rows"):
        Loader([], 1, seed=0)
    with pytest.raises(ValueError, match=r"'two' has labels \[\] and 'one' \['label'\]"):
        Loader([feeds[0], Feed("two", feeds[1].store, feeds[1].rows)], 8, seed=0)
    with pytest.raises(ValueError, match="label 'label' of 'one' has 3 values for 31 rows"):
        Feed("one", feeds[0].store, feeds[0].rows, {"label": np.zeros(3)})
    state = Loader(feeds, 8, seed=0).state_dict()
    with pytest.raises(RunError, match=r"changed: seed \(1, not 0\), batch_size \(4, not 8\)"):
        Loader(feeds, 4, seed=1).load_state_dict(state)
