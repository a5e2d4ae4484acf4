"""Batches on their way to a device: on the CPU they stay what they are, and tensors serve as arrays do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from astrofm.data.loader import Feed, Loader
from astrofm.parts import build_view
from astrofm.plan import input_plan, make_contract, make_pipeline, rows_of_splits
from astrofm.recipe import NamedPart
from astrofm.views.device import Sender


@pytest.fixture
def batch(mock_stores):
    store = mock_stores["gz-evo"]
    return next(iter(Loader((Feed("gz-evo", store, rows_of_splits(store, ("train",))),), 8, 0)))


@pytest.fixture
def pipeline(mock_stores, tiny_recipe):
    store = mock_stores["gz-evo"]
    contract = make_contract(tiny_recipe(), [store])
    views = [build_view(NamedPart(name=name)) for name in ("rotate", "flip")]
    return make_pipeline(contract, {"gz-evo": input_plan(store)}, views, 2, 0)


def as_tensors(batch):
    shares = tuple(
        replace(
            share,
            images=torch.from_numpy(np.array(share.images)),
            mask=None if share.mask is None else torch.from_numpy(np.array(share.mask)),
        )
        for share in batch.shares
    )
    return replace(batch, shares=shares)


def test_on_the_cpu_a_batch_stays_as_it_is(batch):
    sender = Sender("cpu")
    assert sender.send(batch, 0) is batch
    assert sender.receive(batch) is batch


def test_views_of_pixels_that_are_on_the_device_are_the_same(batch, pipeline):
    expected = pipeline(batch, 3, "cpu")
    views = pipeline(as_tensors(batch), 3, "cpu")
    assert all(torch.equal(one, other) for one, other in zip(views.images, expected.images, strict=True))
    assert torch.equal(pipeline.plain(as_tensors(batch), "cpu"), pipeline.plain(batch, "cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_pixels_sent_to_a_gpu_arrive_whole(batch):
    sender = Sender("cuda")
    for _ in range(20):
        received = sender.receive(sender.send(batch, 0))
        for share, expected in zip(received.shares, batch.shares, strict=True):
            assert share.images.device.type == "cuda"
            np.testing.assert_array_equal(share.images.cpu().numpy(), expected.images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_views_made_on_the_way_are_those_made_on_arrival(batch, pipeline):
    sender = Sender("cuda", pipeline)
    sent = [sender.send(batch, step) for step in range(8)]
    for step, each in enumerate(sent):
        views = sender.receive(each).views
        for found, expected in zip(views.images, pipeline(batch, step, "cuda").images, strict=True):
            assert torch.equal(found, expected)
