"""The input contract: what a network may be fed, saved with its weights.

Checked whenever weights meet data, so that a wrong band, unit or angular scale is a sentence and not a silent
loss of accuracy.
"""

from __future__ import annotations

__all__ = ["Channel", "InputContract", "Range"]

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from astrofm.errors import ContractError


class Range(BaseModel):
    """A closed interval of accepted values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float = Field(gt=0)
    high: float

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.low <= self.high:
            raise ValueError(f"range from {self.low} to {self.high} is empty")
        return self

    def __str__(self) -> str:
        """Return the interval as an astronomer writes it; a single value where it is one."""
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"


SAME_RESOLUTION = 2.0
"""Factor by which a resolution may differ from those of the contract. From the 5.4 arcsec of FIRST to the 8 of MeerKAT,
over which arXiv 2305.16127 carries a network, it is one and a half."""

Scale = Annotated[float, Field(gt=0)] | Range | Literal["unknown"]
"""A positive value, a range of them, or ``unknown`` (pretraining only)."""


class Channel(BaseModel):
    """One input channel and the bands that may fill it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    accepts: tuple[str, ...] = Field(min_length=1)
    """Instrument-qualified bands, for example ``VLA-FIRST-1.4GHz``."""


class InputContract(BaseModel):
    """What the network's input is: channels, angular size, resolution, size in pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[Channel, ...] = Field(min_length=1)
    size_pix: int = Field(gt=0)
    """Side of the square input, in pixels."""
    field_of_view_arcsec: Scale
    """Side of the square input on the sky. ``unknown``: the whole cutout, whatever it spans."""
    resolution_arcsec: Scale = "unknown"
    """Beam or PSF, full width at half maximum (radio: the geometric mean of the axes)."""
    unit: str = "normalised"
    """Unit of the input after stretch and normalisation."""

    @property
    def num_channels(self) -> int:
        """Number of input channels."""
        return len(self.channels)

    @property
    def pixel_scale_arcsec(self) -> Scale:
        """Pixel scale of the input: field of view over size."""
        if isinstance(self.field_of_view_arcsec, Range):
            low, high = self.field_of_view_arcsec.low, self.field_of_view_arcsec.high
            return Range(low=low / self.size_pix, high=high / self.size_pix)
        if isinstance(self.field_of_view_arcsec, float):
            return self.field_of_view_arcsec / self.size_pix
        return "unknown"

    @property
    def window_arcsec(self) -> float | None:
        """Side of the window to look at: the middle of a range; None for the whole cutout."""
        wanted = self.field_of_view_arcsec
        if isinstance(wanted, Range):
            return (wanted.low + wanted.high) / 2
        return None if wanted == "unknown" else float(wanted)

    def check_bands(self, survey: str, bands: tuple[str, ...]) -> None:
        """Refuse data whose bands the channels do not accept, in order.

        Args:
            survey: Name of the survey, for the message.
            bands: The bands of its cutouts, in order.

        Raises:
            ContractError: If the number of bands differs or a channel does not accept its band.
        """
        if len(bands) != self.num_channels:
            raise ContractError(
                f"{survey!r} has {len(bands)} bands ({', '.join(bands)}) and the network takes "
                f"{self.num_channels} ({', '.join(c.name for c in self.channels)}): "
                "choose a recipe or model for these bands, or name other channels when pretraining: "
                f"--set 'data.channels=[{', '.join(f'{{name: {band}}}' for band in bands)}]'"
            )
        for channel, band in zip(self.channels, bands, strict=True):
            if band not in channel.accepts:
                raise ContractError(
                    f"channel {channel.name!r} of the network accepts {', '.join(channel.accepts)} and {survey!r} "
                    f"brings {band}: choose a model trained on that band, or accept it with --adapt-bands"
                )

    def check_scale(self, survey: str, cutout_field_of_view_arcsec: float | None) -> None:
        """Refuse cutouts that do not cover the contract's field of view.

        Args:
            survey: Name of the survey, for the message.
            cutout_field_of_view_arcsec: Side of its cutouts on the sky; None where unknown.

        Raises:
            ContractError: If the cutouts are smaller than nine tenths of the field of view.
        """
        wanted = self.window_arcsec
        if cutout_field_of_view_arcsec is None or wanted is None:
            return
        if cutout_field_of_view_arcsec < 0.9 * wanted:
            raise ContractError(
                f"the network looks at {wanted:g} arcsec and the cutouts of {survey!r} span only "
                f"{cutout_field_of_view_arcsec:g} arcsec: ingest larger cutouts, or accept empty borders with "
                "--resample"
            )

    def check_resolution(self, survey: str, resolution_arcsec: float | None) -> None:
        """Refuse images much sharper or more blurred than those the network knows.

        What is finer than two pixels of the input is counted as two pixels, as the network sees no more of it.

        Args:
            survey: Name of the survey, for the message.
            resolution_arcsec: Its beam or PSF, full width at half maximum; None where unknown.

        Raises:
            ContractError: If the resolution is finer than half of the finest one of the contract, or coarser than twice
                the coarsest.
        """
        known = self.resolution_arcsec
        if resolution_arcsec is None or known == "unknown":
            return
        low, high = (known.low, known.high) if isinstance(known, Range) else (known, known)
        nyquist = 0.0 if self.window_arcsec is None else 2 * self.window_arcsec / self.size_pix
        seen = max(resolution_arcsec, nyquist)
        if seen < max(low, nyquist) / SAME_RESOLUTION:
            way = f"ingest it with --beam {low:g}, or accept sharper images with --resample"
        elif seen > max(high, nyquist) * SAME_RESOLUTION:
            way = "choose a model of such a resolution, or accept more blurred images with --resample"
        else:
            return
        raise ContractError(
            f"the network knows images of a resolution of {Range(low=low, high=high)} arcsec and {survey!r} has "
            f"{resolution_arcsec:g} arcsec: {way}"
        )
