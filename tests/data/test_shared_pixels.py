"""One copy of the pixels for all processes, and nothing left behind, also by those that are killed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from astrofm.data.feeding import shared_pixels
from astrofm.data.feeding.feed import Feed
from astrofm.data.feeding.shared_pixels import SHARED_FOLDER, decode_shared, remove_abandoned
from astrofm.data.ingest import ingest
from astrofm.data.loader import Loader
from astrofm.data.store import CutoutStore

pytestmark = pytest.mark.skipif(not SHARED_FOLDER.is_dir(), reason="this machine has no /dev/shm")

OTHER = """
import sys, time
import numpy as np
from pathlib import Path
from astrofm.data.feeding import shared_pixels
from astrofm.data.store import CutoutStore
shared_pixels.SHARED_FOLDER = Path(sys.argv[2])
reads = []
real = CutoutStore.read
CutoutStore.read = lambda self, rows, out=None: reads.append(len(rows)) or real(self, rows, out)
images, mask = shared_pixels.decode_shared(CutoutStore.open(sys.argv[1]), np.arange(30))
print(len(reads), repr(float(np.nansum(images, dtype=float))), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def store(small_pieces, survey, archive, tmp_path) -> CutoutStore:
    ingest(survey, archive, tmp_path / "store")
    return CutoutStore.open(tmp_path / "store")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of shared memory of our own."""
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr(shared_pixels, "SHARED_FOLDER", folder)
    return folder


@pytest.fixture
def reads(monkeypatch):
    """How many rows each read asks for."""
    reads: list[int] = []
    real = CutoutStore.read
    monkeypatch.setattr(
        CutoutStore, "read", lambda self, rows, out=None: reads.append(len(rows)) or real(self, rows, out)
    )
    return reads


def start(store, folder):
    command = [sys.executable, "-c", OTHER, str(store.path), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_second_process_uses_the_pixels_of_the_first_and_the_last_removes_them(store, folder, reads):
    images, _ = decode_shared(store, np.arange(30))
    other = start(store, folder)
    num_reads, total = other.stdout.readline().split()
    assert (reads, int(num_reads)) == ([30], 0)
    assert float(total) == float(np.nansum(images, dtype=float))
    del images
    gc.collect()
    assert len(list(folder.iterdir())) == 1
    other.communicate("\n")
    assert list(folder.iterdir()) == []


def test_processes_that_start_together_decode_once(store, folder):
    others = [start(store, folder) for _ in range(3)]
    answers = [other.stdout.readline().split() for other in others]
    assert sorted(int(num_reads) for num_reads, _ in answers) == [0, 0, 1]
    assert len({total for _, total in answers}) == 1
    for other in others:
        other.communicate("\n")
    assert list(folder.iterdir()) == []


def test_two_that_see_an_empty_file_at_once_both_get_the_pixels(store, folder, reads, monkeypatch):
    """Waiting to be alone with the file, the second would wait for as long as the first trains."""
    both_have_looked, look, looked = threading.Barrier(2), shared_pixels._is_complete, threading.local()

    def is_complete(descriptor, size):
        answer = look(descriptor, size)
        if not hasattr(looked, "once"):
            looked.once = True
            both_have_looked.wait(10)
        return answer

    monkeypatch.setattr(shared_pixels, "_is_complete", is_complete)
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(decode_shared(store, np.arange(30))), daemon=True) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(got) == 2
    assert reads == [30]
    assert np.array_equal(got[0][0], got[1][0], equal_nan=True)


def test_what_a_killed_process_left_is_used_or_removed(store, folder, reads):
    other = start(store, folder)
    other.stdout.readline()
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert len(list(folder.iterdir())) == 1
    images, _ = decode_shared(store, np.arange(30))
    assert reads == []
    np.testing.assert_array_equal(images, store.read(np.arange(30)))
    left = folder / f"astrofm-pixels-{os.getuid()}-left"
    left.write_bytes(b"half")
    decode_shared(store, np.arange(3))
    assert not left.exists()


def test_half_written_pixels_are_written_again(store, folder, reads):
    name = shared_pixels._name(store, np.arange(30))
    (folder / name).write_bytes(b"\0" * 1000)
    images, _ = decode_shared(store, np.arange(30))
    assert reads == [30]
    np.testing.assert_array_equal(images, store.read(np.arange(30)))


def test_pixels_in_use_are_not_removed(store, folder):
    images, _ = decode_shared(store, np.arange(30))
    remove_abandoned()
    assert len(list(folder.iterdir())) == 1
    assert images.shape == (30, 1, 24, 24)


def test_pixels_cannot_be_written_to(store, folder):
    images, _ = decode_shared(store, np.arange(3))
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_other_rows_and_other_stores_have_their_own(store, folder):
    held = [decode_shared(store, rows)[0] for rows in (np.arange(30), np.arange(31), np.arange(30)[::-1])]
    assert len(list(folder.iterdir())) == 3
    np.testing.assert_array_equal(held[0], held[2][::-1])


def test_without_room_a_process_decodes_for_itself(store, folder, monkeypatch):
    def no_room(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    images, _ = decode_shared(store, np.arange(30))
    np.testing.assert_array_equal(images, store.read(np.arange(30)))
    assert list(folder.iterdir()) == []


def test_loaders_of_one_process_share_their_pixels(store, folder, reads):
    feed = Feed("tiny", store, np.arange(39))
    loaders = [Loader((feed,), 6, seed=seed) for seed in (0, 1)]
    batches = [next(iter(loader)) for loader in loaders]
    assert reads == [39]
    for batch in batches:
        np.testing.assert_array_equal(batch.shares[0].images, store.read(batch.row_ids))
    del loaders
    gc.collect()
    deadline = time.monotonic() + 5
    while list(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(folder.iterdir()) == []
