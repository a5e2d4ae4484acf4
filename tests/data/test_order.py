"""How random the order is, and in which order windows come."""

from __future__ import annotations

import numpy as np
import pytest

from astrofm.data.feeding.order import EpochOrder, Position, Stratum, Uniform, Window

BATCH, BLOCK = 64, 16


def order_of(num_rows, window_rows, **others) -> EpochOrder:
    given = {"seed": 0, "epoch": 0, "rank": 0, "world_size": 1, "shuffle": True, "drop_last": True}
    return EpochOrder(np.arange(num_rows) // BLOCK, window_rows, BATCH, **(given | others))


def neighbours_per_batch(num_rows, window_rows, num_epochs) -> float:
    """Pairs of rows that follow each other in the store and are in one batch, on average over batches."""
    found = []
    for epoch in range(num_epochs):
        order = order_of(num_rows, window_rows, epoch=epoch)
        found += [(np.diff(np.sort(order.rows_at(step))) == 1).sum() for step in range(order.num_steps)]
    return float(np.mean(found))


def test_data_that_fit_into_a_window_have_as_many_neighbours_in_a_batch_as_a_full_shuffle():
    expected = BATCH * (BATCH - 1) / 2048
    assert neighbours_per_batch(2048, 2048, 100) == pytest.approx(expected, rel=0.05)
    assert neighbours_per_batch(2048, 10**6, 100) == pytest.approx(expected, rel=0.05)


def test_larger_data_have_as_many_neighbours_in_a_batch_as_a_full_shuffle_of_one_window():
    num_rows, window = 5120, 512
    same_block = BATCH * (BATCH - 1) / (window - 1) * (BLOCK - 1) / BLOCK
    blocks_that_meet = (window / BLOCK - 1) * BATCH * (BATCH - 1) / (window - 1) / num_rows
    assert neighbours_per_batch(num_rows, window, 20) == pytest.approx(same_block + blocks_that_meet, rel=0.05)
    unshuffled = BATCH - 1
    assert same_block < 0.13 * unshuffled


def test_each_row_comes_equally_often_at_each_time_of_the_epoch():
    """Over many epochs no row has a favourite place: its mean place is the middle, to within the scatter of means."""
    places = np.array([np.argsort(order_of(640, 128, epoch=epoch).rows) for epoch in range(400)])
    scatter = 640 / np.sqrt(12 * 400)
    assert np.abs(places.mean(axis=0) - 319.5).max() < 5 * scatter


def test_rows_that_lie_in_a_block_each_come_in_another_order_every_epoch():
    """As few labelled rows of a large store do; two shuffles from the same numbers had undone each other."""
    orders = [
        EpochOrder(np.arange(64), 64, BATCH, seed, epoch, shuffle=True, drop_last=True, rank=0, world_size=1).rows
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len({tuple(rows) for rows in orders}) == 9
    kept = [np.mean(np.diff(rows) > 0) for rows in orders]
    assert max(kept) < 0.75  # of neighbours in ascending order: half, where nothing is ordered


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_rows_that_an_incomplete_batch_leaves_out_are_others_each_epoch(num_blocks):
    blocks = np.arange(60) * num_blocks // 60
    seen = np.zeros(60)
    for epoch in range(400):
        order = EpochOrder(blocks, 60, 32, 0, epoch, shuffle=True, drop_last=True, rank=0, world_size=1)
        seen[order.rows] += 1
    assert seen.sum() == 400 * 32
    assert np.abs(seen / 400 - 32 / 60).max() < 5 * np.sqrt(32 / 60 * 28 / 60 / 400)


def test_windows_follow_each_other_into_the_next_lap():
    stratum = Stratum(3, np.arange(100, 740), order_of(640, 256))
    window, seen = Window(3, 0, 0), []
    for _ in range(4):
        seen.append(window)
        window = stratum.after(window)
    assert seen == [(3, 0, 0), (3, 0, 1), (3, 0, 2), (3, 1, 0)]
    assert sorted(np.concatenate([stratum.rows_in(window) for window in seen[:3]])) == list(range(100, 740))


def test_laps_asked_for_in_any_order_are_the_same():
    stratum = Stratum(0, np.arange(640), order_of(640, 256))
    rows = {number: stratum.lap(number).rows.tolist() for number in (0, 1, 2, 5)}
    assert all(stratum.lap(number).rows.tolist() == rows[number] for number in (1, 0, 5, 2))
    assert rows[5] == order_of(640, 256, epoch=5).rows.tolist()


@pytest.mark.parametrize("drop_last", [True, False])
def test_draws_of_an_epoch_are_its_order(drop_last):
    uniform = Uniform(order_of(650, 100, drop_last=drop_last))
    order = order_of(650, 100, drop_last=drop_last, epoch=2)
    for step in range(uniform.num_steps):
        row_ids = np.full(len(order.rows_at(step)), -1)
        for draw in uniform.draws(Position(2, step)):
            row_ids[draw.places] = draw.row_ids
            assert set(draw.row_ids) <= set(uniform.strata[0].rows_in(draw.window))
        assert row_ids.tolist() == order.rows_at(step).tolist()
