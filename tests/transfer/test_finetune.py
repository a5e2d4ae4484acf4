"""Fine-tuning: every layer learns from the labels given, and the test labels are not looked at."""

import copy

import numpy as np
import pytest
import torch

from astrofm.data.labels import task_labels
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.errors import RecipeError
from astrofm.heads.classes import ClassHead
from astrofm.plan import make_contract, rows_of_splits
from astrofm.recipe import NamedPart
from astrofm.retrieval.embed import embed
from astrofm.transfer import finetune as finetuning
from astrofm.transfer.finetune import FinetuneConfig, LabelledData, finetune
from astrofm.transfer.linear import fit_linear_probe
from astrofm.transfer.tasks import find_task

QUICK = FinetuneConfig(epochs=2, batch_size=8)


@pytest.fixture(scope="module")
def data(mock_stores):
    """Labelled training and test rows of a small optical survey."""
    store = mock_stores["gz-evo"]
    labels = task_labels(store.catalog, find_task(store.card))
    parts = []
    for split in ("train", "test"):
        rows = rows_of_splits(store, (split,))
        rows = rows[labels[rows] >= 0]
        parts.append(LabelledData(store, rows, labels[rows]))
    return parts


@pytest.fixture(scope="module")
def contract(mock_stores, tiny_recipe):
    return make_contract(tiny_recipe(), [mock_stores["gz-evo"]])


def encoder(seed=0):
    return build_encoder(EncoderConfig(name="test_resnet"), 3, seed=seed)


def run(network, contract, train, test, *, config=QUICK, seed=0):
    return finetune(network, contract, train, test, num_classes=2, config=config, seed=seed)


def test_training_labels_are_learned(contract, data):
    """Few rows, no augmentation and many steps: what was learned by heart is what was labelled."""
    train = data[0].take(np.arange(8))
    config = FinetuneConfig(epochs=40, batch_size=8, views=(), label_smoothing=0.0)
    assert set(train.labels) == {0, 1}
    np.testing.assert_array_equal(run(encoder(), contract, train, train, config=config), train.labels)
    flipped = LabelledData(train.store, train.rows, 1 - train.labels)
    np.testing.assert_array_equal(run(encoder(), contract, flipped, train, config=config), flipped.labels)


def test_every_layer_is_trained_the_stem_included(contract, data):
    network = encoder()
    before = copy.deepcopy(dict(network.named_parameters()))
    run(network, contract, *data)
    unchanged = [name for name, value in network.named_parameters() if torch.equal(value, before[name])]
    assert unchanged == []


def test_test_labels_change_nothing(contract, data):
    train, test = data
    permuted = LabelledData(test.store, test.rows, np.roll(test.labels, 1))
    np.testing.assert_array_equal(run(encoder(), contract, train, test), run(encoder(), contract, train, permuted))


def test_prediction_of_a_row_does_not_depend_on_the_others_and_leaves_the_statistics(contract, data):
    """In evaluation mode: norm layers use what they learned, not the test rows."""
    train, test = data
    whole = run(encoder(), contract, train, test)
    half = run(encoder(), contract, train, test.take(np.arange(len(test.rows) // 2)))
    np.testing.assert_array_equal(half, whole[: len(half)])


def test_same_seed_gives_the_same_network_whatever_the_global_generator(contract, data):
    first, second, other = encoder(), encoder(), encoder()
    run(first, contract, *data)
    torch.manual_seed(99)
    run(second, contract, *data)
    run(other, contract, *data, seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.conv1[0].weight, other.conv1[0].weight)


def test_global_generator_is_left_as_it_was(contract, data):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(encoder(), contract, *data)
    assert torch.equal(torch.rand(3), expected)


def test_fewer_labels_than_a_batch_are_taken_together(contract, data):
    train, test = data
    classes = run(encoder(), contract, train.take(np.arange(5)), test, config=FinetuneConfig(epochs=1))
    assert classes.shape == test.labels.shape
    assert set(classes) <= {0, 1}


@pytest.mark.parametrize(("asked", "has_bfloat16"), [("bf16-mixed", False), ("auto", True)])
def test_lower_precision_and_orientations_are_heard(asked, has_bfloat16, contract, data, monkeypatch):
    monkeypatch.setattr("astrofm.processor.has_bfloat16", lambda: has_bfloat16)
    heard = []
    fit = finetuning.fit

    def noted(*args, **kwargs):
        heard.append(kwargs["precision"])
        return fit(*args, **kwargs)

    monkeypatch.setattr(finetuning, "fit", noted)
    train, test = data
    config = FinetuneConfig.with_changes([f"precision={asked}", "epochs=1"])
    classes = finetune(encoder(), contract, train, test, num_classes=2, config=config, seed=0, orientations=8)
    assert heard == ["bf16-mixed"]
    assert classes.shape == test.labels.shape


def test_head_starts_as_the_probe_of_the_same_encoder_and_labels(contract, data):
    """With a learning rate of next to nothing, what is predicted is what the linear probe predicts."""
    train, test = data
    config = FinetuneConfig.with_changes(["head=probe", "epochs=1", "optimizer.learning_rate=1e-12"])
    network = encoder()
    features = [embed(network.eval(), part.in_order(), part.plain_pipeline(contract), "cpu") for part in data]
    probe = fit_linear_probe(features[0], train.labels, num_classes=2, seed=0)
    assert len(set(probe.predict(features[1]))) == 2
    frozen = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in frozen:
        norm.momentum = 0.0
    classes = run(network, contract, train, test, config=config)
    assert (classes == probe.predict(features[1])).mean() > 0.9
    assert (
        run(encoder(), contract, train, test, config=config.model_copy(update={"head": "untrained"})) != classes
    ).any()


def test_head_that_starts_as_a_probe_has_its_logits_and_a_class_without_a_label_a_finite_one():
    rng = np.random.default_rng(0)
    features = rng.normal(3.0, 2.0, size=(30, 5)).astype(np.float32)
    features[:, 2] = 1.0
    probe = fit_linear_probe(features, rng.integers(0, 2, 30), num_classes=3, seed=0)
    head = ClassHead(5, 3).eval()
    finetuning._start_as(head, probe)
    logits = head(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(logits[:, :2], probe.logits(features)[:, :2], atol=1e-3)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[:, 2], probe.bias[:2].min(), atol=1e-6)


def test_settings_are_changed_by_name():
    changed = FinetuneConfig.with_changes(["epochs=3", "optimizer.learning_rate=3e-4", "optimizer.layer_decay=0.75"])
    assert (changed.epochs, changed.optimizer.learning_rate, changed.optimizer.layer_decay) == (3, 3e-4, 0.75)
    assert changed.views == FinetuneConfig().views
    assert FinetuneConfig.with_changes(["views=[rotate]"]).views == (NamedPart(name="rotate"),)


@pytest.mark.parametrize("change", ["epoch=3", "epochs=many", "batch_size=1", "label_smoothing=1.0"])
def test_wrong_setting_is_one_sentence(change):
    with pytest.raises(RecipeError, match=rf"fine-tuning settings: {change.partition('=')[0]}: [^\n]+$"):
        FinetuneConfig.with_changes([change])


def test_wrong_setting_of_a_view_is_one_sentence(contract, data):
    config = FinetuneConfig.with_changes(["views=[{name: zoom, settings: {scales: [0.9, 1.0]}}]"])
    with pytest.raises(RecipeError, match=r"view 'zoom'.*scales: no such key"):
        run(encoder(), contract, *data, config=config)
