"""A real Dask scheduler with two worker processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from astrofm.data.ingest import ingest
from astrofm.data.making.cluster import ClusterWorkers
from astrofm.data.making.partial import partial_of
from astrofm.data.store import verify
from astrofm.errors import StoreError

pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.usefixtures("small_pieces")

START_SECONDS = 60


@dataclass
class Cluster:
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and two workers, each a process of its own."""
    file = tmp_path / "scheduler.json"
    scheduler = _start("distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    common = ("--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
    workers = [_start("distributed.cli.dask_worker", *common) for _ in range(2)]
    try:
        yield Cluster(_address(file, 2), scheduler, workers)
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def _start(module: str, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module, "--host", "127.0.0.1", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _address(file: Path, num_workers: int) -> str:
    from distributed import Client

    deadline = time.monotonic() + START_SECONDS
    while not file.exists():
        assert time.monotonic() < deadline, "the scheduler did not start"
        time.sleep(0.1)
    address = json.loads(file.read_text())["address"]
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(num_workers, timeout=START_SECONDS)
    return str(address)


def content(store: Path) -> dict[str, bytes]:
    return {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*") if file.is_file()}


@pytest.fixture
def undisturbed(survey, archive, tmp_path) -> dict[str, bytes]:
    ingest(survey, archive, tmp_path / "undisturbed.zarr")
    return content(tmp_path / "undisturbed.zarr")


def test_a_cluster_makes_the_same_bytes(cluster, survey, archive, undisturbed, tmp_path):
    ingest(survey, archive, tmp_path / "cluster.zarr", dask=cluster.address)
    assert content(tmp_path / "cluster.zarr") == undisturbed
    assert verify(tmp_path / "cluster.zarr") == []


def test_a_worker_killed_in_the_middle_costs_nothing(cluster, survey, archive, undisturbed, tmp_path):
    killed_at = []

    def kill_one(done: int, total: int, what: str) -> None:
        if not killed_at:
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            killed_at.append((done, total, what))

    ingest(survey, archive, tmp_path / "cluster.zarr", dask=cluster.address, listener=kill_one)
    done, total, what = killed_at[0]
    assert what == "reading"
    assert done < total
    assert cluster.workers[0].wait() == -signal.SIGKILL
    assert content(tmp_path / "cluster.zarr") == undisturbed


def test_a_lost_scheduler_leaves_work_that_goes_on_without_it(cluster, survey, archive, undisturbed, tmp_path):
    out = tmp_path / "cluster.zarr"

    def kill_all(done: int, total: int, what: str) -> None:
        for process in (cluster.scheduler, *cluster.workers):
            process.kill()

    with pytest.raises(StoreError, match="give the same command again"):
        ingest(survey, archive, out, dask=cluster.address, listener=kill_all)
    assert not out.exists()
    assert partial_of(out).exists()
    ingest(survey, archive, out)
    assert content(out) == undisturbed


def test_workers_that_cannot_see_the_store_are_refused(cluster, tmp_path):
    with pytest.raises(StoreError, match=r"does not see .*choose an --out on a file system that all share"):
        ClusterWorkers(cluster.address, tmp_path / "absent").__enter__()


def test_a_scheduler_without_workers_is_a_sentence(cluster, tmp_path):
    from distributed import Client

    for worker in cluster.workers:
        worker.kill()
        worker.wait()
    deadline = time.monotonic() + START_SECONDS
    with Client(cluster.address, set_as_default=False) as client:
        while client.nthreads():
            assert time.monotonic() < deadline, "the scheduler still counts the dead"
            time.sleep(0.1)
    with pytest.raises(StoreError, match=r"has no workers: start some with 'dask worker tcp://"):
        ClusterWorkers(cluster.address, tmp_path).__enter__()


def test_an_absent_scheduler_is_a_sentence(tmp_path):
    with pytest.raises(StoreError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        ClusterWorkers("tcp://127.0.0.1:1", tmp_path)
