"""What an ingest may change about the images of an archive; recorded in the manifest of the store."""

from __future__ import annotations

__all__ = ["NO_CHANGES", "IngestOptions"]

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from astrofm.errors import UsageError, in_one_line


class IngestOptions(BaseModel):
    """Changes to the pixels on the way into a store; by default none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: str = ""
    """Unit of the stored values, for example ``nJy`` for ``nanomaggy`` or ``MJy/sr`` for ``Jy/beam``; empty: the
    product's."""
    pixel_scale_arcsec: float | None = Field(default=None, gt=0)
    """Resample every cutout to this pixel scale, flux conserved, about its centre pixel."""
    field_of_view_arcsec: float | None = Field(default=None, gt=0)
    """Side of the stored cutouts, which are cropped or padded to it; by default that of the product."""
    beam_arcsec: float | None = Field(default=None, gt=0)
    """Convolve every cutout to a circular beam (or PSF) of this full width at half maximum, flux conserved."""
    keep_bits: int | None = Field(default=None, ge=1, le=23)
    """Bits of the mantissa that are kept of float32 pixels; the others are rounded away to compress better."""

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Return the options that were given.

        Raises:
            UsageError: If a value is not possible.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise UsageError(f"the options of the ingest cannot be: {in_one_line(error)}") from error

    @property
    def changes_images(self) -> bool:
        """Whether a cutout has to be worked on before it is judged; rounding comes after."""
        return bool(self.unit or self.pixel_scale_arcsec or self.field_of_view_arcsec or self.beam_arcsec)

    @property
    def words(self) -> str:
        """The options as they are given to the command, for messages."""
        given = self.model_dump(exclude_defaults=True)
        names = (f"--{name.removesuffix('_arcsec').replace('_', '-')} {value}" for name, value in given.items())
        return " ".join(names) or "none"


NO_CHANGES = IngestOptions()
