"""A run: the folder in which one pretraining leaves all that is needed to continue, serve and repeat it.

``recipe.yaml`` (every default spelt out), ``versions.json``, ``metrics.jsonl``, ``checkpoints/last.ckpt``, ``model/``
and, once finished, ``report.json``.
"""

from __future__ import annotations

__all__ = ["VERSIONS_FILE", "Run", "find_model", "newest_finished_run", "versions"]

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml

from astrofm.errors import RunError
from astrofm.home import home
from astrofm.model import CARD, Model, ModelCard, read_card, rebuild_encoder
from astrofm.parts import resolved
from astrofm.recipe import Recipe, changed_keys

RECORDED_PACKAGES = ("astrofm", "torch", "lightning", "timm", "numpy", "zarr", "astropy")
CARD_KEY, OBJECTIVE_KEY = "astrofm_card", "objective."
VERSIONS_FILE = "versions.json"


@dataclass(frozen=True)
class Run:
    """The folder of a run."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def metrics_file(self) -> Path:
        """One JSON object for each logged step."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The newest state to continue from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def model_folder(self) -> Path:
        """The model, written when the run ends."""
        return self.path / "model"

    @property
    def report_file(self) -> Path:
        """The outcome, written last: a run that has it is finished."""
        return self.path / "report.json"

    @property
    def failure_folder(self) -> Path:
        """A step whose loss or gradient was not finite, if there was one."""
        return self.path / "failure"

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return self.report_file.exists()

    def start(self, recipe: Recipe, stores: Mapping[str, str], *, resume: bool) -> None:
        """Make the folder, or check that it is one that this recipe may continue.

        Args:
            recipe: Written with all settings of its parts spelt out.
            stores: Hash of the manifest of each store, by survey.
            resume: Continue what is there; where nothing is, start.

        Raises:
            RunError: If the folder exists and ``resume`` is not asked for, holds no run, or holds one of another recipe
                or of other stores.
        """
        recipe = resolved(recipe)
        if self.recipe_file.exists():
            self._check_same(recipe, stores, resume=resume)
            return
        if self.path.exists() and self._foreign_files():
            raise RunError(f"{self.path} exists and holds no run: choose another --out")
        (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        _write_whole(self.path / VERSIONS_FILE, json.dumps({**versions(), "stores": dict(stores)}, indent=2) + "\n")
        _write_whole(self.recipe_file, recipe.to_yaml())

    def _foreign_files(self) -> bool:
        """Whether there is anything that the start of a run, which may have been cut short, did not leave there."""
        own = {"checkpoints", VERSIONS_FILE, f"{VERSIONS_FILE}.partial", "recipe.yaml.partial"}
        if not self.path.is_dir() or any(entry.name not in own for entry in self.path.iterdir()):
            return True
        return any(self.checkpoint.parent.glob("*"))  # of a run that lost its recipe

    def _check_same(self, recipe: Recipe, stores: Mapping[str, str], *, resume: bool) -> None:
        if not resume:
            state = "a finished run" if self.is_finished else "a run that can be continued with --resume"
            raise RunError(f"{self.path} already holds {state}: choose another --out")
        old = yaml.safe_load(self.recipe_file.read_text())
        # What is new since the run was started has its default there.
        whole = yaml.safe_load(resolved(Recipe.parse(old, str(self.recipe_file))).to_yaml())
        changed = changed_keys(whole, yaml.safe_load(recipe.to_yaml()))
        if changed:
            raise RunError(
                f"the run in {self.path} was started with another recipe (changed: {', '.join(changed)}): "
                "resume it with the recipe it has, or choose another --out"
            )
        old_stores = json.loads((self.path / VERSIONS_FILE).read_text())["stores"]
        if old_stores != dict(stores):
            differing = sorted(
                name for name in old_stores.keys() | stores.keys() if old_stores.get(name) != stores.get(name)
            )
            raise RunError(f"the run in {self.path} was started on another store of {', '.join(differing)}")

    def step(self) -> int:
        """Return the optimiser steps of the last checkpoint; 0 where there is none."""
        return ModelCard.model_validate_json(self._state()[CARD_KEY]).step if self.checkpoint.exists() else 0

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except (EOFError, OSError, RuntimeError, UnpicklingError) as error:
            raise RunError(f"{self.checkpoint} is damaged: delete it and start the run again") from error
        return state

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Yield the logged steps, in order."""
        if self.metrics_file.exists():
            with self.metrics_file.open() as lines:
                yield from (json.loads(line) for line in lines if line.endswith("\n"))

    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after a step, which a resumed run logs again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        _write_whole(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Write the outcome; the run counts as finished from here on."""
        _write_whole(self.report_file, json.dumps(report, indent=2) + "\n")

    def model(self) -> Model:
        """Return the model of a finished run, or that of the last checkpoint of a stopped one.

        Raises:
            RunError: If the run has neither.
        """
        if self.is_finished:
            return Model.load(self.model_folder)
        if not self.checkpoint.exists():
            raise RunError(f"the run in {self.path} has no checkpoint yet: continue it with --resume")
        state = self._state()
        card = ModelCard.model_validate_json(state[CARD_KEY])
        prefix = OBJECTIVE_KEY + "encoder."
        weights = {
            key.removeprefix(prefix): value for key, value in state["state_dict"].items() if key.startswith(prefix)
        }
        return Model(rebuild_encoder(card, weights, str(self.checkpoint)), card)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in RECORDED_PACKAGES}}


def _write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is never seen half-written."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)  # noqa: PTH105 - the atomic replacement is the point


def find_model(path: Path) -> Model:
    """Load the model of a model folder or of a run.

    Raises:
        RunError: If nothing is there, or neither of the two.
    """
    if (path / CARD).exists():
        return Model.load(path)
    if Run(path).recipe_file.exists():
        return Run(path).model()
    raise RunError(
        f"no model or run at {path}" if path.exists() else f"no folder at {path}, where a model was looked for"
    )


def newest_finished_run(accepts: Callable[[ModelCard], bool], folder: Path | None = None) -> Path | None:
    """Return the newest finished run whose model is accepted.

    Args:
        accepts: Whether a model fits the data at hand.
        folder: Where runs are kept; None: ``$ASTROFM_HOME/runs``.

    Raises:
        RunError: If the model of a newer run is damaged.
    """
    reports = sorted(
        (folder or home() / "runs").glob("*/report.json"), key=lambda report: report.stat().st_mtime, reverse=True
    )
    for report in reports:
        if accepts(read_card(Run(report.parent).model_folder)):
            return report.parent
    return None
