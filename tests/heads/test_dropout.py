"""Dropout whose mask follows from seed, step and row."""

import torch

from astrofm.heads.dropout import dropout_mask

ROWS = torch.arange(2000)
SEED = torch.tensor(12345)


def test_the_asked_share_is_dropped_and_the_mean_is_kept_in_every_row_and_column():
    mask = dropout_mask(ROWS, 500, 0.2, SEED, 7)
    assert set(mask.unique().tolist()) == {0.0, 1.25}
    dropped = (mask == 0).float()
    assert abs(dropped.mean().item() - 0.2) < 0.002
    for axis, num in ((0, 2000), (1, 500)):
        spread = dropped.mean(dim=axis).std().item() / (0.2 * 0.8 / num) ** 0.5
        assert 0.9 < spread < 1.1  # as independent draws have it


def test_the_mask_of_a_row_does_not_depend_on_the_rows_beside_it():
    mask = dropout_mask(ROWS, 64, 0.5, SEED, 3)
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dropout_mask(ROWS[order][:100], 64, 0.5, SEED, 3), mask[order][:100])


def test_another_step_seed_or_row_has_an_unrelated_mask():
    mask = dropout_mask(ROWS, 64, 0.5, SEED, 3)
    others = [
        dropout_mask(ROWS, 64, 0.5, SEED, 4),
        dropout_mask(ROWS, 64, 0.5, SEED + 1, 3),
        mask.roll(1, dims=0),
        mask.roll(1, dims=1),
    ]
    for other in others:
        assert abs((other == mask).float().mean().item() - 0.5) < 0.01


def test_no_share_drops_nothing_and_no_generator_is_used():
    before = torch.get_rng_state()
    assert (dropout_mask(ROWS, 8, 0.0, SEED, 0) == 1).all()
    assert torch.equal(torch.get_rng_state(), before)
