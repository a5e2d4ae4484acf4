"""The first step of a stretch, where images have not been corrected for the dust of the Galaxy.

Each cutout is corrected by the E(B-V) of its own place on the sky, the catalogue's column ``ebv``: a band is multiplied
by 10^(0.4 R E(B-V)), with R = A / E(B-V) of the band, as Hayat et al. 2021 do (arXiv 2101.04293). It comes before the
views, which then change images without dust (``Sky.ebv`` is 0): a view that reddens by E(B-V) = x leaves exactly x in
the image, and an image without views has none.
"""

from __future__ import annotations

__all__ = ["DEREDDEN", "Deredden"]

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from astrofm.errors import DataError

# B = batch, C = channels.

DEREDDEN = "deredden"
"""Name of the step on a card."""


class Deredden(BaseModel):
    """Undo the reddening that the catalogue gives for each cutout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coefficients: tuple[float, ...] = Field(min_length=1)
    """A / E(B-V) of each band, in order."""

    def factors(self, ebv: Tensor) -> Tensor:
        """Return what each band of each cutout is multiplied by, flux and noise alike.

        Args:
            ebv: E(B-V) that is still in the pixels. Shape: (B,).

        Returns:
            Float64, at least 1 where E(B-V) is not negative. Shape: (B, C).
        """
        extinction_mag = torch.outer(
            ebv.double(), torch.tensor(self.coefficients, dtype=torch.float64, device=ebv.device)
        )
        return torch.pow(10.0, 0.4 * extinction_mag)

    def __call__(self, images: Tensor, ebv: Tensor) -> Tensor:
        """Return the images as they are without dust; the input is left as it was.

        Args:
            images: In a unit that is proportional to flux. Shape: (B, C, y, x).
            ebv: As of :meth:`factors`; NaN where unknown. Shape: (B,).

        Returns:
            Float32. Shape: (B, C, y, x).

        Raises:
            DataError: If E(B-V) of a cutout is unknown, or there are not as many coefficients as bands.
        """
        unknown = int(torch.isnan(ebv).sum())
        if unknown:
            raise DataError(
                f"the stretch has a step {DEREDDEN} and {unknown} of {len(ebv)} cutouts have no E(B-V): "
                "give the catalogue a column 'ebv', or choose a stretch without that step"
            )
        if len(self.coefficients) != images.shape[1]:
            raise DataError(
                f"the step {DEREDDEN} has {len(self.coefficients)} coefficients for images of {images.shape[1]} bands: "
                "give one for each band"
            )
        return images.float() * self.factors(ebv).to(images.device, torch.float32)[..., None, None]
