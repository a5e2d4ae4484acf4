"""The file names of MiraBest, which hold class, position, redshift and size of each source.

``100_010.451-009.284_0.0529_0080.60`` is a source of class 100 at RA 10.451 and Dec -9.284 degrees, at redshift
0.0529, 80.60 arcsec in size (Porter & Scaife 2023, https://arxiv.org/abs/2305.11108).
"""

from __future__ import annotations

__all__ = ["CLASSES", "LARGEST_SIZE_ARCSEC", "SourceName"]

import re
from dataclasses import dataclass
from typing import Self

from astrofm.errors import DataError

CLASSES = ("100", "102", "104", "110", "112", "200", "201", "210", "300", "310")
"""The classes of the published set; a label is a place in this list."""

LARGEST_SIZE_ARCSEC = 270.0
"""The side of a published image: larger sources were left out."""

_PATTERN = re.compile(r"(\d{3})_(\d{3}\.\d{3})([+-]\d{3}\.\d{3})_(\d+\.\d+)_(\d+\.\d+)")


@dataclass(frozen=True)
class SourceName:
    """What the name of a MiraBest source says.

    Attributes:
        class3: Three digits: FR class (1 FRI, 2 FRII, 3 hybrid), confidence (0 confident, 1 uncertain), subclass.
        ra: Right ascension, degrees (J2000).
        dec: Declination, degrees (J2000).
        redshift: Spectroscopic redshift of the host galaxy.
        size_arcsec: Largest angular size.
    """

    class3: str
    ra: float
    dec: float
    redshift: float
    size_arcsec: float

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a name without its extension.

        Raises:
            DataError: If it is not of the published form.
        """
        match = _PATTERN.fullmatch(name)
        if match is None:
            raise DataError(f"{name!r} is not the name of a MiraBest source; expected CLASS_RA+DEC_REDSHIFT_SIZE")
        class3, ra, dec, redshift, size_arcsec = match.groups()
        return cls(class3, float(ra), float(dec), float(redshift), float(size_arcsec))

    def __str__(self) -> str:
        """Return the name as the archive writes it."""
        return f"{self.class3}_{self.ra:07.3f}{self.dec:+08.3f}_{self.redshift:.4f}_{self.size_arcsec:07.2f}"

    @property
    def label(self) -> int:
        """Place of the class among the published ten; -1 where it is not one of them."""
        return CLASSES.index(self.class3) if self.class3 in CLASSES else -1

    @property
    def why_left_out(self) -> str:
        """The published rule that keeps the source out of the set; empty where none does."""
        if self.label < 0:
            return f"class {self.class3} is not in the published set"
        if self.size_arcsec >= LARGEST_SIZE_ARCSEC:
            return "larger than 270 arcsec"
        return ""
