"""The survey card: the facts about a survey, each with its source, read before a pixel is.

A fact nobody knows is ``{unknown: what would settle it}``.
"""

from __future__ import annotations

__all__ = [
    "Archive",
    "Band",
    "Beam",
    "ClassTask",
    "Fact",
    "Product",
    "ProductInput",
    "QualityRules",
    "Splits",
    "Step",
    "SurveyCard",
    "Transfer",
    "VoteTask",
]

import re
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from astrofm.errors import RecipeError, in_one_line, not_yaml
from astrofm.forms import ArraysLayout, FolderLayout, MosaicLayout, PicturesLayout

T = TypeVar("T")


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fact(_Frozen, Generic[T]):
    """A value and where it is published, or ``unknown`` and what would settle it."""

    value: T | None = None
    source: str = ""
    """Where the value is published; empty: the card's ``reference``."""
    unknown: str = ""
    """What would settle the fact, where it is not known."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_value(cls, given: Any) -> Any:
        if isinstance(given, Fact):
            return given
        if given == "unknown":
            raise ValueError("say what would settle it: {unknown: 'the FITS headers of the next release'}")
        is_fact = isinstance(given, dict) and given.keys() <= {"value", "source", "unknown"}
        return given if is_fact else {"value": given}

    @model_validator(mode="after")
    def _is_known_or_not(self) -> Self:
        if (self.value is None) == (self.unknown == ""):
            raise ValueError("a fact has either a value or what would settle it, under 'unknown'")
        return self


class Band(_Frozen):
    """One band of a survey, by its instrument-qualified name."""

    name: str
    """For example ``SDSS-g`` or ``VLA-FIRST-1.4GHz``."""
    unit: str
    wavelength_nm: float | None = None
    frequency_hz: float | None = None
    source: str = ""
    """Where its wavelength or frequency, and its unit, are published; empty: the card's ``reference``."""

    @field_validator("name")
    @classmethod
    def _names_its_instrument(cls, given: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9.]+(-[A-Za-z0-9.]+)+", given):
            raise ValueError(
                f"{given!r} does not name an instrument and a band: letters, digits and dots, with hyphens between "
                "them, as SDSS-g or VLA-FIRST-1.4GHz"
            )
        return given

    @model_validator(mode="after")
    def _says_where_it_lies(self) -> Self:
        if (self.wavelength_nm is None) == (self.frequency_hz is None):
            raise ValueError(f"band {self.name!r} needs either wavelength_nm or frequency_hz")
        return self

    @field_validator("frequency_hz", mode="before")
    @classmethod
    def _yaml_reads_exponents_as_text(cls, given: Any) -> Any:
        return float(given) if isinstance(given, str) else given


class Beam(_Frozen):
    """The restoring beam: full widths at half maximum and position angle, North through East."""

    bmaj_arcsec: float = Field(gt=0)
    bmin_arcsec: float = Field(gt=0)
    bpa_deg: float = 0.0


class Archive(_Frozen):
    """One file of the published archive, or several alike, and how to know that they are the right ones."""

    name: str
    """Of the file. Where ``url`` names a record of several files, the one of this name is meant."""
    url: str = Field(default="", pattern=r"^(https?://\S+|doi:10\.\S+|hf://datasets/[^/\s]+/[^/\s]+/\S+)?$")
    """Where it is fetched from: ``https://...``, ``doi:10.5281/zenodo.N`` or ``hf://datasets/OWNER/NAME/PATTERN``."""
    page: str = ""
    """Page for people, where nothing but a person can fetch it; ``note`` says how."""
    unpack: bool = False
    """Whether it is unpacked once it is here; not where the survey reads the packed file."""
    md5: str = Field(default="", pattern=r"^([0-9a-f]{32})?$")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """A hash that is not known is recorded when the file is first fetched."""
    size_bytes: int | None = Field(default=None, ge=0)
    licence: str = ""
    note: str = ""


class Step(_Frozen):
    """One named step of a stretch, with its parameters."""

    name: str
    settings: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_shorthand(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"name": given}
        if isinstance(given, dict) and len(given) == 1 and "name" not in given:
            ((name, settings),) = given.items()
            return {"name": name, "settings": settings or {}}
        return given


class ProductInput(_Frozen):
    """How a product's pixels become network input: a stretch, then ``(x - mean) / std``."""

    stretch: tuple[Step, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    """One value for each band, or one for all."""
    std: tuple[float, ...] = (1.0,)
    measured_on: str = ""
    """The split and number of cutouts the constants were measured on."""

    @model_validator(mode="after")
    def _spread_is_positive(self) -> Self:
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std must be positive, got {self.std}")
        return self


class Product(_Frozen):
    """One form the archive comes in."""

    pattern: str
    """File name pattern, matched in the source folder or against the source file."""
    shape: tuple[int, int, int]
    """Shape of a stored cutout: (band, y, x)."""
    unit: str
    dtype: Literal["uint8", "float32"]
    stretch_applied: str = ""
    """Name of the card's stretch that the archive has already applied; empty: none."""
    pixel_scale_arcsec: float | None = None
    """Where it differs from the card's."""
    input: ProductInput = ProductInput()

    @property
    def size_pix(self) -> tuple[int, int]:
        """Size of a stored cutout, (ny, nx)."""
        return self.shape[1], self.shape[2]


def refuse_booleans(given: Any) -> Any:
    """Refuse what YAML has read as true or false where a name was meant."""
    names = [*given, *given.values()] if isinstance(given, dict) else given
    for name in names if isinstance(names, list | tuple) else ():
        if isinstance(name, bool) or (isinstance(name, list | tuple) and any(isinstance(one, bool) for one in name)):
            raise ValueError("YAML reads yes, no, on and off as true or false: write such a name in quotes")
    return given


class ClassTask(_Frozen):
    """Tell classes apart by the values of a label column."""

    name: str
    title: str
    column: str
    classes: dict[str, tuple[int | str, ...]] = Field(min_length=2)
    """For each class its values in the column; rows with any other value are left out."""

    _words = field_validator("classes", mode="before")(refuse_booleans)


class VoteTask(_Frozen):
    """Tell classes apart by the volunteers' majority answer to one question."""

    name: str
    title: str
    question: str
    classes: dict[str, tuple[str, ...]] = Field(min_length=2)
    """For each class its answers."""
    _words = field_validator("classes", mode="before")(refuse_booleans)
    min_fraction: float = Field(default=0.5, ge=0, le=1)
    """Least share of the votes for the class; rows with less are left out."""
    min_votes: int = Field(default=1, ge=1)


class Splits(_Frozen):
    """How the rows were divided into train, val and test; see :mod:`astrofm.data.splits`."""

    scheme: str
    """``published``: the catalogue's ``split`` column. ``by-id``: drawn here, by a hash of the id. ``sky``: drawn by
    blocks of the sky. ``stratified``: drawn within each class of a label column."""
    how: str = ""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    val_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Of the drawn schemes; what is neither test nor val is train."""
    healpix_order: int = Field(default=5, ge=0, le=29)
    """Of ``sky``: the blocks are the HEALPix cells of this order, 58.6 deg / 2^order wide: 1.8 deg at 5."""
    column: str = ""
    """Of ``stratified``: the column whose values are the classes."""
    words: dict[Literal["train", "val", "test"], tuple[str, ...]] = {}
    """Of ``published``: what the catalogue calls a split, where it is not by its name."""

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> Self:
        if self.test_fraction + self.val_fraction >= 1:
            raise ValueError(
                f"test_fraction {self.test_fraction:g} and val_fraction {self.val_fraction:g} leave nothing to train on"
            )
        return self

    @model_validator(mode="after")
    def _uses_what_it_gives(self) -> Self:
        if (self.scheme == "stratified") != bool(self.column):
            raise ValueError(
                "the scheme 'stratified', and no other, needs 'column': the label whose values are classes"
            )
        if self.words and self.scheme != "published":
            raise ValueError(f"the scheme {self.scheme!r} has no use for words: leave them out, or choose 'published'")
        if self.scheme == "published" and self.val_fraction:
            raise ValueError("published splits are kept as they are: leave out val_fraction")
        if self.scheme != "sky" and self.healpix_order != type(self).model_fields["healpix_order"].default:
            raise ValueError(f"the scheme {self.scheme!r} has no use for healpix_order: leave it out, or choose 'sky'")
        return self


class Transfer(_Frozen):
    """Where the labels of one survey serve another."""

    train: str
    test: str


class QualityRules(_Frozen):
    """Which images are not taken into a store; each is counted with its reason."""

    max_missing: float = Field(default=0.25, ge=0, lt=1)
    """Largest part of the pixels that may be missing."""
    max_saturated: float = Field(default=0.5, gt=0, le=1)
    """Largest part of the pixels that may stand at the top of their range: 255 in an 8-bit picture."""
    duplicates: Literal["reject", "keep"] = "reject"
    """What becomes of an image whose pixels are those of an earlier row, bit for bit."""
    near_duplicates_arcsec: float | None = Field(default=None, gt=0)
    """Rows closer than this to an earlier row that was taken are rejected; by default positions are not compared."""


class SurveyCard(_Frozen):
    """The facts about a survey, each with its source."""

    name: str
    """Small letters, digits, and hyphens between them."""
    title: str
    domain: Literal["optical", "radio"]
    reference: str
    """The paper that a fact without a source of its own is taken from."""
    bands: tuple[Band, ...] = Field(min_length=1)
    pixel_scale_arcsec: Fact[float]
    field_of_view_arcsec: Fact[float]
    beam: Fact[Beam] | None = None
    psf_fwhm_arcsec: Fact[float] | None = None
    orientation: str = "North up, East left"
    archive: tuple[Archive, ...] = ()
    products: dict[str, Product] = Field(min_length=1)
    """Tried in this order on a source."""
    stretches: dict[str, tuple[Step, ...]] = {}
    """Named stretches, for example the one of the published 8-bit images."""
    votes: str = ""
    """Name of the vote schema; its file lies beside the card as ``schemas/NAME.yaml``."""
    label_names: dict[int, str] = {}
    """What the values of the ``label`` column stand for."""
    tasks: tuple[ClassTask | VoteTask, ...] = ()
    """The first is the default."""
    splits: Splits
    excluded: dict[str, str] = {}
    """Ids left out of every store, with the reason."""
    citation: str
    """BibTeX."""
    hard: str
    """What is hard about the data."""
    recipe: str
    quick_recipe: str
    transfer: Transfer | None = None
    quality: QualityRules = QualityRules()
    folder: FolderLayout | None = None
    mosaic: MosaicLayout | None = None
    arrays: ArraysLayout | None = None
    pictures: PicturesLayout | None = None

    @field_validator("name")
    @classmethod
    def _can_be_a_word_of_a_command(cls, given: str) -> str:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", given):
            raise ValueError(
                f"{given!r} is no name of a survey: small letters, digits and hyphens between them, as my-survey"
            )
        return given

    @model_validator(mode="after")
    def _has_a_resolution(self) -> Self:
        if self.domain == "radio" and self.beam is None:
            raise ValueError("a radio survey needs 'beam' (a value, or {unknown: what would settle it})")
        if self.domain == "optical" and self.psf_fwhm_arcsec is None:
            raise ValueError("an optical survey needs 'psf_fwhm_arcsec' (a value, or {unknown: what would settle it})")
        return self

    @model_validator(mode="after")
    def _lies_in_one_form(self) -> Self:
        given = [name for name in ("folder", "mosaic", "arrays", "pictures") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"an archive lies in one form; the card gives {' and '.join(given)}")
        return self

    @model_validator(mode="after")
    def _has_positive_scales(self) -> Self:
        for key in ("pixel_scale_arcsec", "field_of_view_arcsec", "psf_fwhm_arcsec"):
            fact = getattr(self, key)
            if fact is not None and fact.value is not None and not fact.value > 0:
                raise ValueError(f"{key} must be positive, got {fact.value:g}")
        return self

    @model_validator(mode="after")
    def _products_have_its_bands(self) -> Self:
        num_bands = len(self.bands)
        for name, product in self.products.items():
            if product.shape[0] != num_bands or min(product.shape) < 1:
                raise ValueError(
                    f"product {name!r} has the shape {product.shape}, which is read as (band, y, x), "
                    f"and the card names {num_bands} band{'s' if num_bands > 1 else ''}"
                )
            for key, values in (("mean", product.input.mean), ("std", product.input.std)):
                if len(values) not in (1, num_bands):
                    raise ValueError(f"product {name!r} gives {len(values)} values of {key}; give 1, or {num_bands}")
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as plain values: the class ``Fact[float]`` cannot be looked up by its name."""
        return type(self).model_validate, (self.model_dump(),)

    @property
    def band_names(self) -> tuple[str, ...]:
        """The names of the bands, in order."""
        return tuple(band.name for band in self.bands)

    @property
    def resolution_arcsec(self) -> float | None:
        """Beam (geometric mean of its axes) or PSF, full width at half maximum; None where unknown."""
        if self.beam is not None and self.beam.value is not None:
            return float((self.beam.value.bmaj_arcsec * self.beam.value.bmin_arcsec) ** 0.5)
        return None if self.psf_fwhm_arcsec is None else self.psf_fwhm_arcsec.value

    def pixel_scale_of(self, product: str) -> float | None:
        """Pixel scale of a product in arcsec; None where it varies or is unknown."""
        own = self.products[product].pixel_scale_arcsec
        return self.pixel_scale_arcsec.value if own is None else own

    @classmethod
    def from_yaml(cls, path: Path | Traversable) -> Self:
        """Read a card.

        Raises:
            RecipeError: If the file is missing, or a key is missing, misspelt or of the wrong kind.
        """
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls.model_validate(given)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise RecipeError(f"no survey card at {path}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"survey card {path} cannot be read as text: {' '.join(str(error).split())}") from error
        except yaml.YAMLError as error:
            raise RecipeError(f"survey card {path} is not YAML: {not_yaml(error)}") from error
        except ValidationError as error:
            raise RecipeError(f"survey card {path}: {in_one_line(error)}") from error
