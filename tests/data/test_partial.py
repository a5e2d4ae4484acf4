"""A file is there whole or not at all, whoever else writes it."""

from __future__ import annotations

import os
import threading

import pytest

from astrofm.data.making.partial import exclusive, partial_of, sweep, write_atomically


def test_writers_of_two_machines_with_one_process_number_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(threading, "get_ident", lambda: 1)

    def writes_while_another_does(file):
        file.write(b"first ")
        write_atomically(tmp_path / "shard", lambda other: other.write(b"of the other"))
        file.write(b"then")

    write_atomically(tmp_path / "shard", writes_while_another_does)
    assert (tmp_path / "shard").read_bytes() == b"first then"
    assert [file.name for file in tmp_path.iterdir()] == ["shard"]


def test_what_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path):
    write_atomically(tmp_path / "shard", lambda file: file.write(b"old"))

    def fails(file):
        file.write(b"ne")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_atomically(tmp_path / "shard", fails)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("shard", b"old")]


def test_a_store_that_a_kill_left_aside_is_put_back(tmp_path):
    """Killed between the two renames: the old store waits in the folder, and its place is empty."""
    out = tmp_path / "a.zarr"
    out.mkdir()
    (out / "manifest.json").write_text("old")
    partial_of(out).mkdir()
    out.rename(partial_of(out) / "old")
    with exclusive(out) as partial:
        assert (out / "manifest.json").read_text() == "old"
        assert not (partial / "old").exists()


def test_leftovers_of_a_kill_are_swept_and_nothing_else(tmp_path):
    def is_killed(file):
        file.write(b"half")
        leftover = next(tmp_path.rglob("*.tmp"))
        os.link(leftover, leftover.with_name("kept" + leftover.name))  # as if nothing removed it

    write_atomically(tmp_path / "image" / "c" / "0", is_killed)
    assert len(list((tmp_path / "image" / "c").iterdir())) == 2
    sweep(tmp_path, {"image/c/0"})
    assert [file.name for file in (tmp_path / "image" / "c").iterdir()] == ["0"]
