"""A new survey is a package that works at once, where Python sees it as installed."""

import json
import subprocess
import sys

import pytest

from astrofm import plugins


@pytest.mark.parametrize("domain", ["radio", "optical"])
def test_package_passes_its_own_tests_and_trains(astrofm, as_installed, tmp_path, domain):
    ended = astrofm("survey", "new", "my-field", "--domain", domain, "--out", tmp_path / "package", "--json")
    assert ended.code == 0
    document = json.loads(ended.stdout)
    assert [path.rpartition("package/")[2] for path in document["files"]] == [
        "astrofm_my_field/card.yaml",
        "astrofm_my_field/__init__.py",
        "tests/test_astrofm_my_field.py",
        "pyproject.toml",
        "README.md",
    ]
    environment = as_installed(tmp_path / "package")
    python = [sys.executable, "-m"]
    own = subprocess.run(
        [*python, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tmp_path / "package" / "tests"],
        cwd=tmp_path / "package",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert own.returncode == 0, own.stdout
    assert "passed" in own.stdout
    words = ["pretrain", "--survey", "my-field", "--mock", "80", "--set", "training.max_steps=2", "--json"]
    trained = subprocess.run(
        [*python, "astrofm", *words, "--out", tmp_path / "run", "--device", "cpu"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["step"] == 2


@pytest.mark.parametrize("name", ["My-Survey", "my_survey", "-x", "9lives", "my--survey"])
def test_name_that_is_none_is_told(astrofm, tmp_path, name):
    ended = astrofm("survey", "new", "--out", tmp_path / "package", "--", name)
    assert ended.code == 2
    assert ended.sentence.startswith("a survey has a name like 'my-survey'")
    assert not (tmp_path / "package").exists()


def test_name_that_is_taken_and_folder_that_is_there_are_told(astrofm, tmp_path):
    ended = astrofm("survey", "new", "nvss", "--out", tmp_path / "package")
    assert (ended.code, ended.sentence) == (
        2,
        "there is a survey 'nvss' already, of card nvss.yaml: choose another name",
    )
    ended = astrofm("survey", "new", "my-survey", "--out", tmp_path)
    assert (ended.code, ended.sentence) == (2, f"{tmp_path} exists: choose another folder with --out")
    assert "my-survey" not in plugins.surveys()
