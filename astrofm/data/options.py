"""What an ingest may change about the images of an archive; recorded in the manifest of the store."""

from __future__ import annotations

__all__ = ["NO_CHANGES", "IngestOptions"]

from pydantic import BaseModel, ConfigDict, Field


class IngestOptions(BaseModel):
    """Changes to the pixels on the way into a store; by default none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: str = ""
    """Unit of the stored values; empty: the product's."""
    pixel_scale_arcsec: float | None = Field(default=None, gt=0)
    """Resample every cutout to this pixel scale, flux conserved."""
    field_of_view_arcsec: float | None = Field(default=None, gt=0)
    """Side of the stored cutouts; by default that of the product."""
    beam_arcsec: float | None = Field(default=None, gt=0)
    """Convolve every cutout to a circular beam of this full width at half maximum, flux conserved."""
    keep_bits: int | None = Field(default=None, ge=1, le=23)
    """Bits of the mantissa that are kept of float32 pixels; the others are rounded away to compress better."""

    @property
    def changes_images(self) -> bool:
        """Whether a cutout has to be worked on before it is judged; rounding comes after."""
        return bool(self.unit or self.pixel_scale_arcsec or self.field_of_view_arcsec or self.beam_arcsec)


NO_CHANGES = IngestOptions()
