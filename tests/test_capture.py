"""What of a captured step can be told without a GPU: who may be captured, and that others are computed as they are."""

import warnings

import pytest
import torch

from astrofm.capture import CapturedObjective
from astrofm.objectives.byol import BYOL
from astrofm.objectives.hybrid import Hybrid
from astrofm.objectives.moco import MoCo
from astrofm.objectives.simclr import SimCLR, SimCLRConfig
from astrofm.objectives.spectral import Spectral
from astrofm.objectives.supervised import Supervised
from astrofm.views.base import Views

CANNOT = r"^training.capture: the step cannot be captured \(.+\), and is taken as it is$"


@pytest.fixture
def views():
    torch.manual_seed(0)
    return Views((torch.rand(6, 1, 4, 4), torch.rand(6, 1, 4, 4)), torch.arange(6))


@pytest.fixture
def encoder():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8))


def test_objectives_that_look_at_labels_or_keep_a_queue_are_not_captured():
    assert all(objective.is_capturable for objective in (BYOL, SimCLR, Spectral))
    assert not any(objective.is_capturable for objective in (Hybrid, MoCo, Supervised))


class Keeps(SimCLR):
    is_capturable = False


def test_what_is_not_captured_is_computed_as_it_is_and_told_once(encoder, views):
    objective = Keeps(SimCLRConfig(hidden_dim=8, out_dim=4), encoder, 8)
    with pytest.warns(UserWarning, match=CANNOT.replace(".+", ".*Keeps.*")):
        captured = CapturedObjective(objective)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [captured(views, 0) for _ in range(2)]
    assert torch.equal(results[0].loss, objective(views, 0).loss)
    assert results[0].loss > 0
    results[1].loss.backward()
    assert encoder[1].weight.grad.abs().sum() > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="without a GPU")
def test_where_recording_fails_the_step_is_taken_as_it_is(encoder, views):
    objective = SimCLR(SimCLRConfig(hidden_dim=8, out_dim=4), encoder, 8)
    captured = CapturedObjective(objective)
    with pytest.warns(UserWarning, match=CANNOT):
        found = captured(views, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = captured(views, 1)
    assert torch.equal(found.loss, again.loss)
    assert torch.equal(found.loss, objective(views, 0).loss)
