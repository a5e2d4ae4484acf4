"""Units of brightness: as archives spell them, and from one to another."""

from __future__ import annotations

__all__ = ["Geometry", "brightness_factor", "is_flux_per_pixel", "is_per_beam", "unit_factor"]

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from astrofm.errors import DataError

_SPELLINGS = {
    "jy": "Jy",
    "beam": "beam",
    "pixel": "pixel",
    "pix": "pixel",
    "px": "pixel",
    "electron": "electron",
    "electrons": "electron",
    "count": "count",
    "counts": "count",
    "adu": "adu",
    "s": "s",
    "sec": "s",
    "nmgy": "nanomaggy",
    "nanomaggy": "nanomaggy",
    "nanomaggies": "nanomaggy",
}
"""Spellings that are understood in any case. MJY is not among them: it may be a thousandth or a million of a Jy."""

_PART = re.compile(r"\s*([/.*]?)\s*([A-Za-z]+)(?:\^?\(?(-?\d+)\)?)?\s*")

_SR_OF_ARCSEC2 = math.radians(1 / 3600) ** 2
_JY_OF_MAGGY = 3631.0
"""Flux density of AB magnitude 0: a nanomaggy is 3.631e-6 Jy."""
_JY_PER_SR_OF_K_AT_1_HZ = 2 * 1.380649e-23 / 299792458.0**2 * 1e26
"""2 k / c^2 (Rayleigh-Jeans), SI constants, in Jy/sr."""

_Per = Literal["beam", "pixel", "sr", "K"]
_NEEDS = {
    "beam": "the beam (bmaj and bmin, in arcsec)",
    "pixel": "the pixel scale (in arcsec)",
    "K": "the frequency of the band (in Hz)",
}


@dataclass(frozen=True)
class Geometry:
    """What ties the flux of an image to its brightness; None where it is not known."""

    pixel_scale_arcsec: float | None = None
    bmaj_arcsec: float | None = None
    """Full width at half maximum of the beam along its major axis."""
    bmin_arcsec: float | None = None
    frequency_hz: float | None = None

    @property
    def pixel_sr(self) -> float | None:
        """Solid angle of a pixel."""
        return None if self.pixel_scale_arcsec is None else self.pixel_scale_arcsec**2 * _SR_OF_ARCSEC2

    @property
    def beam_sr(self) -> float | None:
        """Solid angle of a Gaussian beam: pi / (4 ln 2) bmaj bmin."""
        if self.bmaj_arcsec is None or self.bmin_arcsec is None:
            return None
        return math.pi / (4 * math.log(2)) * self.bmaj_arcsec * self.bmin_arcsec * _SR_OF_ARCSEC2

    def jy_per_sr_of_one(self, per: _Per) -> float | None:
        """Brightness of 1 Jy per beam, 1 Jy per pixel, 1 Jy/sr or 1 K (Rayleigh-Jeans); None where not known."""
        if per == "K":
            return None if self.frequency_hz is None else _JY_PER_SR_OF_K_AT_1_HZ * self.frequency_hz**2
        solid_angle = {"beam": self.beam_sr, "pixel": self.pixel_sr, "sr": 1.0}[per]
        return None if solid_angle is None else 1 / solid_angle


NO_GEOMETRY = Geometry()


@cache
def unit_factor(found: str, wanted: str) -> float | None:
    """Return what values in one unit are multiplied by to be in another.

    Args:
        found: Unit as a file gives it, for example ``JY/BEAM`` or ``mJy beam-1``.
        wanted: Unit wanted, for example ``Jy/beam``.

    Returns:
        The factor, exactly 1 for two spellings of one unit; None where they are not units of the same quantity.
    """
    found, wanted = _in_one_spelling(found), _in_one_spelling(wanted)
    if found == wanted:
        return 1.0
    from astropy import units as u

    try:
        return float(u.Unit(found).to(u.Unit(wanted)))
    except (ValueError, u.UnitConversionError):
        return None


def brightness_factor(found: str, wanted: str, geometry: Geometry = NO_GEOMETRY) -> float:
    """Return what values in one unit are multiplied by to be in another, of a related quantity.

    Flux per beam, flux per pixel, flux per solid angle and brightness temperature describe one sky; what ties them is
    the geometry of the image. A plain flux density (``Jy``, ``nanomaggy``) is that in a pixel. A nanomaggy is taken on
    the AB scale, 3.631e-6 Jy; a temperature is Rayleigh-Jeans.

    Args:
        found: Unit of the values, for example ``Jy/beam``.
        wanted: Unit wanted, for example ``Jy/pixel``, ``MJy/sr`` or ``nJy``.
        geometry: Of the image. What the conversion does not need may be unknown.

    Raises:
        DataError: If no geometry converts the one to the other, or if what it needs is not known; says what.
    """
    same = unit_factor(found, wanted)
    if same is not None:
        return same
    before, after = _brightness(found), _brightness(wanted)
    if before is None or after is None:
        strange = found if before is None else wanted
        raise DataError(f"{found!r} cannot be converted to {wanted!r}: {strange!r} is no flux or brightness in Jy or K")
    if before[0] == after[0]:
        return before[1] / after[1]
    missing = [_NEEDS[per] for per in (before[0], after[0]) if geometry.jy_per_sr_of_one(per) is None]
    from_one, to_one = geometry.jy_per_sr_of_one(before[0]), geometry.jy_per_sr_of_one(after[0])
    if from_one is None or to_one is None:
        raise DataError(f"{found!r} to {wanted!r} needs {' and '.join(missing)}, not known of the image")
    return before[1] * from_one / (after[1] * to_one)


def is_per_beam(unit: str) -> bool:
    """Whether values change their meaning with the beam, as ``Jy/beam`` does."""
    brightness = _brightness(unit)
    return brightness is not None and brightness[0] == "beam"


@cache
def is_flux_per_pixel(unit: str) -> bool | None:
    """Whether the pixels of a source add up to its flux, as in ``Jy/pixel``, ``nanomaggy`` or counts.

    Returns:
        False for a brightness (``Jy/beam``, ``MJy/sr``, ``K``), which has to be multiplied by the area of a pixel. None
        for what is neither, such as a magnitude.
    """
    from astropy import units as u

    parsed = _parsed(unit)
    if parsed is None:
        return None
    powers = dict(zip(parsed.bases, parsed.powers, strict=True))
    if any(base.is_equivalent(u.mag) for base in powers):
        return None
    solid_angle = sum(power for base, power in powers.items() if base.is_equivalent(u.rad))
    solid_angle += 2 * sum(power for base, power in powers.items() if base.is_equivalent(u.sr))
    if powers.get(u.beam) == -1 or solid_angle == -2 or parsed.is_equivalent(u.K):
        return False
    counts = any(powers.get(count) == 1 for count in (u.ct, u.electron, u.ph, u.adu, u.DN))
    brightness = _brightness(unit)
    return True if counts or (brightness is not None and brightness[0] == "pixel") else None


@cache
def _brightness(unit: str) -> tuple[_Per, float] | None:
    """Return what a unit is per, and how many Jy (or K) one of it is; None for another quantity."""
    from astropy import units as u

    parsed = _parsed(unit)
    if parsed is None:
        return None
    per: _Per | None = None
    flux = u.CompositeUnit(parsed.scale, [], [])
    for base, power in zip(parsed.bases, parsed.powers, strict=True):
        if base in (u.beam, u.pix) and power == -1:
            per = "beam" if base == u.beam else "pixel"
        elif base.is_equivalent(u.mgy):
            flux *= (base.to(u.mgy) * _JY_OF_MAGGY * u.Jy) ** power
        else:
            flux *= base**power
    flux = u.Unit(flux)
    kinds: dict[_Per, u.UnitBase] = {per: u.Jy} if per else {"pixel": u.Jy, "sr": u.Jy / u.sr, "K": u.K}
    return next(((kind, float(flux.to(one))) for kind, one in kinds.items() if flux.is_equivalent(one)), None)


def _parsed(unit: str) -> Any:
    """Return the unit as astropy's, None where it is none or logarithmic."""
    from astropy import units as u

    try:
        parsed = u.Unit(_in_one_spelling(unit))
    except (ValueError, TypeError):
        return None
    return parsed if isinstance(parsed, u.UnitBase) else None


def _in_one_spelling(unit: str) -> str:
    """Return ``Jy.beam-1`` for any spelling of it; text that is not a product of named units comes back as it is."""
    parts = [match.groups() for match in _PART.finditer(unit)]
    if "".join(match.group() for match in _PART.finditer(unit)) != unit:
        return unit.strip()
    spelt = []
    for operator, name, power in parts:
        exponent = int(power or 1) * (-1 if operator == "/" else 1)
        spelt.append(_SPELLINGS.get(name.lower(), name) + ("" if exponent == 1 else str(exponent)))
    return ".".join(spelt)
