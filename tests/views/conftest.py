"""What is known of made-up observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from astrofm.views.base import Sky


@pytest.fixture(scope="session")
def make_sky() -> Callable[..., Sky]:
    """Return ``make(num, bands, unit=, rms=, fwhm=, angle=, scale=, ebv=, wavelengths=)``: the same for all cutouts."""

    def make(
        num: int,
        bands: Sequence[str] = ("TEST-r",),
        *,
        unit: str = "nanomaggy",
        rms: float = 1.0,
        fwhm: tuple[float, float] = (3.0, 3.0),
        angle: float = 0.0,
        scale: float = 1.0,
        ebv: float = 0.0,
        wavelengths: Sequence[float | None] | None = None,
    ) -> Sky:
        shape = (num, len(bands))
        return Sky(
            bands=tuple(bands),
            unit=unit,
            pixel_scale_arcsec=torch.full((num,), scale),
            rms=torch.full(shape, rms),
            fwhm_arcsec=torch.tensor(fwhm).expand(*shape, 2).clone(),
            position_angle_deg=torch.full(shape, angle),
            ebv=torch.full((num,), ebv),
            wavelengths_nm=tuple(wavelengths or (600.0,) * len(bands)),
        )

    return make
