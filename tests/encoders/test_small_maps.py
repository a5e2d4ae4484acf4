"""Convolutions over maps of a few pixels are the same convolutions, whichever way they are computed."""

import copy

import pytest
import torch
from torch import nn

from astrofm.encoders.arrange import arrange
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.encoders.small_maps import SmallMapConv2d, multiply_small_maps


def gradients_of(conv, images):
    """The result of a convolution and the gradients of a sum of it that weighs each number differently."""
    images = images.clone().requires_grad_()
    result = conv(images)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    wanted = [images, *conv.parameters()]
    return result, torch.autograd.grad((result * weights).sum(), wanted)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (3, 3), (4, 4), (5, 3), (1, 6), (9, 9)])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": (3, 1), "padding": (1, 0), "stride": (2, 1)},
        {"kernel_size": 2, "stride": 2, "padding": 1},
    ],
)
def test_result_and_gradients_are_those_of_torch(settings, size, has_bias):
    torch.manual_seed(0)
    plain = nn.Conv2d(5, 7, bias=has_bias, dtype=torch.float64, **settings)
    images = torch.randn(3, 5, *size, dtype=torch.float64)
    result, gradients = gradients_of(plain, images)
    own_result, own_gradients = gradients_of(SmallMapConv2d(plain), images)
    torch.testing.assert_close(own_result, result, rtol=0, atol=1e-12)
    for own, expected in zip(own_gradients, gradients, strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-12)


def test_small_maps_take_the_way_of_matrices_and_large_ones_do_not(monkeypatch):
    conv = SmallMapConv2d(nn.Conv2d(2, 2, 3, padding=1))
    taken = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, images: taken.append(tuple(images.shape[-2:])) or images)
    for size in (2, 3, 4, 16):
        conv(torch.zeros(1, 2, size, size))
    assert taken == [(4, 4), (16, 16)]


def test_only_plain_convolutions_with_a_neighbourhood_are_replaced():
    convs = [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding_mode="reflect", padding=1),
    ]
    network = nn.Sequential(*convs)
    multiply_small_maps(network)
    multiply_small_maps(network)  # once is enough, twice does no harm
    assert [type(layer) is SmallMapConv2d for layer in network] == [True, *[False] * 5]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_encoder_keeps_its_names_and_values_and_gives_the_same_to_rounding(precision):
    encoder = build_encoder(EncoderConfig(name="resnet18"), 1).train()
    arranged = copy.deepcopy(encoder)
    weights = dict(arranged.named_parameters())
    arrange(arranged, "cpu")
    assert arranged.state_dict().keys() == encoder.state_dict().keys()
    assert all(dict(arranged.named_parameters())[name] is weight for name, weight in weights.items())
    assert any(isinstance(layer, SmallMapConv2d) for layer in arranged.modules())
    images = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    is_bf16 = precision is torch.bfloat16
    with torch.autocast("cpu", precision, enabled=is_bf16):
        torch.testing.assert_close(arranged(images), encoder(images), rtol=0, atol=0.2 if is_bf16 else 1e-5)


def test_on_a_gpu_no_layer_is_replaced():
    encoder = build_encoder(EncoderConfig(name="resnet10t"), 1)
    arrange(encoder, "cuda")
    assert not any(isinstance(layer, SmallMapConv2d) for layer in encoder.modules())
