"""The wheels hold all that a checkout has: surveys, cards, recipes."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT, *sorted((ROOT / "plugins").iterdir()))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the unpacked wheels of the core and of every plugin, as an installer leaves them."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    for package in PACKAGES:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(package)]
        subprocess.run(command, check=True, capture_output=True)
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    return site


def ask(site, code, cwd):
    """Run code on the unpacked wheels, away from the checkout, and return what it prints as JSON."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(ended.stdout)


def test_the_installed_wheels_have_every_survey_and_recipe_of_the_checkout(site, tmp_path):
    code = """
import json
from pathlib import Path
import astrofm
from astrofm import plugins
from astrofm.home import shipped
from astrofm.recipe import Recipe

names = sorted(path.stem for path in shipped("configs").glob("*.yaml"))
print(json.dumps({
    "home": str(Path(astrofm.__file__).parent),
    "surveys": {name: [survey.card.recipe, survey.card.quick_recipe] for name, survey in plugins.surveys().items()},
    "recipes": [Recipe.load(name).name for name in names],
    "demo": (shipped("configs") / "demo" / "demo.yaml").is_file(),
    "problems": [problem.sentence for problem in plugins.problems()],
}))
"""
    found = ask(site, code, tmp_path)
    assert found["home"] == str(site / "astrofm")
    assert found["recipes"] == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    assert {"mirabest", "first-rgd", "mgcls", "mightee", "gz-evo", "sdss-mgs", "nvss"} <= found["surveys"].keys()
    assert {recipe for recipes in found["surveys"].values() for recipe in recipes} <= set(found["recipes"])
    assert found["demo"]
    assert found["problems"] == []


def test_a_mock_survey_is_ingested_from_the_installed_wheels(site, tmp_path):
    code = """
import json
from pathlib import Path
from astrofm import plugins
from astrofm.data.ingest import ingest

print(json.dumps([
    ingest(survey, survey.mock(3, 0, Path(name)), Path(f"{name}.zarr"))["num_cutouts"] + sum(
        json.loads((Path(f"{name}.zarr") / "manifest.json").read_text())["rejected"].values())
    for name, survey in plugins.surveys().items()
]))
"""
    assert set(ask(site, code, tmp_path)) == {3}
