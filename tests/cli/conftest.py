"""The command, called as the shell calls it but in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from astrofm.cli.main import run


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The one line on stderr, without the command's name."""
        (line,) = self.stderr.splitlines()
        assert line.startswith("astrofm: ")
        assert "Traceback" not in line
        return line.removeprefix("astrofm: ")


@pytest.fixture
def astrofm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fresh_plugins: None
) -> Callable[..., Ended]:
    """Return ``astrofm(*words)``, which runs the command and returns how it ended."""
    monkeypatch.setenv("COLUMNS", "160")

    def call(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["astrofm", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        return Ended(ended.value.code or 0, said.out, said.err)

    return call
