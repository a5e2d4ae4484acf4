"""Supervised training: cross-entropy on logits, rows without a label, the head."""

import math

import pytest
import torch
from torch import nn

from astrofm.data.supervision import Labels
from astrofm.errors import DataError
from astrofm.heads.classes import ClassHead, ClassHeadConfig, class_head, class_loss
from astrofm.objectives.supervised import Supervised
from astrofm.views.base import Views


def views_of(labels, num=None):
    num = num or len(labels)
    images = torch.randn(num, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Views((images,), torch.arange(num), labels={"label": torch.tensor(labels)})


def supervised(num_classes=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Supervised(nn.Flatten(), ClassHead(16, num_classes))


@pytest.mark.parametrize("num_classes", [2, 5, 10])
def test_an_untrained_head_starts_at_the_logarithm_of_the_number_of_classes(num_classes):
    objective = supervised(num_classes=num_classes)
    labels = [row % num_classes for row in range(40)]
    assert objective(views_of(labels), 0).loss.item() == pytest.approx(math.log(num_classes), abs=0.05)


def test_the_loss_takes_logits_so_that_a_confident_mistake_keeps_its_gradient():
    logits = torch.tensor([[30.0, 0.0]], requires_grad=True)
    loss = class_loss(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(30.0)
    assert logits.grad.tolist() == [[pytest.approx(1.0), pytest.approx(-1.0)]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_gives_a_share_of_each_label_to_all_classes(smoothing):
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    labels, expected = [2, 0, 3], 0.0
    for row, label in zip(logits.double().tolist(), labels, strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        for place, value in enumerate(row):
            expected -= ((1 - smoothing) * (place == label) + smoothing / 4) * (value - norm) / 3
    assert class_loss(logits, torch.tensor(labels), smoothing).item() == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_of_a_recipe_reaches_the_loss():
    config = ClassHeadConfig(kind="classes", task="fr", label_smoothing=0.3)
    head = config.build(16, Labels("classes", ("fri", "frii"))).eval()
    views, embedding = views_of([0, 1, 1]), torch.randn(3, 16, generator=torch.Generator().manual_seed(4))
    loss, _ = head.measure(embedding, views, 0)
    torch.testing.assert_close(loss, class_loss(head(embedding), views.labels["label"], 0.3))
    assert loss.item() != pytest.approx(class_loss(head(embedding), views.labels["label"]).item(), rel=1e-6)


def test_rows_without_a_label_count_for_nothing():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    some = class_loss(logits, torch.tensor([0, -1, 2, -1]), label_smoothing=0.1)
    torch.testing.assert_close(some, class_loss(logits[[0, 2]], torch.tensor([0, 2]), label_smoothing=0.1))


def test_a_batch_without_labels_has_no_loss_and_no_gradient():
    objective = supervised()
    result = objective(views_of([-1, -1, -1]), 0)
    result.loss.backward()
    assert result.loss.item() == 0.0
    assert result.metrics["accuracy"].item() == 0.0
    assert all(parameter.grad.abs().max() == 0 for parameter in objective.parameters())


def test_accuracy_is_over_the_labelled_rows():
    objective = supervised(num_classes=2).eval()
    with torch.no_grad():
        objective.head.layers[1].weight.zero_()
        objective.head.layers[1].bias.copy_(torch.tensor([1.0, 0.0]))  # always class 0
    assert objective(views_of([0, 0, 1, -1]), 0).metrics["accuracy"].item() == pytest.approx(2 / 3)


def test_the_head_is_batch_norm_and_one_linear_layer():
    head = class_head(512, 2)
    assert [type(layer) for layer in head] == [nn.BatchNorm1d, nn.Linear]
    assert head(torch.randn(3, 512)).shape == (3, 2)


def test_nothing_of_batch_norm_moves_in_eval_mode():
    objective = supervised().eval()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective(views_of([0, 1, 2]), 0)
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())


def test_a_missing_label_column_is_named():
    views = views_of([0, 1])
    with pytest.raises(DataError, match="'label'; the batch has votes"):
        supervised()(Views(views.images, views.row_ids, labels={"votes": torch.ones(2, 3)}), 0)
