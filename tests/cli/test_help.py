"""``--help``, ``--version``, and how errors and interruptions end."""

import os
import subprocess
import sys

import pytest

from astrofm import errors, plugins
from astrofm.cli import main

COMMANDS = ["demo", "ingest", "views", "pretrain", "transfer", "curve", "replay", "cite", "doctor", "survey", "store"]
GROUPS = [
    "survey list",
    "survey info",
    "survey new",
    "survey check",
    "survey page",
    "store info",
    "store verify",
    "store repair",
]


def test_help_names_every_command_with_a_sentence(astrofm):
    ended = astrofm("--help")
    assert (ended.code, ended.stderr) == (0, "")
    for command in COMMANDS:
        (line,) = [line for line in ended.stdout.splitlines() if line.startswith(f"  {command} ")]
        assert len(line.split()) > 3
    assert astrofm("-h").stdout == ended.stdout


@pytest.mark.parametrize("command", COMMANDS + GROUPS)
def test_every_command_has_help_and_json_where_it_prints(astrofm, command):
    ended = astrofm(*command.split(), "--help")
    assert (ended.code, ended.stderr) == (0, "")
    if command not in ("survey", "store"):
        assert "--json" in ended.stdout


def test_the_version_is_that_of_the_package(astrofm):
    from importlib.metadata import version

    assert astrofm("--version").stdout == f"astrofm {version('astrofm')}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["ingets"],
        ["ingest"],
        ["ingest", "--survey"],
        ["ingest", "--survey", "nvss", "--sorce", "x"],
        ["ingest", "--survey", "nvss", "--mock", "many"],
        ["ingest", "--survey", "nvss", "--mock", "0"],
        ["transfer", "--survey", "nvss"],
        ["transfer", "--survey", "nvss", "--labels", "1"],
        ["store", "info"],
    ],
)
def test_a_wrong_call_exits_with_2_and_says_so_on_stderr(astrofm, words):
    ended = astrofm(*words)
    assert ended.code == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("group", [[], ["survey"], ["store"]])
def test_a_group_alone_prints_its_help(astrofm, group):
    ended = astrofm(*group)
    assert ended.code == 2
    assert "Usage: " in ended.stdout + ended.stderr


@pytest.mark.parametrize("kind", [errors.StoreError, errors.RecipeError, errors.PluginError], ids=lambda k: k.__name__)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_error_a_user_can_mend_is_one_line_and_a_code(astrofm, monkeypatch, kind, more):
    def fail():
        raise kind("asked for a, found b: try c")

    monkeypatch.setattr(plugins, "surveys", fail)
    ended = astrofm("survey", "list", *more)
    assert ended.code == kind.exit_code
    assert ended.stdout == ""
    assert ended.stderr == "astrofm: asked for a, found b: try c\n"


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["astrofm", "survey", "list"])
    monkeypatch.setattr(plugins, "surveys", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.run()


def test_ctrl_c_exits_with_130_without_a_traceback(astrofm, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(plugins, "surveys", interrupt)
    ended = astrofm("survey", "list")
    assert ended.code == 130
    assert ended.stdout == ""
    assert ended.sentence == "interrupted"


@pytest.mark.parametrize("words", [["--help"], ["survey", "list", "--json"]])
def test_a_broken_plugin_does_not_break_the_command(tmp_path, words):
    """A plugin as pip would have left it: a module and its metadata on the path."""
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[astrofm]\nbroken = broken_plugin\n")
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no licence')\n")
    (tmp_path / "surveys").mkdir()
    (tmp_path / "surveys" / "torn.yaml").write_text("bands: [\n")
    ran = subprocess.run(
        [sys.executable, "-m", "astrofm", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    if words == ["--help"]:
        assert ran.stderr == ""
        return
    assert '"nvss"' in ran.stdout
    broken, torn = ran.stderr.splitlines()
    assert "plugin broken (broken) cannot be imported: RuntimeError: no licence" in broken
    assert "surveys/torn.yaml is not YAML" in torn
