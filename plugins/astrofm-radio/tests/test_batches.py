"""Pickled batches are read without running what is in them."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from astrofm_radio.batches import load_batch, read_batches

from astrofm.errors import DataError

NAME = "100_010.451-009.284_0.0529_0080.60"


def batch(**changed):
    content = {
        "labels": [0, 0],
        "data": [np.full((3, 3), value, dtype=np.uint8) for value in (1, 2)],
        "filenames": [f"./PNG/{NAME}.png", np.str_("./PNG/b.png")],
    }
    return pickle.dumps(content | changed, protocol=3)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_batch_of_arrays_is_read():
    found = load_batch(batch(), "data_batch_1")
    assert found.images.shape == (2, 3, 3)
    assert found.images.dtype == np.uint8
    assert found.images[:, 0, 0].tolist() == [1, 2]
    assert found.filenames == (NAME, "b")


def test_a_pickle_that_calls_a_function_is_refused_and_nothing_runs(tmp_path):
    trap = tmp_path / "made"
    with pytest.raises(DataError, match=r"mkdir.*nothing was run"):
        load_batch(batch(extra=Malicious(trap)), "data_batch_1")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Malicious(trap)))  # the trap does work where anything is allowed
    assert trap.exists()


@pytest.mark.parametrize("name", ["builtins\neval", "numpy\nload", "numpy.testing\nrundocs", "astrofm.errors\none_of"])
def test_any_other_name_is_refused(name):
    with pytest.raises(DataError, match="nothing was run"):
        load_batch(b"c" + name.encode() + b"\n.", "data_batch_1")


@pytest.mark.parametrize("content", [b"", b"not a pickle", batch()[:-20], pickle.dumps([1, 2]), batch(labels=[0])])
def test_a_damaged_batch_is_one_sentence(content):
    with pytest.raises(DataError, match="'data_batch_1'"):
        load_batch(content, "data_batch_1")


def test_only_the_wanted_batches_of_a_tarball_are_read(tmp_path):
    path = tmp_path / "X_batches.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("test_batch", "data_batch_2", "data_batch_1", "batches.meta"):
            member = tarfile.TarInfo(f"F_batches/{name}")
            member.size = len(batch())
            tar.addfile(member, io.BytesIO(batch()))
    assert [found.name for found in read_batches(path)] == ["data_batch_1", "data_batch_2", "test_batch"]
    assert [found.name for found in read_batches(path, {"test_batch"})] == ["test_batch"]
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path, filter="data")
    assert [found.name for found in read_batches(tmp_path)] == ["data_batch_1", "data_batch_2", "test_batch"]
