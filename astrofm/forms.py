"""The forms in which an archive that needs no code may lie on disk; a card gives one of them.

Each has a ``columns`` table that maps the columns of the contract (``id_str``, ``ra``, ``dec``, ``label``, ``split``,
``file_loc``) to the archive's own.
"""

from __future__ import annotations

__all__ = ["ID", "ArraysLayout", "Extensions", "FolderLayout", "MosaicLayout", "PicturesLayout"]

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

ID = "{id_str}"
"""Stands for the id of a row in the name of a file."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Extensions(_Frozen):
    """Which HDUs of a FITS file are read: by name (``SCI``), name and version (``SCI,2``) or number (``1``)."""

    image: str = ""
    """Name of the extension with the pixels; empty: ``SCI`` where there is one, else the first image."""
    quality: str = ""
    """Extension whose flagged pixels are ignored; empty: the ``DQ`` beside a ``SCI``."""
    quality_bits: int | None = None
    """Bits of the quality flags that count; by default any."""
    error: str = ""
    """Extension with the standard deviation of each pixel; empty: the ``ERR`` beside a ``SCI``."""


class FolderLayout(_Frozen):
    """A folder of images and a table: all that a survey without code needs."""

    images: str = ""
    """Pattern of the image files, in which ``{id_str}`` may stand for the id of a row; empty: that of the product."""
    table: str
    """Name of the table in the folder (CSV, ECSV, FITS, VOTable or Parquet)."""
    columns: dict[str, str] = {}
    """Column of the contract (``id_str``, ``ra``, ``dec``, ``label``, ``split``, ``file_loc``) to the table's own."""
    bands: dict[str, str] = {}
    """For each band of the card its file, with ``{id_str}`` where the id stands; empty: one file holds all bands."""
    extensions: Extensions = Extensions()

    @model_validator(mode="after")
    def _says_where_the_id_stands(self) -> Self:
        without = [template for template in self.bands.values() if ID not in template]
        if without:
            raise ValueError(f"the file of a band has {ID} where the id of its row stands; {without[0]!r} has not")
        wild = [template for template in self.bands.values() if "*" in template or "?" in template]
        if wild:
            raise ValueError(f"the file of a band is named in full, but for {ID}; {wild[0]!r} is a pattern")
        if self.bands and (self.images or "file_loc" in self.columns):
            raise ValueError("'bands' names the files of each row: give neither 'images' nor 'file_loc' beside it")
        return self


class MosaicLayout(_Frozen):
    """One or several large images and a catalogue: cutouts are made around its positions."""

    images: str = ""
    """Pattern of the mosaics, or the URL of one; empty: the pattern of the product."""
    table: str
    """Name of the catalogue, in the folder of the mosaics (CSV, ECSV, FITS, VOTable or Parquet)."""
    columns: dict[str, str] = {}
    """Column of the contract to the table's own."""
    bands: dict[str, str] = {}
    """For each band of the card the pattern (or URL) of its mosaics; empty: one file holds all bands."""
    extensions: Extensions = Extensions()


class ArraysLayout(_Frozen):
    """HDF5 or NumPy files: one array of images each, and its columns in the same file or in a table beside it."""

    images: str = ""
    """Name of the array (in HDF5 its path); empty: the only one with enough axes."""
    axes: Literal["nyx", "nbyx", "nyxb"] = "nbyx"
    """What its axes are: n = image, b = band, y and x = pixel."""
    top_row_first: bool = False
    """Whether the first row of pixels is the northern one, as in pictures; FITS has the southern one first."""
    table: str = ""
    """Name of a table in the same folder, row by row that of the array; empty: the columns are arrays of the file."""
    columns: dict[str, str] = {}
    """Column of the contract to the array (in HDF5 its path) or table column."""


class PicturesLayout(_Frozen):
    """Parquet files in which each row holds an encoded picture (JPEG or PNG) beside its labels."""

    image: str = "image"
    """Column of the pictures: bytes, or a struct with ``bytes`` as Hugging Face datasets have it."""
    columns: dict[str, str] = {}
    """Column of the contract to the file's own."""
    split_from_name: bool = False
    """Whether the name of each file begins with the split of its rows (``train-00000-of-00052.parquet``)."""
    leave_out: tuple[str, ...] = ()
    """Patterns of columns that do not go into the catalogue (``*_fraction``)."""
