"""From the named parts of a recipe to the things they name, with checked settings."""

from __future__ import annotations

__all__ = ["build_view", "check_invariances", "checked_settings"]

from typing import Any

from pydantic import BaseModel, ValidationError

from astrofm import plugins
from astrofm.errors import RecipeError, in_one_line
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
        return config.model_validate({**part.settings, **fixed})
    except ValidationError as error:
        raise RecipeError(f"{section} {part.name!r} of the recipe: {in_one_line(error)}") from error


def build_view(part: NamedPart) -> View:
    """Return the view a recipe names.

    Raises:
        UnknownNameError: If no plugin registers it.
        RecipeError: If a setting is misspelt, missing or out of range.
    """
    registered = plugins.view_part(part.name)
    return registered.build(checked_settings(registered.config, part, "view"))


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
