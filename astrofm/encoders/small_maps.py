"""Convolutions over maps of a few pixels, as products of matrices.

The last stage of a ResNet sees 2 x 2 pixels of an image of 64, with 512 channels. There the gradient of a convolution's
weights takes oneDNN three times as long on a CPU as the same sums take as one product of matrices; see
docs/performance.md. Larger maps are left to it.
"""

from __future__ import annotations

__all__ = ["SmallMapConv2d", "multiply_small_maps"]

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST_MAP_PIX = 9
"""Pixels of the result up to which a product of matrices is the quicker way; 3 x 3 gains a fifth, 4 x 4 nothing."""


class SmallMapConv2d(nn.Conv2d):
    """A convolution that small maps go through as a product of matrices on a CPU; the result differs by rounding.

    Args:
        conv: The layer to replace, one of those that :func:`multiply_small_maps` chooses; its weights are shared.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        # On no device: the weights are those of the other.
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            _pair(conv.kernel_size),
            _pair(conv.stride),
            _pair(conv.padding),
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolved maps. Shape: (batch, channel, y, x)."""
        padding, stride = _pair(self.padding), _pair(self.stride)
        ny, nx = (
            (size + 2 * pad - kernel) // step + 1
            for size, pad, kernel, step in zip(input.shape[-2:], padding, self.kernel_size, stride, strict=True)
        )
        if input.device.type != "cpu" or not 0 < ny * nx <= LARGEST_MAP_PIX:
            return super().forward(input)
        maps = functional.pad(input.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
        ends = (stride[0] * (ny - 1) + 1, stride[1] * (nx - 1) + 1)
        taps = [
            maps[:, y : y + ends[0] : stride[0], x : x + ends[1] : stride[1]]
            for y in range(self.kernel_size[0])
            for x in range(self.kernel_size[1])
        ]
        patches = torch.cat(taps, dim=-1).flatten(0, 2)  # (batch * ny * nx, kernel * channels)
        result = functional.linear(patches, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)
        return result.view(len(input), ny, nx, self.out_channels).permute(0, 3, 1, 2)


def multiply_small_maps(network: nn.Module) -> None:
    """Replace, in place, the convolutions of a network that may meet small maps; their names and weights stay.

    Args:
        network: A network that is no convolution itself.
    """
    for name, child in list(network.named_children()):
        if type(child) is nn.Conv2d and _has_a_product(child):
            setattr(network, name, SmallMapConv2d(child))
        else:
            multiply_small_maps(child)


def _has_a_product(conv: nn.Conv2d) -> bool:
    """Return whether a convolution is one product: of all channels with all, and of more than a pixel."""
    is_plain = conv.groups == 1 and tuple(conv.dilation) == (1, 1) and conv.padding_mode == "zeros"
    return is_plain and not isinstance(conv.padding, str) and max(conv.kernel_size) > 1


def _pair(sizes: str | int | tuple[int, ...]) -> tuple[int, int]:
    """Return the two numbers of a convolution's settings, for a type that could be others."""
    assert isinstance(sizes, tuple)
    y, x = sizes
    return y, x
