"""Starting up costs nothing: each import is watched in a process of its own."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import astrofm
from astrofm import plugins

HEAVY = ("torch", "torchvision", "lightning", "timm", "astropy", "zarr", "pyarrow", "pandas", "scipy", "numpy", "rich")
PLUGINS = ("astrofm_radio", "astrofm_galaxyzoo", "astrofm_redshift")


def loaded_after(code, *names):
    """Return which of the modules are loaded after the code ran in a new interpreter."""
    program = f"{code}\nimport sys\nprint(*sorted({set(names)!r} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "100"}
    )
    return ran.stdout.splitlines()[-1].split()


def test_the_package_alone_loads_nothing():
    assert loaded_after("import astrofm", *HEAVY, "pydantic", "pluggy", "yaml", "importlib.metadata") == []


@pytest.mark.parametrize(
    "words", ["--help", "--version", "survey --help", "pretrain --help", "views --help", "transfer -h"]
)
def test_help_loads_no_plugin_and_nothing_heavy(words):
    code = f"""
import sys
sys.argv = ["astrofm", *{words.split()!r}]
from astrofm.cli.main import run
try:
    run()
except SystemExit as ended:
    assert not ended.code
"""
    assert loaded_after(code, *HEAVY, *PLUGINS, "pluggy", "yaml") == []


def test_surveys_are_listed_without_torch_or_astropy():
    code = "from astrofm import plugins\nassert plugins.surveys()"
    assert loaded_after(code, "torch", "lightning", "timm", "astropy", "zarr", "rich", "typer") == []


def test_ingest_and_store_need_no_torch():
    code = "import astrofm.data.ingest, astrofm.data.store, astrofm.stores"
    assert loaded_after(code, "torch", "lightning", "timm", "typer", "rich") == []


def test_only_the_modules_of_training_import_lightning():
    package = Path(astrofm.__file__).parent
    users = [
        file for file in package.rglob("*.py") if re.search(r"^\s*(from|import) lightning", file.read_text(), re.M)
    ]
    assert sorted(file.name for file in users) == ["callbacks.py", "guards.py", "processes.py", "training.py"]


def test_every_public_name_is_there_and_found_by_dir():
    for name in astrofm.__all__:
        assert getattr(astrofm, name) is not None
    assert dir(astrofm) == sorted(astrofm.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Cutuot'"):
        astrofm.Cutuot  # noqa: B018 - the access is the test


def test_every_module_can_be_imported_and_names_what_it_offers():
    for found in pkgutil.walk_packages(astrofm.__path__, "astrofm."):
        if found.name == "astrofm.__main__":
            continue
        module = importlib.import_module(found.name)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{found.name} names {name!r} and has none"


def test_python_m_astrofm_is_the_command():
    ran = subprocess.run([sys.executable, "-m", "astrofm", "--help"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("Usage: ")
    assert ran.stderr == ""


def test_importing_a_plugin_opens_no_file():
    code = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
import astrofm, astrofm_radio, astrofm_galaxyzoo, astrofm_redshift
code = (".py", ".pyc", "entry_points.txt")
root = astrofm.__file__.removesuffix("astrofm/__init__.py")  # its own name may be astrofm, as that of a clone
data = [name for name in opened if "astrofm" in name.removeprefix(root) and not name.endswith(code)]
assert not data, data
"""
    assert loaded_after(code, "torch", "astropy") == []
    assert plugins.problems() == ()
