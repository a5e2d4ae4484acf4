"""The core's own views, objectives, encoders and heads, registered through the same hooks as a stranger's package."""

from __future__ import annotations

__all__ = ["register_encoders", "register_heads", "register_objectives", "register_views"]

from collections.abc import Callable
from typing import TYPE_CHECKING

from astrofm.hookspecs import hookimpl

if TYPE_CHECKING:
    from astrofm.encoders.base import EncoderPart
    from astrofm.heads.base import HeadPart
    from astrofm.objectives.base import ObjectivePart
    from astrofm.views.base import ViewPart


@hookimpl
def register_views(register: Callable[[ViewPart], None]) -> None:
    """Register the views: physical, geometric, photometric, radio artefacts."""
    from astrofm.views.artefacts import Sidelobes, SidelobesConfig, Stripes, StripesConfig
    from astrofm.views.base import ViewPart
    from astrofm.views.blur import Blur, BlurConfig
    from astrofm.views.dim import Dim, DimConfig
    from astrofm.views.dust import Dust, DustConfig
    from astrofm.views.geometry import (
        Flip,
        FlipConfig,
        Rotate,
        RotateConfig,
        Shift,
        ShiftConfig,
        Size,
        SizeConfig,
        Zoom,
        ZoomConfig,
    )
    from astrofm.views.grayscale import Grayscale, GrayscaleConfig
    from astrofm.views.noise import Noise, NoiseConfig
    from astrofm.views.photometry import Jitter, JitterConfig
    from astrofm.views.psf import PSF, PSFConfig
    from astrofm.views.sky_noise import SkyNoise, SkyNoiseConfig

    register(ViewPart("dust", DustConfig, Dust))
    register(ViewPart("sky-noise", SkyNoiseConfig, SkyNoise))
    register(ViewPart("psf", PSFConfig, PSF))
    register(ViewPart("dim", DimConfig, Dim))
    register(ViewPart("rotate", RotateConfig, Rotate))
    register(ViewPart("flip", FlipConfig, Flip))
    register(ViewPart("zoom", ZoomConfig, Zoom))
    register(ViewPart("size", SizeConfig, Size))
    register(ViewPart("shift", ShiftConfig, Shift))
    register(ViewPart("jitter", JitterConfig, Jitter))
    register(ViewPart("grayscale", GrayscaleConfig, Grayscale))
    register(ViewPart("blur", BlurConfig, Blur))
    register(ViewPart("noise", NoiseConfig, Noise))
    register(ViewPart("sidelobes", SidelobesConfig, Sidelobes))
    register(ViewPart("stripes", StripesConfig, Stripes))


@hookimpl
def register_objectives(register: Callable[[ObjectivePart], None]) -> None:
    """Register byol, hybrid, spectral, simclr, moco and supervised."""
    from astrofm.objectives.base import ObjectivePart
    from astrofm.objectives.byol import BYOL, BYOLConfig
    from astrofm.objectives.hybrid import HybridConfig, build_hybrid
    from astrofm.objectives.moco import MoCo, MoCoConfig
    from astrofm.objectives.simclr import SimCLR, SimCLRConfig
    from astrofm.objectives.spectral import Spectral, SpectralConfig
    from astrofm.objectives.supervised import SupervisedConfig, build_supervised

    register(ObjectivePart("byol", BYOLConfig, BYOL))
    register(ObjectivePart("hybrid", HybridConfig, build_hybrid, labels=lambda settings: settings.request))
    register(ObjectivePart("spectral", SpectralConfig, Spectral))
    register(ObjectivePart("simclr", SimCLRConfig, SimCLR))
    register(ObjectivePart("moco", MoCoConfig, MoCo))
    register(ObjectivePart("supervised", SupervisedConfig, build_supervised, labels=lambda settings: settings.request))


@hookimpl
def register_encoders(register: Callable[[EncoderPart], None]) -> None:
    """Register orientation-mean, beside all that timm has."""
    from astrofm.encoders.base import EncoderPart
    from astrofm.encoders.orientations import OrientationMeanConfig, build_orientation_mean

    register(EncoderPart("orientation-mean", OrientationMeanConfig, build_orientation_mean))


@hookimpl
def register_heads(register: Callable[[HeadPart], None]) -> None:
    """Register votes, classes and redshift."""
    from astrofm.heads.base import HeadPart
    from astrofm.heads.build import BUILT_IN

    for name, config in BUILT_IN.items():
        register(HeadPart(name, config))
