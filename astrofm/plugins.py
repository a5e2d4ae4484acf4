"""Discovery of plugins and survey cards, and the registries they fill.

Plugins are found through the entry-point group ``astrofm``. One that cannot be loaded is a :class:`Problem` with a
sentence; everything else goes on working. pluggy calls the last registered plugin first, so nothing here depends on
order.
"""

from __future__ import annotations

__all__ = [
    "Problem",
    "encoder_names",
    "encoder_part",
    "forget",
    "head_configs",
    "load",
    "objective_part",
    "part_problems",
    "problems",
    "survey",
    "survey_owners",
    "surveys",
    "view_part",
]

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from astrofm import builtins as builtin_parts
from astrofm import hookspecs
from astrofm.commands import command_points, load_command
from astrofm.errors import AstrofmError, PluginError, UnknownNameError, brief, one_of
from astrofm.home import shipped
from astrofm.survey import Survey

if TYPE_CHECKING:
    from astrofm.encoders.base import EncoderPart
    from astrofm.heads.base import HeadConfig, HeadPart
    from astrofm.objectives.base import ObjectivePart
    from astrofm.views.base import ViewPart

ENTRY_POINT_GROUP = "astrofm"
CARD_FOLDERS_VARIABLE = "ASTROFM_SURVEYS"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


@dataclass(frozen=True)
class Problem:
    """A plugin or card that could not be used, and why."""

    owner: str
    sentence: str


@dataclass
class Loaded:
    """The plugin manager and what went wrong while it was filled."""

    manager: pluggy.PluginManager
    problems: list[Problem] = field(default_factory=list)


@cache
def load() -> Loaded:
    """Load every installed plugin once; the broken ones become problems."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    manager = pluggy.PluginManager("astrofm")
    manager.add_hookspecs(hookspecs)
    manager.register(builtin_parts, name="astrofm")
    loaded = Loaded(manager)
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        _load_one(loaded, point)
    return loaded


def _load_one(loaded: Loaded, point: EntryPoint) -> None:
    owner = f"{point.name} ({point.dist.name if point.dist else point.value})"
    if loaded.manager.has_plugin(point.name):
        other = loaded.manager.get_plugin(point.name)
        used = getattr(other, "__name__", other)
        sentence = f"two plugins are named {point.name!r}: {used}, which is used, and {point.value}, which is not"
        loaded.problems.append(Problem(owner, f"{sentence}; uninstall one of them"))
        return
    wanted = _wanted_version(point)
    if wanted:
        sentence = f"plugin {owner} is made for astrofm {wanted}, and this is {version('astrofm')}"
        loaded.problems.append(
            Problem(owner, f"{sentence}: install the one that it is made for, or another {point.name}")
        )
        return
    try:
        plugin = point.load()
    except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
        loaded.problems.append(Problem(owner, f"plugin {owner} cannot be imported: {brief(error)}"))
        return
    try:
        loaded.manager.register(plugin, name=point.name)
        loaded.manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        sentence = f"plugin {owner} cannot be used: {_unknown_hooks(loaded.manager, plugin) or brief(error)}"
        if loaded.manager.has_plugin(point.name):
            loaded.manager.unregister(name=point.name)
        loaded.problems.append(Problem(owner, sentence))


def _wanted_version(point: EntryPoint) -> str:
    """Return the versions of astrofm that a package asks for, where this is none of them; else an empty text."""
    for text in (point.dist.requires if point.dist is not None else None) or ():
        try:
            needed = Requirement(text)
        except InvalidRequirement:  # of an old package, and of another than this one as far as can be read
            continue
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        is_core = canonicalize_name(needed.name) == "astrofm" and applies
        if is_core and not needed.specifier.contains(version("astrofm"), prereleases=True):
            return str(needed.specifier)
    return ""


def _unknown_hooks(manager: pluggy.PluginManager, plugin: object) -> str:
    """Say which hooks of a plugin astrofm does not have; empty where it has them all."""
    unknown = [caller.name for caller in manager.get_hookcallers(plugin) or () if not caller.has_spec()]
    known = [name for name in hookspecs.__all__ if name.startswith("register_")]
    return "; ".join(str(one_of("hook", name, known)) for name in unknown)


def problems() -> tuple[Problem, ...]:
    """Return what is wrong with the installed plugins and the cards in reach, as far as it touches surveys."""
    return (*load().problems, *_surveys().problems)


def part_problems(taken_commands: Collection[str] = ()) -> tuple[Problem, ...]:
    """Return what is wrong with the views, objectives, encoders, heads and commands that plugins add.

    All of them are loaded, and with them torch.

    Args:
        taken_commands: Names of astrofm's own commands, which no plugin can have.
    """
    found = [problem for kind in ("objective", "view", "encoder", "head") for problem in _parts(kind).problems]
    for name, points in command_points().items():
        if name in taken_commands:
            sentence = f"the command {name!r} of {points[0].value} is never called, for astrofm has one of that name"
            found.append(Problem(f"command {name}", f"{sentence}: rename it"))
            continue
        try:
            load_command(name)
        except PluginError as error:
            found.append(Problem(f"command {name}", str(error)))
    return tuple(found)


@dataclass
class _Registry:
    """Parts of one kind, who brought each, and what could not be registered."""

    parts: dict[str, Any] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    clashes: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: str, part: _Named, owner: str) -> None:
        """Register a part; a name that is taken makes both unusable until one is gone.

        Raises:
            TypeError: If it is no part: a class in the place of an instance, for example.
        """
        if not isinstance(getattr(part, "name", None), str):
            raise TypeError(f"it registered {part!r}, which is no {kind} with a name")
        if part.name in self.parts:
            sentence = f"two {kind}s are named {part.name!r}: one from {self.owners[part.name]}, one from {owner}"
            self.clashes[part.name] = f"{sentence}; uninstall or rename one of them"
            self.problems.append(Problem(owner, self.clashes[part.name]))
            return
        self.parts[part.name] = part
        self.owners[part.name] = owner

    def get(self, kind: str, name: str) -> Any:
        """Return a part by name."""
        if name in self.clashes:
            raise PluginError(self.clashes[name])
        if name not in self.parts:
            raise one_of(kind, name, self.parts)
        return self.parts[name]


def _fill(kind: str, hook_name: str) -> _Registry:
    registry = _Registry()
    hook = getattr(load().manager.hook, hook_name)
    for implementation in hook.get_hookimpls():
        owner = implementation.plugin_name

        def register(part: _Named, owner: str = owner) -> None:
            registry.add(kind, part, owner)

        try:
            implementation.function(register)
        except Exception as error:
            sentence = f"plugin {owner!r} failed in {hook_name}: {brief(error)}"
            registry.problems.append(Problem(owner, sentence))
    return registry


@cache
def _surveys() -> _Registry:
    registry = _fill("survey", "register_surveys")
    for card in _cards_in_reach():
        owner = _owner_of_card(card)
        try:
            found = Survey.from_yaml(card)
        except AstrofmError as error:
            registry.problems.append(Problem(owner, str(error)))
            continue
        if found.name not in registry.parts or registry.parts[found.name].card != found.card:  # a copy adds nothing
            registry.add("survey", found, owner)
    for folder in _named_card_folders():
        if not folder.is_dir():
            sentence = f"{CARD_FOLDERS_VARIABLE} names {folder}, which is no folder"
            registry.problems.append(Problem(CARD_FOLDERS_VARIABLE, sentence))
    return registry


def _cards_in_reach() -> Iterator[Path]:
    """Yield the cards shipped, in ``./surveys``, and in the folders of ``$ASTROFM_SURVEYS``, each file once."""
    seen: set[Path] = set()
    for folder in (shipped("surveys"), Path("surveys"), *_named_card_folders()):
        for card in sorted(folder.glob("*.yaml")):
            if card.resolve() not in seen:
                seen.add(card.resolve())
                yield card


def _named_card_folders() -> list[Path]:
    given = os.environ.get(CARD_FOLDERS_VARIABLE, "")
    return [Path(part) for part in given.split(os.pathsep) if part]


def _owner_of_card(card: Path) -> str:
    """Return how a card is spoken of: by its file name where it is shipped, else by its path as it was reached."""
    return f"card {card.name if card.parent == shipped('surveys') else card}"


@cache
def _parts(kind: str) -> _Registry:
    """Return the parts of a kind that is not surveys: ``objective``, ``view``, ``encoder``, ``head``."""
    return _fill(kind, f"register_{kind}s")


def surveys() -> dict[str, Survey]:
    """Return the surveys in reach, by name."""
    registry = _surveys()
    return {name: registry.parts[name] for name in sorted(registry.parts) if name not in registry.clashes}


def survey_owners() -> dict[str, str]:
    """Return which plugin or card file brought each survey."""
    return dict(_surveys().owners)


def survey(name: str) -> Survey:
    """Return a survey by name, or from the card at a path that ends in ``.yaml``.

    Raises:
        UnknownNameError: If no plugin or card has that name; the message says which do, and what failed to load.
        PluginError: If two have it.
        RecipeError: If the card at the path cannot be read.
    """
    if name.endswith((".yaml", ".yml")):
        return Survey.from_yaml(Path(name))
    try:
        found: Survey = _surveys().get("survey", name)
    except UnknownNameError as error:
        failed = "; ".join(problem.sentence for problem in problems())
        if not failed:
            raise
        raise UnknownNameError(f"{error} (not loaded: {failed})") from error
    return found


def objective_part(name: str) -> ObjectivePart:
    """Return an objective by name.

    Raises:
        UnknownNameError: If no plugin registers it.
    """
    found: ObjectivePart = _parts("objective").get("objective", name)
    return found


def view_part(name: str) -> ViewPart:
    """Return a view by name.

    Raises:
        UnknownNameError: If no plugin registers it.
    """
    found: ViewPart = _parts("view").get("view", name)
    return found


def encoder_part(name: str) -> EncoderPart | None:
    """Return an encoder by name; None where no plugin registers it, so that timm may have it.

    Raises:
        PluginError: If two have it.
    """
    registry = _parts("encoder")
    if name not in registry.parts:
        return None
    found: EncoderPart = registry.get("encoder", name)
    return found


def encoder_names() -> tuple[str, ...]:
    """Return the names of the encoders that plugins add to those of timm."""
    return tuple(sorted(_parts("encoder").parts))


def head_configs() -> dict[str, type[HeadConfig]]:
    """Return the settings class of each head, by its ``kind``; one whose name two plugins claim is left out."""
    registry = _parts("head")
    parts: dict[str, HeadPart] = registry.parts
    return {name: part.config for name, part in parts.items() if name not in registry.clashes}


def forget() -> None:
    """Forget all that was loaded, so that the next call looks again."""
    for remembered in (load, _surveys, _parts):
        remembered.cache_clear()
