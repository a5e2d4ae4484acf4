"""Batches of a given composition: shares, laps without repetition, ranks that share no row."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.data.feeding.mixing import Mixture, groups_of, split
from astrofm.data.feeding.order import EpochOrder, Position
from astrofm.errors import UsageError

shares_of_some = st.lists(st.floats(0.01, 100), min_size=1, max_size=6)


@given(total=st.integers(0, 10**9), shares=shares_of_some)
def test_parts_add_up_and_are_near_their_shares(total, shares):
    parts = split(total, shares)
    assert sum(parts) == total
    for part, share in zip(parts, shares, strict=True):
        assert abs(part - total * share / math.fsum(shares)) <= len(shares) / 2 + 1e-3


@given(total=st.integers(0, 10**6), more=st.integers(0, 300), shares=shares_of_some)
def test_no_part_shrinks_as_the_total_grows(total, more, shares):
    assert all(before <= after for before, after in zip(split(total, shares), split(total + more, shares), strict=True))


def test_parts_known_by_hand():
    assert split(10, [1, 1]) == [5, 5]
    assert split(7, [3, 1]) == [5, 2]
    assert split(9, [1, 1, 1]) == [3, 3, 3]
    assert split(5, [2.0]) == [5]


@st.composite
def mixtures(draw):
    """Some feeds, their weights, which rows are labelled, and the ranks' mixtures."""
    world_size = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(8, 60), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labelled = [np.concatenate([np.ones(4, bool), np.zeros(4, bool), rng.random(size - 8) < 0.3]) for size in sizes]
    weights = draw(st.none() | st.lists(st.floats(0.2, 5), min_size=len(sizes), max_size=len(sizes)))
    fraction = draw(st.sampled_from([0.1, 0.5, 0.75] if weights is None else [None, 0.1, 0.5, 0.75]))
    feeds = [
        SimpleNamespace(survey=f"s{n}", rows=np.arange(size), weight=weights and weights[n], is_labelled=labelled[n])
        for n, size in enumerate(sizes)
    ]
    share = draw(st.integers(1, sum(sizes) // world_size))
    given = {
        "blocks": np.arange(sum(sizes)) // 4,
        "window_rows": draw(st.integers(1, 80)),
        "seed": draw(st.integers(0, 9)),
    }
    groups = groups_of(feeds, fraction, world_size)
    ranks = [
        Mixture(
            groups,
            EpochOrder(
                **given,
                batch_size=share * world_size,
                epoch=0,
                shuffle=True,
                drop_last=True,
                rank=rank,
                world_size=world_size,
            ),
        )
        for rank in range(world_size)
    ]
    return SimpleNamespace(feeds=feeds, fraction=fraction, weights=weights, ranks=ranks, share=share)


@given(mixed=mixtures())
@settings(deadline=None, max_examples=60)
def test_every_batch_is_whole_and_has_its_share_of_labelled_rows(mixed):
    labelled = np.concatenate([feed.is_labelled for feed in mixed.feeds])
    for mixture in mixed.ranks:
        assert mixture.num_steps == len(labelled) // (mixed.share * len(mixed.ranks))
        for step in range(min(mixture.num_steps, 8)):
            draws = mixture.draws(Position(1, step))
            places = np.concatenate([draw.places for draw in draws])
            row_ids = np.concatenate([draw.row_ids for draw in draws])
            assert sorted(places) == list(range(mixed.share))
            assert mixture.sizes(step) == [mixed.share] * len(mixed.ranks)
            if mixed.fraction is not None:
                assert abs(labelled[row_ids].sum() - mixed.share * mixed.fraction) <= 1


@given(mixed=mixtures())
@settings(deadline=None, max_examples=60)
def test_shares_of_the_surveys_are_right_over_an_epoch(mixed):
    mixture = mixed.ranks[0]
    given = [draw for step in range(mixture.num_steps) for draw in mixture.draws(Position(0, step))]
    total = mixture.num_steps * mixed.share
    for stratum, share in zip(mixture.strata, mixture.shares, strict=True):
        num = sum(len(draw.row_ids) for draw in given if draw.window.stratum == stratum.number)
        assert abs(num - share * total) <= len(mixture.strata)
    assert math.fsum(mixture.shares) == pytest.approx(1)
    if mixed.weights is not None and mixed.fraction is None:
        assert mixture.shares == pytest.approx(np.divide(mixed.weights, sum(mixed.weights)))


@given(mixed=mixtures())
@settings(deadline=None, max_examples=60)
def test_in_a_lap_no_row_comes_twice_on_any_rank_and_a_lap_leaves_out_less_than_a_row_a_rank(mixed):
    seen = defaultdict(list)
    for mixture in mixed.ranks:
        for epoch in range(3):
            for step in range(min(mixture.num_steps, 30)):
                for draw in mixture.draws(Position(epoch, step)):
                    assert set(draw.row_ids) <= set(mixture.strata[draw.window.stratum].rows_in(draw.window))
                    seen[draw.window.stratum, draw.window.lap] += draw.row_ids.tolist()
    for (number, lap), rows in seen.items():
        assert len(rows) == len(set(rows))
        if (number, lap + 1) in seen and (number, lap - 1) in seen and mixed.ranks[0].num_steps <= 30:
            assert len(mixed.ranks[0].strata[number].row_ids) - len(rows) < len(mixed.ranks)


@given(mixed=mixtures(), step=st.integers(0, 40))
@settings(deadline=None, max_examples=40)
def test_a_batch_is_the_same_whatever_was_asked_before(mixed, step):
    mixture = mixed.ranks[-1]
    position = Position(2, step % mixture.num_steps)
    first = mixture.draws(position)
    for other in range(mixture.num_steps):
        mixture.draws(Position(0, other))
    for draw, again in zip(first, mixture.draws(position), strict=True):
        assert draw.window == again.window
        assert draw.row_ids.tolist() == again.row_ids.tolist()
        assert draw.places.tolist() == again.places.tolist()


def test_what_cannot_be_shared_is_refused():
    def feed(name, num, labelled, weight=None):
        return SimpleNamespace(survey=name, rows=np.arange(num), weight=weight, is_labelled=np.arange(num) < labelled)

    with pytest.raises(UsageError, match="two has no weight and the other surveys do"):
        groups_of([feed("one", 4, 0, 1.0), feed("two", 4, 0)], None, 1)
    with pytest.raises(
        UsageError, match=r"a share of 0.5 of labelled rows was asked for, and one, two has no labelled row"
    ):
        groups_of([feed("one", 4, 0), feed("two", 4, 0)], 0.5, 1)
    with pytest.raises(UsageError, match="a survey of one has fewer labelled rows than the 2 processes"):
        groups_of([feed("one", 4, 1)], 0.5, 2)
    with pytest.raises(UsageError, match=r"between 0 and 1, and 1.0 was given"):
        groups_of([feed("one", 4, 1)], 1.0, 1)


def test_a_survey_without_labels_leaves_its_share_of_them_to_the_others():
    feeds = [
        SimpleNamespace(survey="a", rows=np.arange(10), weight=3.0, is_labelled=np.zeros(10, bool)),
        SimpleNamespace(survey="b", rows=np.arange(10), weight=1.0, is_labelled=np.arange(10) < 5),
    ]
    labelled, unlabelled = groups_of(feeds, 0.4, 1)
    assert (labelled.share, labelled.weights) == (0.4, (1.0,))
    assert labelled.rows[0].tolist() == [10, 11, 12, 13, 14]
    assert (unlabelled.share, unlabelled.weights) == (0.6, (3.0, 1.0))
    assert unlabelled.rows[1].tolist() == [15, 16, 17, 18, 19]
