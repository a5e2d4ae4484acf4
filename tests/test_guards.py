"""What watches training: no update from what is not finite, clipping, small batches, and collapse."""

import signal

import numpy as np
import pytest
import torch
from torch import nn

from astrofm.accumulation import parts_of, take_step
from astrofm.data.feeding.order import Position
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.errors import TrainingError, UsageError
from astrofm.guards import CollapseRule, CollapseWatch, gradient_norm, row_names
from astrofm.heads.classes import ClassHead
from astrofm.interruption import Interrupted
from astrofm.objectives.base import Objective, StepResult
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.objectives.moco import MoCo, MoCoConfig
from astrofm.objectives.supervised import Supervised
from astrofm.optimizer import OptimizerConfig
from astrofm.plan import input_plan
from astrofm.training import fit
from astrofm.views.geometry import Rotate, RotateConfig
from astrofm.views.pipeline import ViewPipeline

SGD = OptimizerConfig(name="sgd", learning_rate=1.0, momentum=0.0, schedule="constant")
ADAMW = OptimizerConfig(learning_rate=3e-3, schedule="constant")
RULE = CollapseRule(spread=0.1, steps=30)


@pytest.fixture(scope="module")
def store(radio_store):
    return CutoutStore.open(radio_store)


@pytest.fixture
def loader(store):
    rows = np.arange(32)
    return Loader((Feed("test-field", store, rows, {"label": rows % 2}),), 8, 0)


@pytest.fixture(scope="module")
def make_pipeline(store):
    def make(num_views):
        return ViewPipeline(
            {"test-field": input_plan(store)},
            (Rotate(RotateConfig()),),
            num_views=num_views,
            size_pix=16,
            field_of_view_arcsec=None,
            seed=0,
        )

    return make


@pytest.fixture
def run(loader, make_pipeline):
    """Return a function that fits an objective."""

    def run(objective, optimizer=ADAMW, num_steps=4, **options):
        fresh = Loader(loader.feeds, loader.batch_size, loader.seed)  # a loader goes on where it was left
        return fit(objective, make_pipeline(objective.num_views), fresh, optimizer, num_steps=num_steps, **options)

    return run


class Recorder:
    def __init__(self):
        self.infos = []

    def on_step(self, info):
        self.infos.append(info)

    def column(self, name):
        return [info.metrics.get(name) for info in self.infos]


class Row(Objective):
    """A loss that looks at each row by itself; from a step on its gradient, and only that, is not finite."""

    num_views = 1

    def __init__(self, breaks_at=None, factor=1.0):
        super().__init__()
        self.encoder = nn.Linear(256, 4)
        nn.init.normal_(self.encoder.weight, generator=torch.Generator().manual_seed(1))
        nn.init.zeros_(self.encoder.bias)
        self.breaks_at, self.factor = breaks_at, factor

    def forward(self, views, step):
        embedding = self.encoder(views.images[0].flatten(1))
        loss = self.factor * embedding.square().mean()
        if step == self.breaks_at:
            loss = loss + (0.0 * self.encoder.weight).abs().sqrt().sum()  # 0, of infinite slope
        return StepResult(loss, {"size": torch.tensor(float(len(embedding)))}, embedding.detach())


def encoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32))


def byol(tau=0.9, **changes):
    torch.manual_seed(1)
    config = BYOLConfig(hidden_dim=32, out_dim=16, tau_start=tau, tau_schedule="constant")
    return BYOL(config, encoder(), 32)


def collapsing_byol():
    """What keeps BYOL from collapsing taken away: predictor, slow target, and the batch norm of the projector."""
    objective = byol(tau=0.0)
    objective.predictor = nn.Identity()
    objective.projector[1] = objective.target.network[1][1] = nn.Identity()
    return objective


def test_gradient_that_is_not_finite_stops_before_the_update_and_names_its_rows(run, loader, store):
    objective, weights = Row(breaks_at=2), []

    class Watch:
        def on_step(self, info):
            weights.append(objective.encoder.weight.clone())

    with pytest.raises(
        TrainingError, match=r"gradient of step 3 is nan \(the loss is .*: no update was made"
    ) as caught:
        run(objective, listeners=[Watch()])
    assert len(weights) == 2
    assert torch.equal(objective.encoder.weight, weights[-1])
    row_ids = Loader(loader.feeds, 8, 0).batch_at(Position(0, 2)).row_ids
    names = [store.catalog.column("id_str")[row] for row in row_ids]
    assert f"the batch holds {', '.join(names[:4])}, ..." in str(caught.value)


def test_rows_of_several_feeds_have_their_own_names(store):
    feeds = (Feed("a", store, np.array([3, 5])), Feed("b", store, np.array([7, 2, 9])))
    ids = store.catalog.column("id_str")
    assert row_names(feeds, np.array([4, 0, 2, 1, 3])) == tuple(ids[[9, 3, 7, 5, 2]])


def test_clipping_shortens_the_gradient_of_all_parameters_together_and_keeps_its_direction(run):
    free, clipped = Row(), Row()
    before = torch.cat([p.detach().clone().flatten() for p in free.parameters()])
    recorder = Recorder()
    run(free, SGD, num_steps=1, listeners=[recorder])
    run(clipped, SGD, num_steps=1, gradient_clip_norm=0.01)
    moved, shortened = (torch.cat([p.detach().flatten() for p in o.parameters()]) - before for o in (free, clipped))
    assert recorder.column("gradient_norm") == [pytest.approx(moved.norm().item(), rel=1e-4)]
    assert moved.norm() > 0.1
    assert shortened.norm().item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(shortened / shortened.norm(), moved / moved.norm(), atol=1e-4, rtol=1e-3)


def test_gradient_shorter_than_the_clip_norm_is_left_as_it_is(run):
    free, clipped = byol(), byol()
    run(free)
    run(clipped, gradient_clip_norm=1e6)
    assert all(torch.equal(a, b) for a, b in zip(free.parameters(), clipped.parameters(), strict=True))


@pytest.mark.parametrize("num_parts", [2, 4])
def test_small_batches_have_the_views_of_the_whole_batch(loader, make_pipeline, num_parts):
    pipeline, batch = make_pipeline(2), loader.batch_at(Position(0, 1))
    whole = pipeline(batch, 5, "cpu")
    parts = [pipeline(part, 5, "cpu") for part in parts_of(batch, num_parts)]
    assert torch.equal(torch.cat([part.row_ids for part in parts]), whole.row_ids)
    assert torch.equal(torch.cat([part.labels["label"] for part in parts]), whole.labels["label"])
    for number in (0, 1):
        assert torch.equal(torch.cat([part.images[number] for part in parts]), whole.images[number])


def test_small_batches_of_a_mixed_batch_keep_each_row_with_its_pixels(store):
    feeds = (Feed("a", store, np.arange(16)), Feed("b", store, np.arange(16, 32)))
    batch = Loader(feeds, 8, 0).batch_at(Position(0, 0))

    def by_row(batches):
        return {
            int(row_id): share.images[place].sum()
            for part in batches
            for share in part.shares
            for place, row_id in enumerate(part.row_ids[share.places])
        }

    assert by_row(parts_of(batch, 4)) == by_row([batch])
    assert [part.first for part in parts_of(batch, 4)] == [0, 2, 4, 6]


@pytest.mark.parametrize("clip", [None, 0.05])
def test_where_rows_count_by_themselves_small_batches_are_the_whole_batch(run, clip):
    whole, small = Row(), Row()
    recorder = Recorder()
    calm = SGD.model_copy(update={"learning_rate": 0.01})  # at 1 the loss grows, and with it each rounding
    run(whole, calm, gradient_clip_norm=clip)
    result = run(small, calm, gradient_clip_norm=clip, accumulate_batches=4, listeners=[recorder])
    torch.testing.assert_close(small.encoder.weight, whole.encoder.weight, rtol=1e-4, atol=1e-6)
    assert recorder.column("size") == [2.0] * 4
    assert (result.step, result.epoch) == (4, 1)


def test_gradient_of_byol_is_the_mean_of_those_of_the_small_batches(loader, make_pipeline):
    """Each with its own statistics of batch norm, so not that of the whole batch."""
    batch, pipeline, cpu = loader.batch_at(Position(0, 0)), make_pipeline(2), torch.device("cpu")
    together, alone, whole = byol(), byol(), byol()
    take_step(together, pipeline, batch, 0, cpu, 2).loss.backward()
    losses = [alone(pipeline(part, 0, cpu), 0).loss for part in parts_of(batch, 2)]
    (sum(losses) / 2).backward()
    take_step(whole, pipeline, batch, 0, cpu).loss.backward()
    for one, other in zip(together.parameters(), alone.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad)
    assert abs(gradient_norm(together.parameters()) - gradient_norm(whole.parameters())) > 1e-3


def test_target_moves_once_a_step_however_many_small_batches_make_it(run):
    objective = byol(tau=0.75)
    target = objective.target.network[1][0].weight.detach().clone()
    moves = []

    class Watch:
        def on_step(self, info):
            expected = target.lerp(objective.projector[0].weight.detach(), 0.25)
            moves.append(torch.allclose(objective.target.network[1][0].weight, expected, atol=1e-6))

    run(objective, num_steps=1, accumulate_batches=4, listeners=[Watch()])
    assert moves == [True]


def test_keys_of_all_small_batches_join_the_queue(run):
    torch.manual_seed(0)
    objective = MoCo(MoCoConfig(hidden_dim=32, out_dim=16, num_keys=64), encoder(), 32)
    run(objective, num_steps=3, accumulate_batches=2)
    assert int(objective.num_seen) == 24
    assert torch.equal(objective.keys.norm(dim=1) > 0, torch.arange(64) < 24)


def test_batch_that_cannot_be_shared_equally_is_refused(run):
    for num in (3, 8):
        with pytest.raises(UsageError, match=f"8 cutouts a process cannot be made of {num} equal small batches"):
            run(Row(), accumulate_batches=num)


def test_run_that_collapses_is_stopped_with_its_state_saved_and_a_healthy_one_is_not(run, tmp_path):
    recorder = Recorder()
    with pytest.raises(
        TrainingError, match=r"collapsed: at step \d+ the spread of the projection .* learning rate, a tau"
    ):
        run(collapsing_byol(), num_steps=200, collapse=RULE, listeners=[recorder])
    assert 30 < recorder.infos[-1].step < 200
    assert max(recorder.column("projection_spread")[-20:]) < RULE.spread
    assert recorder.column("embedding_spread")[-1] > 0.3  # it tells nothing: batch norm keeps it
    healthy = Recorder()
    assert run(byol(), num_steps=200, collapse=RULE, listeners=[healthy]).step == 200
    assert min(healthy.column("projection_spread")) > 3 * RULE.spread


def test_untrained_and_supervised_networks_raise_no_alarm(run):
    objective = Supervised(nn.Sequential(nn.Flatten(), nn.Linear(256, 8)), ClassHead(8, 2))
    with torch.no_grad():
        objective.encoder[1].bias.fill_(1e4)  # all embeddings point the same way, and the head can still learn
    recorder = Recorder()
    assert run(objective, num_steps=60, collapse=RULE, listeners=[recorder]).step == 60
    assert max(recorder.column("embedding_spread")) < RULE.spread


class Alike(Objective):
    """Two views and one embedding for all, as after a complete collapse."""

    num_views = 2

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(1, 4)

    def forward(self, views, step):
        embedding = self.encoder(torch.ones(len(views.row_ids), 1))
        return StepResult(embedding.square().mean(), {}, embedding.detach())


def test_effective_rank_is_measured_every_ten_steps_and_the_spread_always(run):
    recorder = Recorder()
    run(Alike(), num_steps=23, listeners=[recorder])
    measured = [info.step for info in recorder.infos if "effective_rank" in info.metrics]
    assert measured == [1, 10, 20, 23]
    assert len(recorder.column("embedding_spread")) == 23


def test_count_of_low_steps_goes_on_after_an_ordinary_stop_and_begins_anew_after_a_verdict(run, monkeypatch):
    watches = []
    made = CollapseWatch.__init__

    def remember(self, rule):
        made(self, rule)
        if watches:
            self.load_state_dict(watches[-1].state_dict())
        watches.append(self)

    monkeypatch.setattr(CollapseWatch, "__init__", remember)

    class StopAt15:
        def on_step(self, info):
            if info.step == 15:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        run(Alike(), num_steps=100, collapse=RULE, listeners=[StopAt15()])
    assert watches[-1].state_dict() == {"num_low": 10}
    recorder = Recorder()
    with pytest.raises(TrainingError, match=r"at step 20 the spread of the embedding has been below 0\.1 for 30 steps"):
        run(Alike(), num_steps=100, collapse=RULE, listeners=[recorder])
    assert watches[-1].state_dict() == {"num_low": 0}
