"""The card of what an ingest stores, where it changes the images on the way."""

from __future__ import annotations

__all__ = ["check_options", "prepared_card"]

from typing import Any

from astrofm.card import Beam, Fact, SurveyCard
from astrofm.data.options import IngestOptions
from astrofm.data.units import Geometry, brightness_factor, is_flux_per_pixel
from astrofm.errors import DataError, UsageError, one_of

_MADE = "the options of the ingest"


def prepared_card(options: IngestOptions, card: SurveyCard, product_name: str) -> SurveyCard:
    """Return the card of what is stored.

    The product has the ``shape``, ``unit`` and ``pixel_scale_arcsec`` of the stored cutouts; the field of view, the
    beam (or PSF) and the unit of the bands are theirs too. The constants of a normalisation stay those of the card.

    Args:
        options: What is changed.
        card: The card, as the survey gives it.
        product_name: One of its products.

    Raises:
        UsageError: If the size of the stored cutouts does not follow from the card.
    """
    if not options.changes_images:
        return card
    product, changes = card.products[product_name], dict[str, Any]()
    unit, scale_arcsec = options.unit or product.unit, options.pixel_scale_arcsec or card.pixel_scale_of(product_name)
    size_pix = _size_pix(options, card, product_name)
    stored = {"shape": (product.shape[0], *size_pix), "unit": unit, "pixel_scale_arcsec": scale_arcsec}
    changes["products"] = {**card.products, product_name: product.model_copy(update=stored)}
    if options.unit:
        changes["bands"] = tuple(band.model_copy(update={"unit": unit}) for band in card.bands)
    if scale_arcsec is not None and (options.pixel_scale_arcsec or options.field_of_view_arcsec):
        changes["field_of_view_arcsec"] = Fact[float](value=max(size_pix) * scale_arcsec, source=_MADE)
    if options.beam_arcsec is not None and card.domain == "radio":
        beam = Beam(bmaj_arcsec=options.beam_arcsec, bmin_arcsec=options.beam_arcsec)
        changes["beam"] = Fact[Beam](value=beam, source=_MADE)
    elif options.beam_arcsec is not None:
        changes["psf_fwhm_arcsec"] = Fact[float](value=options.beam_arcsec, source=_MADE)
    return card.model_copy(update=changes)


def check_options(options: IngestOptions, card: SurveyCard, product_name: str) -> None:
    """Refuse what can be done to no cutout of a product.

    Raises:
        UnknownNameError: If the card has no such product.
        UsageError: If its values are not a flux or brightness (8-bit, stretched, another quantity), if a fact is needed
            that neither the card nor the form of the archive gives, or if the size in pixels does not follow.
    """
    if product_name not in card.products:
        raise one_of(f"product of {card.name!r}", product_name, card.products)
    if options.unit or options.pixel_scale_arcsec or options.beam_arcsec:
        _check_values(options, card, product_name)
        _check_facts(options, card, product_name)
    if options.unit:
        _check_unit(options, card, product_name)
    prepared_card(options, card, product_name)


def _size_pix(options: IngestOptions, card: SurveyCard, product_name: str) -> tuple[int, int]:
    """Return the size of a stored cutout, (ny, nx): the field over the pixel scale."""
    size_pix, own_scale = card.products[product_name].size_pix, card.pixel_scale_of(product_name)
    if options.pixel_scale_arcsec is None and options.field_of_view_arcsec is None:
        return size_pix
    scale_arcsec = options.pixel_scale_arcsec or own_scale
    if scale_arcsec is None:
        raise UsageError(
            f"a field of view of {options.field_of_view_arcsec:g} arcsec has no fixed number of pixels: "
            f"the pixel scale of {card.name!r} is not known, so ask for one too"
        )
    if options.field_of_view_arcsec is not None:
        fields = (options.field_of_view_arcsec,) * 2
    elif own_scale is not None:
        fields = (size_pix[0] * own_scale, size_pix[1] * own_scale)
    elif card.field_of_view_arcsec.value is not None:
        fields = (card.field_of_view_arcsec.value,) * 2
    else:
        raise UsageError(
            f"{scale_arcsec:g} arcsec a pixel give no fixed size: the card of {card.name!r} knows neither pixel scale "
            "nor field of view, so ask for a field of view too"
        )
    size_y, size_x = (round(field / scale_arcsec) for field in fields)
    if min(size_y, size_x) < 1:
        raise UsageError(f"a field of {min(fields):g} arcsec holds no pixel of {scale_arcsec:g} arcsec")
    return size_y, size_x


def _check_values(options: IngestOptions, card: SurveyCard, product_name: str) -> None:
    product, name = card.products[product_name], f"product {product_name!r} of {card.name!r}"
    if product.dtype == "uint8" or product.stretch_applied:
        kind = "8-bit values" if product.dtype == "uint8" else f"values after the stretch {product.stretch_applied!r}"
        raise UsageError(
            f"{name} holds {kind}, which are no flux: take it without a change of unit, pixel scale or beam "
            "(the network's input has its own size and field of view)"
        )
    if (options.pixel_scale_arcsec or options.beam_arcsec) and is_flux_per_pixel(product.unit) is None:
        raise UsageError(
            f"{name} is in {product.unit!r}, which is neither a flux nor a brightness: it can be neither convolved nor "
            "resampled"
        )


def _check_facts(options: IngestOptions, card: SurveyCard, product_name: str) -> None:
    """Refuse arrays, whose images have no header of their own, where the card does not give what is needed."""
    if card.arrays is None:
        return
    missing = []
    if (options.pixel_scale_arcsec or options.beam_arcsec) and card.pixel_scale_of(product_name) is None:
        missing.append(("pixel scale", card.pixel_scale_arcsec.unknown))
    if options.beam_arcsec and card.resolution_arcsec is None:
        fact = card.beam or card.psf_fwhm_arcsec
        missing.append(("beam" if card.domain == "radio" else "PSF", fact.unknown if fact else ""))
    for what, settles in missing:
        raise UsageError(
            f"the images of {card.name!r} have no headers and its card does not know their {what}, which is needed for "
            f"this: it would be settled by {settles}"
        )


def _check_unit(options: IngestOptions, card: SurveyCard, product_name: str) -> None:
    """Refuse a unit that the product could not be converted to if all were known of a cutout."""
    for band in card.bands:
        known = Geometry(pixel_scale_arcsec=1.0, bmaj_arcsec=1.0, bmin_arcsec=1.0, frequency_hz=band.frequency_hz)
        try:
            brightness_factor(card.products[product_name].unit, options.unit, known)
        except DataError as error:
            raise UsageError(f"product {product_name!r} of {card.name!r}, band {band.name!r}: {error}") from error
