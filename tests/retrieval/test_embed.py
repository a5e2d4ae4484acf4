"""Embedding cutouts with a network."""

import numpy as np
import pytest
import torch
from torch import nn

from astrofm.data.batch import Batch, Share
from astrofm.errors import DataError
from astrofm.retrieval.embed import embed

CPU = torch.device("cpu")


class PlainPixels:
    """A pipeline whose plain view is the cutout as it is stored."""

    def plain(self, batch, device):
        return torch.as_tensor(batch.shares[0].images, device=device)


def batches(num, size, seed=0):
    images = np.random.default_rng(seed).standard_normal((num, 2, 8, 8)).astype(np.float32)
    result = []
    for first in range(0, num, size):
        rows = np.arange(first, min(first + size, num))
        share = Share("survey", images[rows], None, np.arange(len(rows)), {})
        result.append(Batch((share,), rows, 0, len(rows)))
    return result


def small_encoder():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )


def test_embeddings_do_not_depend_on_the_batches():
    encoder = small_encoder()
    whole = embed(encoder, batches(23, 23), PlainPixels(), CPU)
    assert whole.shape == (23, 5)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(embed(encoder, batches(23, 4), PlainPixels(), CPU), whole, atol=1e-6)


def test_statistics_stay_and_every_module_gets_its_own_mode_back():
    encoder = small_encoder()
    encoder.train()
    encoder[1].eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    embed(encoder, batches(8, 4), PlainPixels(), CPU)
    assert [module.training for module in encoder.modules()] == modes
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_runs_in_evaluation_mode_without_gradient():
    seen = []

    class Watched(nn.Module):
        def forward(self, images):
            seen.append((self.training, torch.is_grad_enabled()))
            return images.mean(dim=(2, 3))

    embed(Watched().train(), batches(4, 2), PlainPixels(), CPU)
    assert seen == [(False, False)] * 2


def test_modes_come_back_after_a_failure():
    class Failing(nn.Module):
        def forward(self, images):
            raise RuntimeError("out of memory")

    encoder = Failing().train()
    with pytest.raises(RuntimeError, match="out of memory"):
        embed(encoder, batches(4, 2), PlainPixels(), CPU)
    assert encoder.training


def test_nothing_to_embed_is_refused():
    with pytest.raises(DataError, match="nothing to embed"):
        embed(small_encoder(), [], PlainPixels(), CPU)


def test_embedding_that_is_not_finite_is_refused_by_its_row():
    data = batches(6, 3)
    data[1].shares[0].images[2] = np.nan
    with pytest.raises(DataError, match="1 of 3 embeddings are not finite, the first of row 5"):
        embed(small_encoder(), data, PlainPixels(), CPU)
