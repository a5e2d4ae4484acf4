"""From the named parts of a recipe to the things they name, with checked settings."""

from __future__ import annotations

__all__ = ["NamedEncoder", "build_view", "check_invariances", "checked_settings", "named_encoder", "resolved"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
from pydantic import BaseModel, ValidationError
from torch import nn

from astrofm import plugins
from astrofm.encoders.base import EncoderPart
from astrofm.encoders.build import EncoderConfig, build_encoder, check_architecture, initialised
from astrofm.errors import PluginError, RecipeError, in_one_line
from astrofm.heads.build import HEADS_KEY
from astrofm.recipe import NamedPart, Recipe
from astrofm.views.base import View

NEEDS: dict[str, frozenset[str]] = {"redshift": frozenset({"colour"})}
"""What labels cannot be learned without, by their kind; see ``View.destroys``."""


def checked_settings(config: type[BaseModel], part: NamedPart, section: str, **fixed: Any) -> Any:
    """Return the settings of a part as its configuration class.

    Args:
        config: The class, as the registry gives it.
        part: Name and settings, as the recipe has them.
        section: Where it stands, for the message: ``view``, ``encoder``, ``objective``.
        **fixed: Settings that follow from elsewhere.

    Raises:
        RecipeError: If a setting is misspelt, missing or out of range.
    """
    try:
        return config.model_validate({**part.settings, **fixed}, context={HEADS_KEY: plugins.head_configs()})
    except ValidationError as error:
        raise RecipeError(f"{section} {part.name!r} of the recipe: {in_one_line(error)}") from error


@dataclass(frozen=True)
class NamedEncoder:
    """An encoder that a recipe or a model's card names, with checked settings.

    Attributes:
        name: That of a plugin's encoder, or else an architecture of timm.
        settings: An :class:`EncoderConfig` where it is timm's.
        part: What the plugin registered; None for timm's.
    """

    name: str
    settings: BaseModel
    part: EncoderPart | None

    def build(self, num_channels: int, seed: int = 0) -> nn.Module:
        """Return the encoder, untrained.

        Args:
            num_channels: Channels of its input.
            seed: Of the initial weights; the global random state is left as it was.

        Raises:
            UnknownNameError: If neither a plugin nor timm has it.
            RecipeError: If the settings do not go with the architecture.
            PluginError: If a plugin gives a network that does not tell its width.
        """
        if self.part is None:
            assert isinstance(self.settings, EncoderConfig)
            return build_encoder(self.settings, num_channels, seed)
        build = self.part.build
        encoder = initialised(lambda: build(self.settings, num_channels), seed)
        if not isinstance(getattr(encoder, "embed_dim", None), int):
            raise PluginError(
                f"the encoder {self.name!r} of a plugin gave a {type(encoder).__name__} without the attribute "
                "embed_dim, the width of its embedding"
            )
        return encoder

    def facts(self) -> dict[str, Any]:
        """Return name and settings as one mapping, from which :meth:`from_facts` makes the same."""
        return {"name": self.name, **self.settings.model_dump(mode="json")}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> NamedEncoder:
        """Return the encoder of a model's card.

        Raises:
            RecipeError: If a setting is misspelt, missing or out of range.
            PluginError: If two plugins have an encoder of that name, or one takes a name of timm's.
        """
        settings = dict(facts)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise RecipeError(f"an encoder has a name, and this one has {', '.join(facts) or 'nothing'}")
        return named_encoder(NamedPart(name=name, settings=settings))


def named_encoder(part: NamedPart) -> NamedEncoder:
    """Return the encoder a recipe names.

    Raises:
        UnknownNameError: If neither a plugin nor timm has it.
        RecipeError: If a setting is misspelt, missing or out of range.
        PluginError: If two plugins have an encoder of that name, or one takes a name of timm's.
    """
    registered = plugins.encoder_part(part.name)
    if registered is None:
        check_architecture(part.name, plugins.encoder_names())
        return NamedEncoder(part.name, checked_settings(EncoderConfig, part, "encoder", name=part.name), None)
    if timm.is_model(part.name):
        raise PluginError(f"a plugin names its encoder {part.name!r}, as timm does one: uninstall or rename it")
    return NamedEncoder(part.name, checked_settings(registered.config, part, "encoder"), registered)


def build_view(part: NamedPart) -> View:
    """Return the view a recipe names.

    Raises:
        UnknownNameError: If no plugin registers it.
        RecipeError: If a setting is misspelt, missing or out of range.
    """
    registered = plugins.view_part(part.name)
    return registered.build(checked_settings(registered.config, part, "view"))


def resolved(recipe: Recipe) -> Recipe:
    """Return a recipe in which all settings of views, encoder and objective are spelt out.

    Raises:
        UnknownNameError: If a part does not exist.
        RecipeError: If a setting is misspelt, missing or out of range.
    """
    encoder = named_encoder(recipe.encoder).facts()
    name = encoder.pop("name")
    return recipe.model_copy(
        update={
            "views": tuple(_spelt_out(plugins.view_part(part.name).config, part, "view") for part in recipe.views),
            "encoder": NamedPart(name=name, settings=encoder),
            "objective": _spelt_out(
                plugins.objective_part(recipe.objective.name).config, recipe.objective, "objective"
            ),
        }
    )


def _spelt_out(config: type[BaseModel], part: NamedPart, section: str) -> NamedPart:
    settings = checked_settings(config, part, section)
    return NamedPart(name=part.name, settings=settings.model_dump(mode="json", serialize_as_any=True))


def check_invariances(recipe: Recipe) -> None:
    """Refuse a recipe with a view that destroys what its objective measures, unless it says ``force: true``.

    Raises:
        UnknownNameError: If a part does not exist.
        RecipeError: If a view destroys what is measured, or a setting is misspelt, missing or out of range.
    """
    part = plugins.objective_part(recipe.objective.name)
    if part.labels is None or recipe.force:
        return
    kind = part.labels(checked_settings(part.config, recipe.objective, "objective")).kind
    for named in recipe.views:
        lost = build_view(named).destroys & NEEDS.get(kind, frozenset())
        if lost:
            raise RecipeError(
                f"the objective {recipe.objective.name!r} learns {kind} from {', '.join(sorted(lost))}, which the view "
                f"{named.name!r} teaches it to ignore: leave the view out, or say 'force: true' in the recipe"
            )
