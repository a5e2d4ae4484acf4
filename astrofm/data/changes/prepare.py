"""The changes to its images that an ingest was asked for: a common beam, a common pixel scale and field, a unit.

They are made in this order. The convolution comes before the resampling, because the beam is sampled best by the pixels
it was made with; the unit comes last, because what ties flux to brightness are the beam and the pixels of the result.
"""

from __future__ import annotations

__all__ = ["Preparation"]

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astrofm.card import Beam, Product, SurveyCard
from astrofm.data.changes.beams import beam_covariance, convolve, kernel_covariance
from astrofm.data.changes.prepared_card import check_options, prepared_card
from astrofm.data.changes.resample import moved_header, resample
from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.noise import clipped_std, noise_column
from astrofm.data.options import IngestOptions
from astrofm.data.quality import fit_to
from astrofm.data.units import Geometry, brightness_factor, is_flux_per_pixel, is_per_beam
from astrofm.errors import DataError

if TYPE_CHECKING:
    from astropy.io.fits import Header

_OTHER_SCALE = 0.01
"""How much the pixel scale of a cutout may differ from the product's where the field is counted in its pixels."""


@dataclass(frozen=True)
class Preparation:
    """The changes to the images of one product.

    Attributes:
        options: What is asked for.
        card: The card, as the survey gives it.
        product_name: The product that is read.

    Raises:
        UnknownNameError: If the card has no such product.
        UsageError: If this can be done to no cutout of the product.
    """

    options: IngestOptions
    card: SurveyCard
    product_name: str

    def __post_init__(self) -> None:
        """Refuse what can be done to no cutout before one is read."""
        check_options(self.options, self.card, self.product_name)

    def card_after(self) -> SurveyCard:
        """Return the card of what is stored, see :func:`astrofm.data.changes.prepared_card.prepared_card`."""
        return prepared_card(self.options, self.card, self.product_name)

    def __call__(self, cutout: Cutout) -> Cutout | Rejected:
        """Make the changes to one cutout.

        Its ``meta`` (pixel scale, beam, noise) and the WCS in its header go along. Where pixels were mixed, the noise
        is measured anew on the whole field; neighbouring pixels are correlated then, and the noise of their sum is
        larger than that of as many independent ones.

        Returns:
            The cutout, of the size of :meth:`card_after`'s product if a pixel scale or field was asked for; the very
            same one where nothing is. Or why it cannot be had: ``unknown beam``, ``beam too large``, ``unknown pixel
            scale``, ``other pixel scale``, ``unit not convertible``.
        """
        is_due = self.options.changes_images and cutout.image.ndim == 3 and len(cutout.image) == len(self.card.bands)
        if not is_due:  # an image with other bands is refused by its reader's caller, as without any changes
            return cutout
        changed: Cutout | Rejected = cutout
        for step in (self._to_beam, self._to_grid, self._to_unit):
            if isinstance(changed, Rejected):
                return changed
            changed = step(changed)
        if isinstance(changed, Rejected) or cutout.header is None:
            return changed
        ratio = (self._scale_of(changed) or 1.0) / (self._scale_of(cutout) or 1.0)
        return replace(changed, header=_header_after(cutout.header, cutout, changed, ratio))

    def _to_beam(self, cutout: Cutout) -> Cutout | Rejected:
        """Convolve to a circular beam; values per beam grow by the ratio of the solid angles."""
        fwhm_arcsec = self.options.beam_arcsec
        if fwhm_arcsec is None:
            return cutout
        beam, scale_arcsec = self._beam_of(cutout), self._scale_of(cutout)
        if beam is None or scale_arcsec is None:
            return self._unknown("beam" if beam is None else "pixel scale", f"a beam of {fwhm_arcsec:g} arcsec")
        if fwhm_arcsec > scale_arcsec * min(cutout.image.shape[1:]):
            return Rejected("beam too large", f"the image is smaller than the beam of {fwhm_arcsec:g} arcsec asked for")
        target = beam_covariance(Beam(bmaj_arcsec=fwhm_arcsec, bmin_arcsec=fwhm_arcsec))
        kernel = kernel_covariance(beam_covariance(_along_pixels(beam, cutout)), target)
        if kernel is None:
            found = f"{beam.bmaj_arcsec:.4g} x {beam.bmin_arcsec:.4g} arcsec"
            return Rejected("beam too large", f"a beam of {found} does not fit into one of {fwhm_arcsec:g} arcsec")
        has_beam = self.card.domain == "radio"
        meta = {**cutout.meta, **({"bmaj": fwhm_arcsec, "bmin": fwhm_arcsec, "bpa": 0.0} if has_beam else {})}
        if not kernel.any():
            return replace(cutout, meta=meta)
        image = convolve(cutout.image, kernel / scale_arcsec**2, cutout.mask)
        if is_per_beam(self._unit_of(cutout)):
            image *= np.float32(fwhm_arcsec**2 / (beam.bmaj_arcsec * beam.bmin_arcsec))
        return replace(cutout, image=image, meta=self._with_noise(meta, image))

    def _to_grid(self, cutout: Cutout) -> Cutout | Rejected:
        """Bring to the pixel scale, then crop or pad to the field about the centre pixel."""
        wanted_arcsec = self.options.pixel_scale_arcsec
        if wanted_arcsec is None and self.options.field_of_view_arcsec is None:
            return cutout
        scale_arcsec, stored_arcsec = self._scale_of(cutout), self._stored.pixel_scale_arcsec
        if scale_arcsec is None or stored_arcsec is None:
            return self._unknown("pixel scale", "a change of pixel scale or field of view")
        image: NDArray[Any] = cutout.image
        mask, meta = cutout.mask, cutout.meta
        if wanted_arcsec is not None:
            ratio = wanted_arcsec / scale_arcsec
            image, mask = resample(image, mask, ratio)
            if image is not cutout.image:
                image *= np.float32(ratio**2 if is_flux_per_pixel(self._unit_of(cutout)) else 1)
                meta = self._with_noise(meta, image)
            meta = {**meta, "pixel_scale": wanted_arcsec}
        elif abs(scale_arcsec / stored_arcsec - 1) > _OTHER_SCALE:
            found = f"{scale_arcsec:.4g} arcsec a pixel, where the field is counted in pixels of {stored_arcsec:.4g}"
            return Rejected("other pixel scale", f"{found}: ask for a pixel scale too")
        image, mask = fit_to(image, mask, self._stored.size_pix)
        return replace(cutout, image=image, mask=mask, meta=meta)

    def _to_unit(self, cutout: Cutout) -> Cutout | Rejected:
        """Multiply each band by what takes the unit found to the one asked for."""
        if not self.options.unit:
            return cutout
        found, known = self._unit_of(cutout), self._geometry_of(cutout)
        each = [replace(known, frequency_hz=band.frequency_hz) for band in self.card.bands]
        try:
            factors = [brightness_factor(found, self.options.unit, geometry) for geometry in each]
        except DataError as error:
            return Rejected("unit not convertible", f"{error}, nor from the card")
        if set(factors) == {1.0}:
            return replace(cutout, unit=self.options.unit)
        of_noise = dict(zip(self._noise_names, factors, strict=True))
        if len(set(factors)) == 1:
            of_noise["rms"] = factors[0]
        meta = {name: value * of_noise.get(name, 1.0) for name, value in cutout.meta.items()}
        image = np.asarray(cutout.image, np.float32) * np.array(factors, np.float32)[:, None, None]
        return replace(cutout, image=image, unit=self.options.unit, meta=meta)

    # What is known of a cutout

    @cached_property
    def _noise_names(self) -> tuple[str, ...]:
        """Where the noise of each band stands, for a survey that tells it band by band."""
        return tuple(noise_column(band) for band in self.card.band_names)

    def _with_noise(self, meta: Mapping[str, float], image: NDArray[Any]) -> Mapping[str, float]:
        """Return the meta with the noise of an image, (band, y, x), in place of that of another."""
        noise = {name: clipped_std(band) for name, band in zip(self._noise_names, image, strict=True) if name in meta}
        return {**meta, **({"rms": clipped_std(image)} if "rms" in meta else {}), **noise}

    @cached_property
    def _stored(self) -> Product:
        return self.card_after().products[self.product_name]

    def _unit_of(self, cutout: Cutout) -> str:
        return cutout.unit or self.card.products[self.product_name].unit

    def _scale_of(self, cutout: Cutout) -> float | None:
        own = cutout.meta.get("pixel_scale", math.nan)
        return own if own > 0 else self.card.pixel_scale_of(self.product_name)

    def _beam_of(self, cutout: Cutout) -> Beam | None:
        """Return the beam of a cutout, else of the card; a PSF counts as a circular Gaussian."""
        major, minor, angle = (cutout.meta.get(key, math.nan) for key in ("bmaj", "bmin", "bpa"))
        if major > 0 and minor > 0:
            return Beam(bmaj_arcsec=major, bmin_arcsec=minor, bpa_deg=angle if math.isfinite(angle) else 0.0)
        if self.card.beam is not None:
            return self.card.beam.value
        psf = self.card.psf_fwhm_arcsec
        return None if psf is None or psf.value is None else Beam(bmaj_arcsec=psf.value, bmin_arcsec=psf.value)

    def _geometry_of(self, cutout: Cutout) -> Geometry:
        beam, scale_arcsec = self._beam_of(cutout), self._scale_of(cutout)
        if beam is None:
            return Geometry(pixel_scale_arcsec=scale_arcsec)
        return Geometry(scale_arcsec, beam.bmaj_arcsec, beam.bmin_arcsec)

    def _unknown(self, what: str, asked: str) -> Rejected:
        keys = "pixel_scale" if what == "pixel scale" else "bmaj and bmin"
        return Rejected(f"unknown {what}", f"{asked} needs the {what}: the cutout has no {keys}, the card says unknown")


def _along_pixels(beam: Beam, cutout: Cutout) -> Beam:
    """Return a beam whose position angle counts from +y towards -x, where North and East are in an upright image."""
    turn = cutout.meta.get("orientation_deg", math.nan)
    if math.isfinite(turn):
        return beam.model_copy(update={"bpa_deg": beam.bpa_deg - turn})
    if cutout.wcs is None or beam.bmaj_arcsec == beam.bmin_arcsec:
        return beam  # without a header North is up
    angle = math.radians(beam.bpa_deg)
    x, y = np.linalg.solve(cutout.wcs.pixel_scale_matrix, [math.sin(angle), math.cos(angle)])
    return beam.model_copy(update={"bpa_deg": math.degrees(math.atan2(-x, y))})


def _header_after(header: Header, before: Cutout, after: Cutout, ratio: float) -> Header:
    """Return the header that goes with a changed cutout."""
    size_before, size_after = ((each.image.shape[1], each.image.shape[2]) for each in (before, after))
    moved = moved_header(header, ratio, size_before, size_after)
    moved["BUNIT"] = after.unit
    for key, per_degree in (("bmaj", 3600.0), ("bmin", 3600.0), ("bpa", 1.0)):
        if key in after.meta:
            moved[key.upper()] = after.meta[key] / per_degree
    return moved
