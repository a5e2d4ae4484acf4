"""However often an ingest is killed, the same command ends with the bytes of one that was left alone."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from astrofm.data import layout
from astrofm.data.ingest import ingest
from astrofm.data.store import verify
from astrofm.survey import Survey

NUM_SOURCES = 340
SMALL_PIECES = """
import sys
from astrofm.data import layout
layout.CHUNK_ROWS, layout.SHARD_BYTES, layout.RANGE_BYTES = 8, 32 * 2304, 20 * 2304
from astrofm.cli.main import run
sys.argv[0] = "astrofm"
if __name__ == "__main__":
    run()
"""
"""The command with pieces so small that there are many moments between two of them."""


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture
def command(tmp_path: Path, make_archive: Callable[..., Path], survey) -> Callable[[str], list[str]]:
    """Return ``command(out)``: the words that ingest an archive with two workers."""
    import yaml

    archive = make_archive(tmp_path / "archive", num=NUM_SOURCES)
    content = survey.card.model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(content))
    table = Table.read(archive / "table.csv")
    table["split"] = np.where(np.arange(NUM_SOURCES) % 3 == 0, "test", "train")
    table.write(archive / "table.csv", overwrite=True)
    (tmp_path / "small.py").write_text(SMALL_PIECES)

    def words(out: str) -> list[str]:
        given = {"--survey": tmp_path / "card.yaml", "--source": archive, "--out": tmp_path / out, "--workers": 2}
        return [
            sys.executable,
            str(tmp_path / "small.py"),
            "ingest",
            *(str(word) for pair in given.items() for word in pair),
        ]

    return words


def run(words: list[str]) -> None:
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def kill_after(words: list[str], seconds: float, begins_with: Path) -> bool:
    """Start the command, kill it and all its processes that long after it began to write; whether that hit it alive."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not begins_with.exists():
        time.sleep(0.002)
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    was_alive = process.poll() is None
    if was_alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return was_alive


def lifetime(words: list[str], begins_with: Path) -> float:
    """Return how long an ingest writes, from the first file to its end."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not begins_with.exists():
        time.sleep(0.002)
    begun = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - begun


def test_killed_at_random_moments_it_ends_with_the_same_bytes(command, tmp_path, monkeypatch):
    for name, value in (("CHUNK_ROWS", 8), ("SHARD_BYTES", 32 * 2304), ("RANGE_BYTES", 20 * 2304)):
        monkeypatch.setattr(layout, name, value)
    survey = Survey.from_yaml(tmp_path / "card.yaml")
    # The same ingest without the seconds that a process takes to start.
    kill_often(6, command, tmp_path, lambda out: ingest(survey, tmp_path / "archive", tmp_path / out, workers=2))


@pytest.mark.slow
def test_killed_fifty_times_the_same_command_ends_with_the_same_bytes(command, tmp_path):
    kill_often(50, command, tmp_path, lambda out: run(command(out)))


def kill_often(
    num_kills: int, command: Callable[[str], list[str]], tmp_path: Path, again: Callable[[str], object]
) -> None:
    seconds = lifetime(command("whole"), tmp_path / "whole.partial" / "plan.json")
    expected = hashes(tmp_path / "whole")
    draw = random.Random(num_kills)
    hits = 0
    for turn in range(4 * num_kills):
        out = tmp_path / f"store{turn}"
        begins_with = out.with_name(f"{out.name}.partial") / "plan.json"
        hits += kill_after(command(out.name), draw.uniform(0, seconds), begins_with)
        if out.exists():
            assert verify(out) == []  # a path holds a whole store or none
        again(out.name)
        assert hashes(out) == expected
        assert not begins_with.parent.exists()
        if hits == num_kills:
            break
    assert hits == num_kills


@pytest.mark.slow
def test_an_ingest_that_is_killed_again_and_again_gets_to_its_end(command, tmp_path):
    seconds = lifetime(command("whole"), tmp_path / "whole.partial" / "plan.json")
    hits = 0
    for _ in range(4):
        hits += kill_after(command("store"), seconds / 4, tmp_path / "store.partial" / "plan.json")
    run(command("store"))
    assert hits >= 2
    assert hashes(tmp_path / "store") == hashes(tmp_path / "whole")
