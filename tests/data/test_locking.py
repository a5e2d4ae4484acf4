import subprocess
import sys
import threading
import time

import pytest

from astrofm.data.fetching import locking
from astrofm.data.fetching.locking import locked

COUNT = """
import sys, time
from pathlib import Path
from astrofm.data.fetching.locking import locked
path = Path(sys.argv[1])
for _ in range(20):
    with locked(path):
        number = int(path.read_text())
        time.sleep(0.002)
        path.write_text(str(number + 1))
"""


def test_processes_take_turns(tmp_path):
    path = tmp_path / "count"
    path.write_text("0")
    words = [sys.executable, "-c", COUNT, str(path)]
    processes = [subprocess.Popen(words) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert path.read_text() == "60"
    assert [entry.name for entry in tmp_path.iterdir()] == ["count"]


def test_threads_take_turns_and_who_waits_is_told_once(tmp_path):
    told, order = [], []
    inside = threading.Event()

    def first():
        with locked(tmp_path / "a"):
            inside.set()
            time.sleep(0.5)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with locked(tmp_path / "a", on_wait=lambda: told.append("waiting")):
        order.append("second")
    thread.join()
    assert (order, told) == (["first", "second"], ["waiting"])


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path):
    hold = "import os, sys\nfrom pathlib import Path\nfrom astrofm.data.fetching.locking import locked\n"
    hold += "with locked(Path(sys.argv[1])):\n    os.kill(os.getpid(), 9)\n"
    subprocess.run([sys.executable, "-c", hold, str(tmp_path / "a")], check=False)
    assert (tmp_path / "a.lock").exists()
    with locked(tmp_path / "a", on_wait=lambda: pytest.fail("nobody holds it")):
        pass
    assert not (tmp_path / "a.lock").exists()


def test_a_lock_on_a_file_that_the_one_before_has_removed_is_no_lock(tmp_path, monkeypatch):
    file, real, handles = tmp_path / "a.lock", locking._lock, []

    def lock(handle):
        if not handles:
            file.unlink()  # between our opening it and our locking it
        handles.append(handle)
        return real(handle)

    monkeypatch.setattr(locking, "_lock", lock)
    with locked(tmp_path / "a"):
        assert file.exists()
    assert len(handles) == 2


def test_a_wait_can_be_ended(tmp_path):
    stop = threading.Event()
    with locked(tmp_path / "a"), pytest.raises(KeyboardInterrupt), locked(tmp_path / "a", on_wait=stop.set, stop=stop):
        pytest.fail("two at once")
