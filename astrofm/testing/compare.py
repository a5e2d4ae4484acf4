"""Take what a reader yields apart, compare two readings, and compare one with what the card says."""

from __future__ import annotations

__all__ = [
    "assert_fits_product",
    "assert_labels_are_known",
    "assert_lies_as_the_card_says",
    "assert_on_the_sky",
    "assert_same_cutouts",
    "assert_splits_are_apart",
    "facts_of",
    "images_of",
    "one_by_one",
    "results_of",
]

from collections.abc import Iterable

import numpy as np
from astropy.table import Table
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from astrofm.card import ClassTask, Fact, Product, SurveyCard
from astrofm.data.catalog import Catalog
from astrofm.data.crossmatch import near
from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected
from astrofm.data.units import unit_factor
from astrofm.survey import Source, Survey

SAME_PLACE_ARCSEC = 1.0
"""Distance within which two rows are one source."""


def facts_of(card: SurveyCard) -> list[tuple[str, Fact[object]]]:
    """Return the facts of a card with their names."""
    return [(name, value) for name, value in card if isinstance(value, Fact)]


def results_of(survey: Survey, source: Source, rows: Table) -> list[Cutout | Rejected]:
    """Return what a survey's reader yields for some rows of its catalogue, one for each.

    Raises:
        AssertionError: If there are more or fewer.
    """
    results = one_by_one(survey.cutouts(source, rows))
    assert len(results) == len(rows), (
        f"the reader gives {len(results)} results for {len(rows)} rows: give a Cutout for each, or a Rejected"
    )
    return results


def one_by_one(found: Iterable[Cutout | CutoutBatch | Rejected]) -> list[Cutout | Rejected]:
    """Return what a reader yields with its batches taken apart."""
    results: list[Cutout | Rejected] = []
    for result in found:
        if not isinstance(result, CutoutBatch):
            results.append(result)
            continue
        for place, image in enumerate(result.images):
            mask = None if result.masks is None else result.masks[place]
            meta = {name: float(values[place]) for name, values in result.meta.items()}
            results.append(Cutout(image, result.unit, mask, meta=meta))
    return results


def images_of(results: Iterable[Cutout | Rejected]) -> list[NDArray[np.generic]]:
    """Return the images of what was not rejected."""
    return [result.image for result in results if isinstance(result, Cutout)]


def assert_same_cutouts(found: list[Cutout | Rejected], wanted: list[Cutout | Rejected]) -> None:
    """Compare pixels, units and reasons of two readings."""
    assert len(found) == len(wanted)
    for first, second in zip(found, wanted, strict=True):
        assert type(first) is type(second)
        if isinstance(first, Cutout) and isinstance(second, Cutout):
            np.testing.assert_array_equal(first.image, second.image)
            assert first.unit == second.unit


def assert_on_the_sky(catalog: Catalog) -> None:
    """Look at the positions of a survey that publishes any; of a row they may be unknown."""
    ra, dec = catalog.column("ra"), catalog.column("dec")
    is_known = np.isfinite(ra) & np.isfinite(dec)
    assert (is_known == (np.isfinite(ra) | np.isfinite(dec))).all(), "some rows have one coordinate alone"
    assert ((ra[is_known] >= 0) & (ra[is_known] < 360)).all(), "right ascensions are not in [0, 360) degrees"
    assert (np.abs(dec[is_known]) <= 90).all(), "declinations are beyond 90 degrees"


def assert_splits_are_apart(catalog: Catalog, splits: NDArray[np.str_]) -> None:
    """Look for test sources that are training sources under another name: at the same place, where places are known."""
    ra, dec = catalog.column("ra"), catalog.column("dec")
    is_test = splits == "test"
    shared = near(ra[is_test], dec[is_test], ra[~is_test], dec[~is_test], SAME_PLACE_ARCSEC)
    names = catalog.column("id_str")[is_test][shared].tolist()
    assert not names, (
        f"{len(names)} test sources lie within {SAME_PLACE_ARCSEC:g} arcsec of one that is not test, such as "
        f"{names[0]}: the same source in both makes every error too small"
    )


def assert_labels_are_known(card: SurveyCard, catalog: Catalog, *, is_part: bool = False) -> None:
    """Look for labels that the card has no name for and, but for a part of an archive, tasks that no row belongs to."""
    values = catalog.column("label").tolist() if "label" in catalog.columns else []
    if card.label_names:
        unknown = {value for value in values if value == value} - {-1, *card.label_names}
        assert not unknown, f"the card names no label {sorted(unknown)[0]!r}"
    if is_part:
        return
    for task in card.tasks:
        if isinstance(task, ClassTask):
            accepted = {str(value) for values in task.classes.values() for value in values}
            found = {str(value) for value in catalog.column(task.column)}
            assert found & accepted, f"no row belongs to task {task.name!r}"


def assert_fits_product(product: Product, cutout: Cutout) -> None:
    """Compare type, bands, unit and mask of a cutout with its product."""
    assert cutout.image.dtype == np.dtype(product.dtype), f"pixels are {cutout.image.dtype}, not {product.dtype}"
    assert cutout.image.ndim == 3, "images are (band, y, x)"
    assert cutout.image.shape[0] == product.shape[0], f"{cutout.image.shape[0]} bands, not {product.shape[0]}"
    assert unit_factor(cutout.unit, product.unit) == 1.0, f"{cutout.unit!r} is not {product.unit!r}"
    assert cutout.mask is None or cutout.mask.shape == cutout.image.shape[1:], "the mask has another size"


def assert_lies_as_the_card_says(
    card: SurveyCard, pixel_scale_arcsec: float | None, name: str, cutout: Cutout, ra: float, dec: float
) -> None:
    """Compare orientation, scale and place of a cutout that has a WCS with the card and the catalogue.

    Args:
        card: Says how it is turned.
        pixel_scale_arcsec: Of the product; None where it varies or is unknown.
        name: Id of its row.
        cutout: With or without a WCS.
        ra: Of its row, in degrees; NaN where unknown.
        dec: Likewise.
    """
    if cutout.wcs is None or not cutout.wcs.has_celestial:
        return
    ny, nx = cutout.image.shape[1:]
    centre = cutout.wcs.pixel_to_world(nx // 2, ny // 2)
    found = 3600.0 * proj_plane_pixel_scales(cutout.wcs)
    if card.orientation.startswith("North up, East left"):
        above = cutout.wcs.pixel_to_world(nx // 2, ny // 2 + 1)
        left = cutout.wcs.pixel_to_world(nx // 2 - 1, ny // 2)
        angle = centre.position_angle(above)
        assert np.cos(angle.rad) > 0.99, (
            f"the y axis of {name} points {angle.wrap_at('180d').deg:.0f} degrees from North through East, where the "
            "card says North up: say in its 'orientation' how the images lie, for example 'as observed'"
        )
        assert np.sin(centre.position_angle(left).rad) > 0.99, f"x of {name} does not decrease to the East"
    if pixel_scale_arcsec is not None:
        assert np.allclose(found, pixel_scale_arcsec, rtol=0.01), (
            f"pixels of {name} are {found[0]:.4g} arcsec wide, not {pixel_scale_arcsec:g} as the card says"
        )
    if np.isfinite(ra):
        offset_arcsec = centre.separation(type(centre)(ra, dec, unit="deg")).arcsec
        assert offset_arcsec < 0.25 * found[0] * nx, f"the catalogue position of {name} is not near the middle"
