"""Recipes: one complete run, as a YAML file.

A recipe names each part and gives its settings; the settings are checked by the configuration class of the part that
the registry gives. Nothing below takes a recipe.
"""

from __future__ import annotations

__all__ = [
    "DataSection",
    "Exclusion",
    "NamedPart",
    "ProbeSettings",
    "Recipe",
    "SurveyChoice",
    "TrainingSection",
    "apply_change",
    "changed_keys",
]

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from astrofm.contract import Scale
from astrofm.errors import RecipeError, brief, in_one_line, not_yaml
from astrofm.home import shipped
from astrofm.optimizer import OptimizerConfig, Precision


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NamedPart(_Frozen):
    """A registered part and its settings."""

    name: str
    settings: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given


class SurveyChoice(_Frozen):
    """One survey of the training data."""

    name: str
    """Name of an installed survey, or path of a card."""
    splits: tuple[Literal["train", "val", "test"], ...] = ("train",)
    weight: float | None = Field(default=None, gt=0)
    """Share of each batch, in proportion to the weights of the other surveys; None for all: as their cutouts are."""
    limits: dict[str, tuple[float | None, float | None]] = {}
    """Columns of the store's catalogue, and the least and greatest value of a row that takes part; null: no limit. Rows
    whose value is unknown take no part."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given


class Exclusion(_Frozen):
    """Leave out training sources near those of another catalogue."""

    survey: str
    split: Literal["train", "val", "test"]
    radius_arcsec: float = Field(gt=0)


class RecipeChannel(_Frozen):
    """One input channel of the network to be trained."""

    name: str
    accepts: tuple[str, ...] = ()
    """Bands that may fill it; empty: the bands of the surveys the run trains on."""


class DataSection(_Frozen):
    """What the network sees."""

    surveys: tuple[SurveyChoice, ...] = Field(min_length=1)
    exclude: tuple[Exclusion, ...] = ()
    channels: tuple[RecipeChannel, ...] = Field(min_length=1)
    size_pix: int = Field(gt=0)
    field_of_view_arcsec: Scale
    """Side of the input on the sky; ``unknown``: the whole cutout, whatever it spans."""
    labelled_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of each batch that has labels; None: as it comes."""

    @model_validator(mode="after")
    def _names_each_survey_once(self) -> Self:
        names = [choice.name for choice in self.surveys]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"survey {', '.join(map(repr, twice))} is named twice; give all its splits in one entry")
        return self

    @model_validator(mode="after")
    def _weighs_all_surveys_or_none(self) -> Self:
        without = [choice.name for choice in self.surveys if choice.weight is None]
        if 0 < len(without) < len(self.surveys):
            raise ValueError(
                f"survey {', '.join(map(repr, without))} has no weight and others do; give each a weight, or none"
            )
        return self


class CoarseSection(_Frozen):
    """Fewer pixels for the same field of view while training begins."""

    size_pix: int = Field(gt=0)
    fraction: float = Field(gt=0, lt=1)
    """Share of the steps that see them."""


class TrainingSection(_Frozen):
    """How long, how fast, and how reproducibly."""

    batch_size: int = Field(gt=1)
    """Cutouts a step, over all processes."""
    max_epochs: int | None = Field(default=None, gt=0)
    max_steps: int | None = Field(default=None, gt=0)
    """The first of max_epochs and max_steps ends the run and sets the schedules."""
    optimizer: OptimizerConfig
    precision: Precision | Literal["auto"] = "32-true"
    """``auto``: bf16-mixed where the device computes in bfloat16, else 32-true; the run's folder says which it was."""
    seed: int = Field(default=0, ge=0)
    deterministic: bool = False
    """Bitwise the same on a GPU; on the CPU it always is."""
    checkpoint_every_steps: int = Field(default=100, gt=0)
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient of all trained parameters together; null: the gradient as it comes."""
    accumulate_batches: int = Field(default=1, gt=0)
    """Small batches that go through the networks one after the other and make the one batch of a step."""
    compile: bool = False
    """Whether torch.compile makes kernels of the networks: the first steps wait, and results differ by rounding."""
    capture: bool = False
    """Whether a GPU runs forward and backward pass as one CUDA graph, for networks that it is quicker than Python with.
    """
    coarse: CoarseSection | None = None
    """Smaller input while training begins, which takes less time; null: ``data.size_pix`` from the first step on."""
    collapse_spread: float = Field(default=0.1, ge=0)
    """Spread of the projection, 1 where directions are isotropic, below which it counts as collapsed; 0: never."""
    collapse_steps: int = Field(default=200, gt=0)
    """Steps that the spread must stay below that before the run is stopped."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.max_epochs is None and self.max_steps is None:
            raise ValueError("give max_epochs or max_steps, else the run never ends")
        return self

    @model_validator(mode="after")
    def _small_batches_are_equal(self) -> Self:
        if self.batch_size % self.accumulate_batches or self.batch_size == self.accumulate_batches:
            raise ValueError(
                f"a batch_size of {self.batch_size} cannot be made of {self.accumulate_batches} equal small batches "
                "(accumulate_batches) of 2 cutouts or more"
            )
        return self


class ProbeSettings(_Frozen):
    """An online kNN probe: leave-one-out on the training split of a labelled survey, every few epochs."""

    survey: str
    task: str | None = None
    """Task of the survey's card; None: its first."""
    every_epochs: int = Field(default=1, gt=0)
    num_neighbours: int = Field(default=20, gt=0)


class Recipe(_Frozen):
    """One complete pretraining run."""

    name: str = Field(pattern=r"^\w[\w.-]*$")
    """Also that of the run's folder, where none is given."""
    data: DataSection
    views: tuple[NamedPart, ...]
    encoder: NamedPart
    """An encoder of a plugin, or a timm architecture and the settings of
    :class:`astrofm.encoders.build.EncoderConfig`."""
    objective: NamedPart
    training: TrainingSection
    probes: tuple[ProbeSettings, ...] = ()
    force: bool = False
    """Whether to run although a view destroys what the objective measures, as colour jitter does for redshifts."""

    @model_validator(mode="after")
    def _coarse_is_coarser(self) -> Self:
        coarse = self.training.coarse
        if coarse is not None and coarse.size_pix >= self.data.size_pix:
            raise ValueError(
                f"training.coarse.size_pix is {coarse.size_pix}, and must be less than data.size_pix, which is "
                f"{self.data.size_pix}"
            )
        return self

    @classmethod
    def find(cls, name_or_path: str) -> Path:
        """Return the file of a recipe, given its path or the name of a shipped one.

        Raises:
            RecipeError: If there is none.
        """
        path = Path(name_or_path)
        if path.suffix in (".yaml", ".yml"):
            if path.is_file():
                return path
            raise RecipeError(f"no recipe file at {path}")
        shipped_file = shipped("configs") / f"{name_or_path}.yaml"
        if not shipped_file.is_file():
            names = ", ".join(sorted(file.stem for file in shipped("configs").glob("*.yaml"))) or "none"
            raise RecipeError(f"no recipe named {name_or_path!r}; shipped: {names}; or give the path of a YAML file")
        return shipped_file

    @classmethod
    def load(cls, name_or_path: str, changes: Sequence[str] = (), surveys: Sequence[str] = ()) -> Self:
        """Read a recipe.

        Args:
            name_or_path: Name of a shipped recipe, or path of a YAML file.
            changes: Settings to change, as ``training.max_epochs=3``; the value is read as YAML.
            surveys: Surveys that replace the recipe's; those it knows keep their splits.

        Raises:
            RecipeError: If the file is missing, or a key is missing, misspelt or of the wrong kind.
        """
        path = cls.find(name_or_path)
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe {path} cannot be read as text: {brief(error)}") from error
        except yaml.YAMLError as error:
            raise RecipeError(f"recipe {path} is not YAML: {not_yaml(error)}") from error
        if not isinstance(given, dict):
            raise RecipeError(f"recipe {path} is empty or not a mapping of sections")
        for change in changes:
            apply_change(given, change)
        recipe = cls.parse(given, str(path))
        return recipe.with_surveys(surveys) if surveys else recipe

    @classmethod
    def parse(cls, given: dict[str, Any], where: str) -> Self:
        """Check a recipe that was read from ``where``.

        Raises:
            RecipeError: If a key is missing, misspelt or of the wrong kind.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise RecipeError(f"recipe {where}: {in_one_line(error)}") from error

    def with_surveys(self, names: Sequence[str]) -> Self:
        """Return the recipe with other surveys; those it knows keep their splits."""
        known = {choice.name: choice for choice in self.data.surveys}
        choices = tuple(known.get(name, SurveyChoice(name=name)) for name in dict.fromkeys(names))
        return self.model_copy(update={"data": self.data.model_copy(update={"surveys": choices})})

    def to_yaml(self) -> str:
        """Return the recipe, every default spelt out but those of parts, which :func:`astrofm.parts.resolved` adds."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def apply_change(given: dict[str, Any], change: str) -> None:
    """Set one dotted key, ``key=value``; a part written as a bare name becomes a mapping first.

    Raises:
        RecipeError: If the change is not of that form.
    """
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set takes key=value, for example training.max_epochs=3; got {change!r}")
    *parents, last = key.split(".")
    section: Any = given
    for parent in parents:
        if isinstance(section.get(parent), str):
            section[parent] = {"name": section[parent]}
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise RecipeError(f"--set {change}: {parent!r} is no section of the recipe")
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {change}: the value is not YAML") from error


def changed_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys in which two recipes differ."""
    changed: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            changed += changed_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            changed.append(f"{prefix}{key}")
    return changed
