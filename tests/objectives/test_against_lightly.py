"""The losses beside those of an independent library, lightly: values and gradients."""

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from torch import nn

from astrofm.objectives.byol import byol_loss
from astrofm.objectives.moco import info_nce_loss
from astrofm.objectives.simclr import nt_xent_loss


def drawn(num=16, dim=12, seed=0):
    first, second = torch.randn(2, num, dim, generator=torch.Generator().manual_seed(seed))
    return first.requires_grad_(), second.requires_grad_()


def gradient(loss, of):
    return torch.autograd.grad(loss, of, retain_graph=True)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_byol_is_2_and_twice_the_negative_cosine(seed):
    prediction, target = drawn(seed=seed)
    own, theirs = byol_loss(prediction, target), NegativeCosineSimilarity()(prediction, target.detach())
    torch.testing.assert_close(own, 2.0 + 2.0 * theirs)
    torch.testing.assert_close(gradient(own, prediction)[0], 2.0 * gradient(theirs, prediction)[0])


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_nt_xent_of_simclr(temperature):
    views = drawn()
    own, theirs = nt_xent_loss(*views, temperature), NTXentLoss(temperature)(*views)
    torch.testing.assert_close(own, theirs)
    torch.testing.assert_close(gradient(own, views), gradient(theirs, views))


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_info_nce_of_moco_with_a_queue(temperature):
    queries, keys = drawn()
    bank = NTXentLoss(temperature, memory_bank_size=(32, 12))
    negatives = nn.functional.normalize(torch.randn(32, 12, generator=torch.Generator().manual_seed(9)), dim=1)
    bank.memory_bank.bank = negatives.clone()
    bank.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
    theirs = bank(queries, keys.detach())
    own = info_nce_loss(queries, keys, negatives, temperature)
    torch.testing.assert_close(own, theirs)
    torch.testing.assert_close(gradient(own, queries), gradient(theirs, queries))
