"""Every loss is computed in float32, whatever the networks compute in: its value tells, not the dtype of the result."""

import math

import pytest
import torch

from astrofm.objectives.byol import byol_loss
from astrofm.objectives.moco import info_nce_loss
from astrofm.objectives.simclr import nt_xent_loss
from astrofm.objectives.spectral import spectral_loss

NEGATIVES = torch.nn.functional.normalize(torch.randn(20, 12, generator=torch.Generator().manual_seed(9)), dim=1)
LOSSES = {
    "byol": byol_loss,
    "spectral": lambda first, second: spectral_loss(first, second, 1.0),
    "nt-xent": lambda first, second: nt_xent_loss(first, second, 0.1),
    "info-nce": lambda first, second: info_nce_loss(first, second, NEGATIVES, 0.1),
}


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_byol(first, second):
    return sum(2.0 - 2.0 * cosine(a, b) for a, b in zip(first, second, strict=True)) / len(first)


def slow_spectral(first, second):
    in_ball = [[[x / max(1.0, math.hypot(*row)) for x in row] for row in z] for z in (first, second)]
    num, dot = len(first), lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))
    products = [[dot(a, b) for b in in_ball[1]] for a in in_ball[0]]
    negative = sum(products[i][j] ** 2 for i in range(num) for j in range(num) if i != j) / (num * (num - 1))
    return negative - 2.0 * sum(products[i][i] for i in range(num)) / num


def cross_entropy(positive, others):
    return math.log(math.exp(positive) + sum(math.exp(other) for other in others)) - positive


def slow_nt_xent(first, second):
    views, num = [*first, *second], len(first)
    return sum(
        cross_entropy(
            cosine(view, views[(place + num) % (2 * num)]) / 0.1,
            [
                cosine(view, other) / 0.1
                for at, other in enumerate(views)
                if at not in (place, (place + num) % (2 * num))
            ],
        )
        for place, view in enumerate(views)
    ) / (2 * num)


def slow_info_nce(first, second):
    negatives = NEGATIVES.double().tolist()
    losses = [
        cross_entropy(cosine(a, b) / 0.1, [cosine(a, negative) / 0.1 for negative in negatives])
        for a, b in zip(first, second, strict=True)
    ]
    return sum(losses) / len(losses)


SLOW = {"byol": slow_byol, "spectral": slow_spectral, "nt-xent": slow_nt_xent, "info-nce": slow_info_nce}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_under_autocast_a_loss_is_that_of_the_slow_loop_over_the_same_numbers(name, dtype):
    base, noise = torch.randn(2, 8, 12, generator=torch.Generator().manual_seed(0))
    first, second = base.to(dtype), (base + 0.1 * noise).to(dtype)  # close together, where a loss is small
    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES[name](first, second)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(SLOW[name](first.double().tolist(), second.double().tolist()), rel=2e-5)
