"""One of two processes that train together; tests/test_distributed.py starts it twice.

Arguments: store, recipe, folder. What it finds wrong ends it with an error.
"""

import os
import shutil
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from astrofm.data.store import CutoutStore
from astrofm.data.supervision import Labels
from astrofm.distributed import any_rank, gather, rank
from astrofm.encoders.sync_batch_norm import synchronise_batch_norm
from astrofm.errors import TrainingError
from astrofm.heads.classes import ClassHead, ClassHeadConfig
from astrofm.heads.votes import VoteHeadConfig
from astrofm.interruption import Interrupted
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.objectives.hybrid import HybridConfig, build_hybrid
from astrofm.objectives.moco import MoCo, MoCoConfig
from astrofm.objectives.simclr import SimCLR, SimCLRConfig
from astrofm.objectives.spectral import Spectral, SpectralConfig
from astrofm.objectives.supervised import Supervised
from astrofm.pretrain import pretrain
from astrofm.processes import Processes
from astrofm.recipe import Recipe
from astrofm.sharding import shard, whole
from astrofm.training import DDP_NAMES
from astrofm.views.base import Views

NUM_ROWS, DIM = 12, 64
QUESTIONS = (slice(0, 2), slice(2, 5))
VOTES = Labels("votes", ("a", "b", "c", "d", "e"), QUESTIONS)
CLASSES = Labels("classes", ("round", "smooth"), ())


def _encoder():
    """Shallow, as each layer makes the rounding of the one before it larger; with both kinds of batch norm."""
    layers = (
        nn.Conv2d(1, 16, 3, bias=False),
        BatchNormAct2d(16),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 32),
    )
    return nn.Sequential(*layers), 32


def _byol():
    return BYOL(BYOLConfig(hidden_dim=DIM, out_dim=16), *_encoder())


def _hybrid(head, labels):
    return build_hybrid(HybridConfig(hidden_dim=DIM, out_dim=16, weight=0.5, head=head), *_encoder(), labels)


def _supervised():
    encoder, dim = _encoder()
    return Supervised(encoder, ClassHead(dim, 2))


OBJECTIVES = {
    "byol": _byol,
    "hybrid-votes": lambda: _hybrid(VoteHeadConfig(), VOTES),
    "hybrid-classes": lambda: _hybrid(ClassHeadConfig(kind="classes", task="shape"), CLASSES),
    "moco": lambda: MoCo(MoCoConfig(hidden_dim=DIM, out_dim=16, num_keys=40), *_encoder()),
    "simclr": lambda: SimCLR(SimCLRConfig(hidden_dim=DIM, out_dim=16), *_encoder()),
    "spectral": lambda: Spectral(SpectralConfig(hidden_dim=DIM, out_dim=24), *_encoder()),
    "supervised": _supervised,
}


def batch(labelled):
    """Views of the global batch; all labelled rows but one are in the first half."""
    rng = np.random.default_rng(3)
    images = tuple(torch.tensor(rng.normal(size=(NUM_ROWS, 1, 24, 24)), dtype=torch.float32) for _ in range(2))
    has_label = torch.zeros(NUM_ROWS, dtype=torch.bool)
    has_label[[0, 2, 3, 5, 8]] = labelled
    votes = torch.tensor(rng.integers(1, 20, (NUM_ROWS, 5), dtype=np.int16)) * has_label[:, None]  # as a store has them
    classes = torch.where(has_label, torch.tensor(rng.integers(0, 2, NUM_ROWS)), -1)
    return Views(images=images, row_ids=torch.arange(NUM_ROWS), labels={"votes": votes, "label": classes})


def half(views, number):
    mine = slice(number * NUM_ROWS // 2, (number + 1) * NUM_ROWS // 2)
    labels = {name: column[mine] for name, column in views.labels.items()}
    return Views(tuple(images[mine] for images in views.images), row_ids=views.row_ids[mine], labels=labels)


class Trained(nn.Module):
    """An objective as the loop gives it to DDP."""

    def __init__(self, objective):
        super().__init__()
        self.objective = objective

    def forward(self, views):
        self.result = self.objective(views, 4)
        return self.result.loss


def measured(name, views, dtype, mode):
    """Return gradients, state and metrics of a second step; the first fills the queue of MoCo.

    ``mode`` is one process alone, or two of them that hold all weights or divide them. In float64 the one process has
    torch's own batch norm. In float32 it has that of the two, as torch's rounds its sums where this one does not.
    """
    torch.manual_seed(5)
    objective = OBJECTIVES[name]().train().to(dtype)
    if isinstance(objective, MoCo):
        objective.keys = objective.keys.float()  # as all losses are
    views = replace(views, images=tuple(images.to(dtype) for images in views.images))
    keys = set(objective.state_dict())
    trained = network = Trained(objective)
    if mode != "alone" or dtype == torch.float32:
        synchronise_batch_norm(objective, "cpu")
    if mode == "sharded":
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        shard(objective, init_device_mesh("cpu", (2,)))
    if mode == "whole":
        for option in DDP_NAMES:
            warnings.filterwarnings("ignore", message=f".*{option}")
        network = DistributedDataParallel(trained, find_unused_parameters=True, broadcast_buffers=False)
    assert set(objective.state_dict()) == keys
    with torch.no_grad():
        objective(views, 3)
    objective.after_step(4, 10)
    loss = network(views)
    loss.backward()
    objective.after_step(5, 10)
    if mode == "sharded":
        parts = sum(value.to_local().numel() for value in objective.parameters())
        assert parts < 0.6 * sum(value.numel() for value in objective.parameters())
    gradients = {key: whole(value.grad) for key, value in objective.named_parameters() if value.grad is not None}
    state = {key: whole(value) for key, value in objective.state_dict().items()}
    return gradients, state, {"loss": loss.detach(), **trained.result.metrics}


def check_gradients(alone, mode):
    """Compare with the one process that had the whole batch."""
    far = {}
    for (name, labelled, dtype), (gradients, state, metrics) in alone.items():
        own = half(batch(labelled), rank())
        own_gradients, own_state, own_metrics = measured(name, own, dtype, mode)
        assert own_gradients.keys() == gradients.keys(), name
        error = sum(float((own_gradients[key] - value).square().sum()) for key, value in gradients.items())
        far[name, labelled, dtype] = (error / sum(float(value.square().sum()) for value in gradients.values())) ** 0.5
        for key, value in state.items():
            torch.testing.assert_close(own_state[key], value, rtol=2e-5, atol=2e-6, msg=lambda text: f"{key}: {text}")  # noqa: B023
        for key, value in metrics.items():
            torch.testing.assert_close(own_metrics[key], value, rtol=1e-5, atol=1e-6)
        for key, value in own_state.items():
            first, second = gather(value.reshape(1, -1))
            assert torch.equal(first, second), (name, key)
    assert all(distance < 1e-6 for distance in far.values()), far


def check_runs(store, recipe, folder, *, is_sharded):
    """Train whole, and with a stop that only the second process is asked for; both end with the same bits."""
    arguments = (recipe, {"gz-evo": store})
    options = {"processes": Processes(2, is_sharded=is_sharded)}
    whole = pretrain(*arguments, folder / "whole", **options)
    after_step = BYOL.after_step

    def stopped_at_5(self, step, num_steps):
        if step == 5 and rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return after_step(self, step, num_steps)

    BYOL.after_step = stopped_at_5
    with pytest.raises(Interrupted) as stopped:
        pretrain(*arguments, folder / "stopped", **options)
    assert (stopped.value.signum, stopped.value.step) == (signal.SIGTERM, 5)
    BYOL.after_step = after_step
    if rank() == 0:
        shutil.copytree(folder / "stopped", folder / "left")
    distributed.barrier()
    resumed = pretrain(*arguments, folder / "stopped", resume=True, **options)
    assert (whole.step, resumed.step) == (12, 12)
    assert whole.metrics == resumed.metrics or rank() == 1
    check_failure(arguments, folder, options)


def check_failure(arguments, folder, options):
    """Fail on the second process alone, after the checkpoint of step 4."""
    byol_forward = BYOL.forward

    def fails_at_6(self, views, step):
        result = byol_forward(self, views, step)
        return replace(result, loss=result.loss * torch.nan) if step == 6 and rank() == 1 else result

    BYOL.forward = fails_at_6
    with pytest.raises(TrainingError, match=r"of step 7 is .* no update was made"):
        pretrain(*arguments, folder / "failed", **options)
    BYOL.forward = byol_forward


def main():
    store, recipe, folder = map(Path, sys.argv[1:])
    cases = [(name, True) for name in OBJECTIVES] + [("hybrid-votes", False), ("hybrid-classes", False)]
    alone = {
        (name, labelled, dtype): measured(name, batch(labelled), dtype, "alone")
        for name, labelled in cases
        for dtype in (torch.float32, torch.float64)
    }
    distributed.init_process_group("gloo")
    assert any_rank(rank() == 1)
    assert not any_rank(False)
    for is_sharded in (False, True):
        check_runs(CutoutStore.open(store), Recipe.load(str(recipe)), folder / str(is_sharded), is_sharded=is_sharded)
    for mode in ("whole", "sharded"):
        check_gradients(alone, mode)
    distributed.barrier()
    distributed.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # all was compared; torch has aborted here while the interpreter took its threads down


if __name__ == "__main__":
    main()
