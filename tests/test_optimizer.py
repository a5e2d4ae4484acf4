import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from astrofm.optimizer import OptimizerConfig, build_optimizer, learning_rate_factor


def config(**changes):
    return OptimizerConfig(**({"learning_rate": 0.1} | changes))


@given(
    st.integers(1, 500),
    st.floats(0, 0.9),
    st.sampled_from(["cosine", "constant"]),
    st.floats(0, 1),
)
def test_the_factor_stays_between_0_and_1(num_steps, warmup_fraction, schedule, place):
    settings = config(warmup_fraction=warmup_fraction, schedule=schedule)
    assert 0 <= learning_rate_factor(round(place * num_steps), num_steps, settings) <= 1


def test_the_cosine_starts_at_the_peak_passes_the_half_and_ends_at_0():
    assert learning_rate_factor(0, 100, config()) == 1
    assert learning_rate_factor(50, 100, config()) == pytest.approx(0.5)
    assert learning_rate_factor(100, 100, config()) == pytest.approx(0)
    assert learning_rate_factor(120, 100, config()) == pytest.approx(0)


def test_the_warm_up_rises_in_equal_steps_to_the_peak():
    settings = config(warmup_fraction=0.1)
    factors = [learning_rate_factor(step, 100, settings) for step in range(11)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1


def test_the_constant_schedule_is_constant_after_the_warm_up():
    settings = config(schedule="constant", warmup_fraction=0.5)
    assert {learning_rate_factor(step, 10, settings) for step in range(5, 11)} == {1.0}


def test_the_cosine_never_rises_after_the_warm_up():
    settings = config(warmup_fraction=0.2)
    factors = [learning_rate_factor(step, 50, settings) for step in range(10, 51)]
    assert factors == sorted(factors, reverse=True)


def test_biases_and_norms_do_not_decay():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = build_optimizer(config(weight_decay=0.05), [network.parameters()])
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.05 if parameter.ndim >= 2 else 0.0)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


def test_the_learning_rate_falls_layer_by_layer_towards_the_input():
    layers = [nn.Linear(2, 2, bias=False) for _ in range(3)]
    optimizer = build_optimizer(config(layer_decay=0.5), [layer.parameters() for layer in layers])
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert [rates[id(layer.weight)] for layer in layers] == pytest.approx([0.025, 0.05, 0.1])


def test_frozen_parameters_are_left_out():
    frozen, free = nn.Linear(2, 2), nn.Linear(2, 2)
    frozen.requires_grad_(False)
    optimizer = build_optimizer(config(), [frozen.parameters(), free.parameters()])
    chosen = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert chosen == {id(parameter) for parameter in free.parameters()}


def test_the_named_optimiser_is_built():
    parameters = list(nn.Linear(2, 2).parameters())
    assert isinstance(build_optimizer(config(), [parameters]), torch.optim.AdamW)
    sgd = build_optimizer(config(name="sgd", momentum=0.8), [parameters])
    assert isinstance(sgd, torch.optim.SGD)
    assert {group["momentum"] for group in sgd.param_groups} == {0.8}


def test_a_plain_sgd_step_is_by_hand():
    weight = nn.Parameter(torch.tensor([[2.0]]))
    optimizer = build_optimizer(config(name="sgd", momentum=0.0, weight_decay=0.5), [[weight]])
    (3 * weight).sum().backward()
    optimizer.step()
    assert weight.item() == pytest.approx(2.0 - 0.1 * (3 + 0.5 * 2.0))


@pytest.mark.parametrize(
    "faulty", [{"learning_rate": 0}, {"lr": 1}, {"warmup_fraction": 1.0}, {"layer_decay": 0}, {"name": "lars"}]
)
def test_settings_out_of_range_are_refused(faulty):
    with pytest.raises(ValidationError):
        config(**faulty)


def test_numbers_that_yaml_reads_as_text_are_numbers():
    assert OptimizerConfig.model_validate({"learning_rate": "1e-3", "weight_decay": "5E-2"}).learning_rate == 1e-3
