"""The contract of a survey from the command line: the tests of :class:`SurveyTests`, and what they say."""

from __future__ import annotations

__all__ = ["Check", "check_survey"]

import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pytest

from astrofm.errors import UsageError

Outcome = Literal["passed", "failed", "skipped"]

_TEST_FILE = """
from pathlib import Path
from astrofm.testing import SurveyTests


class TestSurvey(SurveyTests):
    survey = {survey!r}
    example = {example}
"""


@dataclass(frozen=True)
class Check:
    """One sentence of the contract.

    Attributes:
        sentence: What must be true.
        outcome: ``skipped``: there was nothing to look at.
        reason: What was found instead, or why there was nothing; empty where it is true.
    """

    sentence: str
    outcome: Outcome
    reason: str = ""


def check_survey(survey: str, example: Path | None = None) -> list[Check]:
    """Look whether a survey keeps the contract, on its mock archive and on a real one.

    Args:
        survey: Name of an installed survey, or the path of a card.
        example: The real archive or a part of it.

    Returns:
        The sentences of the contract, in its order.

    Raises:
        UsageError: If the tests cannot be run at all.
    """
    listener = _Listener()
    with tempfile.TemporaryDirectory(prefix="astrofm-check-") as folder:
        # A name of its own: Python would take the module of an earlier check for it.
        file = Path(folder) / f"test_{Path(folder).name.replace('-', '_')}.py"
        place = None if example is None else f"Path({str(example.resolve())!r})"
        name = str(Path(survey).resolve()) if survey.endswith((".yaml", ".yml")) else survey
        file.write_text(_TEST_FILE.format(survey=name, example=place), encoding="utf-8")
        # Nothing of the user's own settings for pytest, wherever the command is given.
        settings = Path(folder) / "pytest.ini"
        settings.write_text("[pytest]\n", encoding="utf-8")
        options = [
            "--rootdir",
            folder,
            "-c",
            str(settings),
            "--import-mode=importlib",
            "-p",
            "no:cacheprovider",
            "--basetemp",
            f"{folder}/made",
        ]
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = pytest.main([str(file), *options], plugins=[listener])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not listener.checks:
        raise UsageError(f"the checks of {survey!r} could not be run: {said.getvalue().strip()}")
    return listener.checks


class _Listener:
    """Hears from pytest how each test ended."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take down a test that ended; one whose preparation failed has no other report."""
        if report.when != "call" and report.outcome == "passed":
            return
        sentence = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        self.checks.append(Check(sentence, report.outcome, _reason(report)))


def _reason(report: Any) -> str:
    """Return in one line why a test failed or was skipped."""
    if report.outcome == "passed":
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(report.longrepr) if crash is None else crash.message
    first = text.strip().partition("\n")[0]
    return first.removeprefix("AssertionError: ").removeprefix("astrofm.errors.")
