"""Encoders by name, and a target network that follows without sharing."""

import pytest
import torch
from torch import nn

from astrofm.encoders.build import EncoderConfig, build_encoder, layer_groups
from astrofm.encoders.ema import EMATarget, tau_at
from astrofm.errors import RecipeError, UnknownNameError

SMALL = ["resnet18", "convnext_atto", "efficientnet_b0", "mobilenetv3_small_050"]


@pytest.mark.parametrize(("name", "num_channels"), [(name, channels) for name in SMALL for channels in (1, 5)])
def test_the_embedding_has_the_width_it_says(name, num_channels):
    encoder = build_encoder(EncoderConfig(name=name), num_channels).eval()
    with torch.no_grad():
        assert encoder(torch.zeros(2, num_channels, 64, 64)).shape == (2, encoder.embed_dim)


def test_a_transformer_takes_the_size_it_is_built_for():
    encoder = build_encoder(EncoderConfig(name="vit_tiny_patch16_224", size_pix=64), 3).eval()
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, encoder.embed_dim)


def test_initial_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone():
    config = EncoderConfig(name="resnet18", stem="3x3")
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = build_encoder(config, 1, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    again, other = (build_encoder(config, 1, seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(first["layer1.0.conv1.weight"], other["layer1.0.conv1.weight"])


def test_the_small_stem_is_3x3_with_stride_1_before_the_max_pooling():
    encoder = build_encoder(EncoderConfig(name="resnet18", stem="3x3"), 1)
    assert encoder.conv1.weight.shape == (64, 1, 3, 3)
    assert encoder.conv1.stride == (1, 1)
    assert isinstance(encoder.maxpool, nn.MaxPool2d)
    features = encoder.forward_features(torch.zeros(1, 1, 64, 64))
    assert features.shape == (1, 512, 4, 4)
    spread = encoder.conv1.weight.std().item()
    assert spread == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("resnet50", 2048)])
def test_the_stem_of_7x7_with_stride_1_has_no_max_pooling(name, width):
    encoder = build_encoder(EncoderConfig(name=name, stem="7x7-s1"), 5).eval()
    assert encoder.conv1.weight.shape == (64, 5, 7, 7)
    with torch.no_grad():
        images = torch.zeros(1, 5, 64, 64)
        before_the_blocks = encoder.maxpool(encoder.act1(encoder.bn1(encoder.conv1(images))))
        assert before_the_blocks.shape == (1, 64, 64, 64)
        assert encoder.forward_features(images).shape == (1, width, 8, 8)
        assert encoder(images).shape == (1, encoder.embed_dim) == (1, width)
    assert encoder.conv1.weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)
    usual = build_encoder(EncoderConfig(name=name), 5)
    assert [p.shape for p in usual.parameters()] == [p.shape for p in encoder.parameters()]


@pytest.mark.parametrize("stem", ["3x3", "7x7-s1"])
@pytest.mark.parametrize("name", ["convnext_atto", "resnet18d", "efficientnet_b0"])
def test_another_stem_is_refused_where_there_is_no_single_first_convolution(name, stem):
    with pytest.raises(RecipeError, match=f"stem '{stem}' replaces .* '{name}' has no single 'conv1'"):
        build_encoder(EncoderConfig(name=name, stem=stem), 1)


def test_an_unknown_architecture_is_named_with_near_ones():
    with pytest.raises(UnknownNameError, match=r"no architecture named 'resnet17'; some it has: resnet"):
        build_encoder(EncoderConfig(name="resnet17"), 1)


def test_a_size_is_refused_where_any_size_is_taken():
    with pytest.raises(RecipeError, match="takes images of any size"):
        build_encoder(EncoderConfig(name="resnet18", size_pix=64), 1)


@pytest.mark.parametrize("name", [*SMALL, "vit_tiny_patch16_224"])
def test_layer_groups_hold_each_parameter_once_from_the_stem_on(name):
    encoder = build_encoder(EncoderConfig(name=name), 1)
    grouped = [parameter for group in layer_groups(encoder) for parameter in group]
    assert len(grouped) == len({id(parameter) for parameter in grouped}) == len(list(encoder.parameters()))


def test_a_resnet18_has_a_stem_and_eight_blocks():
    encoder = build_encoder(EncoderConfig(name="resnet18", stem="3x3"), 1)
    groups = layer_groups(encoder)
    assert len(groups) == 9
    assert groups[0][0] is encoder.conv1.weight
    assert groups[-1][0] is encoder.layer4[1].conv1.weight


def test_target_has_its_own_weights_and_moves_by_the_ema_step():
    online = nn.Linear(4, 2)
    target = EMATarget(online)
    before = target.network.weight.clone()
    assert target.network.weight.data_ptr() != online.weight.data_ptr()
    with torch.no_grad():
        online.weight.add_(1.0)
    target.update(online, tau=0.9)
    torch.testing.assert_close(target.network.weight, before + 0.1)


def test_running_statistics_of_the_target_are_its_own():
    online = nn.BatchNorm1d(3)
    target = EMATarget(online)
    online(torch.randn(8, 3) + 5)
    target.update(online, tau=0.5)
    assert torch.equal(target.network.running_mean, torch.zeros(3))


@pytest.mark.parametrize("tau_start", [0.9, 0.996])
def test_tau_rises_along_a_cosine_from_its_start_to_one(tau_start):
    taus = [tau_at(step, 100, tau_start, "cosine") for step in range(101)]
    assert taus[0] == pytest.approx(tau_start)
    assert taus[50] == pytest.approx((1 + tau_start) / 2)
    assert taus[100] == 1.0
    assert taus == sorted(taus)
    assert {tau_at(step, 100, tau_start, "constant") for step in range(101)} == {tau_start}
