"""docs/recipes.md: its tables are those of the code, its recipe and its commands work."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from astrofm import plugins
from astrofm.cli.main import run
from astrofm.home import shipped
from astrofm.optimizer import OptimizerConfig
from astrofm.recipe import DataSection, Recipe, TrainingSection

TEXT = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.S | re.M)
RECIPE = next(code for code in CODE if code.startswith("# two-surveys.yaml"))
COMMANDS = [line for code in CODE for line in code.splitlines() if line.startswith("astrofm ")]


def table(heading):
    """Return the rows of the first table below a heading, a list of cells each."""
    lines = TEXT.partition(f"\n{heading}\n")[2].splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def in_words(default):
    """Return a default as the tables give it."""
    if isinstance(default, bool):
        return str(default).lower()
    return default if isinstance(default, str) else f"{default:g}"


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## The keys", Recipe),
        ("### `data`", DataSection),
        ("### `training`", TrainingSection),
        ("### `training.optimizer`", OptimizerConfig),
    ],
)
def test_every_key_is_explained_with_its_default(heading, model):
    told = {key: row[1] for row in table(heading) for key in names(row[0])}
    assert told.keys() == model.model_fields.keys()
    for key, cell in told.items():
        default = model.model_fields[key].default
        assert (cell == "required") == (default is PydanticUndefined), key
        if isinstance(default, (str, int, float)):
            assert in_words(default) in [word.strip("`") for word in cell.split(", ")], key


def test_every_objective_is_there_with_its_settings():
    told = {names(row[0])[0]: row[2] for row in table("### Objectives")}
    for name, cell in told.items():
        fields = plugins.objective_part(name).config.model_fields
        inherited = plugins.objective_part("byol").config.model_fields if "those of `byol`" in cell else {}
        for key, field in fields.items():
            assert key in inherited or f"`{key}`" in cell, (name, key)
            if isinstance(field.default, (int, float)) and key not in inherited:
                assert re.search(rf"`{key}` {re.escape(str(field.default))}(,|$)", cell), (name, key)
    assert set(told) == {"byol", "simclr", "spectral", "moco", "supervised", "hybrid"}


def test_every_shipped_recipe_is_there():
    told = {names(row[0])[0]: row for row in table("## The shipped ones")}
    assert told.keys() == {file.stem for file in shipped("configs").glob("*.yaml")}
    for name, row in told.items():
        recipe = Recipe.load(name)
        assert names(row[1]) == [recipe.objective.name]
        assert int(row[2]) == len(recipe.data.channels)


@pytest.mark.parametrize("command", [line for line in COMMANDS if "my-field" not in line])
def test_its_commands_work(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("two-surveys.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code in (0, None)
