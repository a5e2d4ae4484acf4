"""Encoders: timm architectures by name, with the stems that work on small images uses."""

from __future__ import annotations

__all__ = [
    "EncoderConfig",
    "build_encoder",
    "build_untrained",
    "check_architecture",
    "embed_dim_of",
    "initialised",
    "layer_groups",
]

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import timm
import torch
from pydantic import BaseModel, ConfigDict
from timm.models import group_parameters
from torch import nn

from astrofm.errors import RecipeError, UnknownNameError

M = TypeVar("M", bound=nn.Module)


class EncoderConfig(BaseModel):
    """Which network turns an image into an embedding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Architecture, as timm names it."""
    stem: Literal["timm", "3x3", "7x7-s1"] = "timm"
    """First convolution: timm's own, or 3x3 with stride 1 as Slijepcevic et al. 2024 (arXiv 2305.16127) use for small
    radio images, where the max-pooling after it stays, or 7x7 with stride 1 and no max-pooling as Hayat et al. 2021
    (arXiv 2101.04293) use for galaxies of 64 px: the first block sees every pixel, at 16 times the work."""
    size_pix: int | None = None
    """Side of the input, for architectures that take one size only; null: timm's for the architecture."""


def build_encoder(config: EncoderConfig, num_channels: int, seed: int = 0) -> nn.Module:
    """Return an untrained encoder without a classifier.

    Args:
        config: Architecture.
        num_channels: Channels of its input.
        seed: Of the initial weights; the global random state is left as it was.

    Returns:
        A timm network from (batch, channel, y, x) to (batch, embed_dim), with the attribute ``embed_dim``.

    Raises:
        UnknownNameError: If timm has no architecture of that name.
        RecipeError: If the architecture has no stem that could be replaced, or no choice of size.
    """
    return initialised(lambda: build_untrained(config, num_channels), seed)


def check_architecture(name: str, others: Sequence[str] = ()) -> None:
    """Refuse a name that is not one of timm's.

    Args:
        name: Architecture.
        others: Encoders that are not timm's, for the message.

    Raises:
        UnknownNameError: If timm has no such architecture.
    """
    if timm.is_model(name):
        return
    near = ", ".join(timm.list_models(f"{name[:6]}*")[:5]) or "see timm.list_models()"
    added = f"; plugins add {', '.join(others)}" if others else ""
    raise UnknownNameError(f"timm has no architecture named {name!r}; some it has: {near}{added}")


def initialised(build: Callable[[], M], seed: int) -> M:
    """Return what is built while the global generator of the CPU has a seed; its state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which also seeds the generators of the GPUs.
        torch.default_generator.manual_seed(seed)
        return build()


def embed_dim_of(encoder: nn.Module) -> int:
    """Return the width of the embedding that an encoder of :func:`build_encoder` gives."""
    width = encoder.embed_dim
    assert isinstance(width, int)
    return width


def build_untrained(config: EncoderConfig, num_channels: int) -> nn.Module:
    """Return an untrained encoder, its weights drawn from the global generator; else as :func:`build_encoder`."""
    check_architecture(config.name)
    encoder = _create(config, num_channels)
    if config.stem != "timm":
        _change_stem(encoder, config)
    encoder.embed_dim = encoder.head_hidden_size or encoder.num_features
    return encoder


def _create(config: EncoderConfig, num_channels: int) -> nn.Module:
    size: dict[str, Any] = {} if config.size_pix is None else {"img_size": config.size_pix}
    try:
        return timm.create_model(config.name, pretrained=False, num_classes=0, in_chans=num_channels, **size)
    except TypeError as error:
        if size and "img_size" in str(error):
            raise RecipeError(
                f"encoder {config.name!r} takes images of any size, and was given size_pix {config.size_pix}: "
                "leave that setting out"
            ) from error
        raise


def _change_stem(encoder: nn.Module, config: EncoderConfig) -> None:
    conv = getattr(encoder, "conv1", None)
    if not isinstance(conv, nn.Conv2d):
        raise RecipeError(
            f"stem {config.stem!r} replaces the first convolution of a ResNet and {config.name!r} has no single "
            "'conv1': choose resnet18, resnet50 or the like, or stem 'timm'"
        )
    size = 3 if config.stem == "3x3" else 7
    small = nn.Conv2d(conv.in_channels, conv.out_channels, size, stride=1, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    encoder.conv1 = small
    if config.stem == "7x7-s1":
        encoder.maxpool = nn.Identity()


def layer_groups(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Return an encoder's parameters from the stem to the last block, for layer-wise decay and partial freezing.

    The division is timm's: a ResNet-18 has the stem and 8 blocks. A network that is not timm's is divided into its
    child modules, in their order; one that holds a single network is divided as that is.

    Args:
        encoder: From :func:`build_encoder`.

    Returns:
        Each parameter once.
    """
    matcher: Callable[..., Any] | None = getattr(encoder, "group_matcher", None)
    if matcher is None:
        return _groups_of_children(encoder)
    parameters = dict(encoder.named_parameters())
    groups: dict[int, Sequence[str]] = group_parameters(encoder, matcher(coarse=False))
    return [[parameters[name] for name in groups[depth]] for depth in sorted(groups)]


def _groups_of_children(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Return a module's own parameters and those of each child, each once, as far as there are any."""
    children, has_own = list(encoder.children()), any(True for _ in encoder.parameters(recurse=False))
    if len(children) == 1 and not has_own:
        return layer_groups(children[0])
    seen: set[nn.Parameter] = set()
    groups = []
    for part in (encoder.parameters(recurse=False), *(child.parameters() for child in children)):
        own = [parameter for parameter in part if parameter not in seen]
        seen.update(own)
        groups.append(own)
    return [group for group in groups if group]
