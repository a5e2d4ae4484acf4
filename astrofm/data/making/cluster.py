"""Work spread over a Dask cluster, with results in the order of the jobs whatever its workers.

The workers read the archive and write the ranges and shards of a store themselves, so they must see both under the
paths that this process uses: a shared file system. A worker that dies loses nothing that is finished; its unfinished
jobs are given to another.
"""

from __future__ import annotations

__all__ = ["ClusterWorkers"]

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from astrofm.errors import StoreError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

Job = TypeVar("Job")
Result = TypeVar("Result")

CONNECT_SECONDS = 10.0
JOBS_PER_THREAD = 2
"""Jobs under way for each thread of the cluster; a job may hold thousands of catalogue rows."""

MAX_DEATHS = 3
"""Workers that may die over one job before it is given up: it may be the job that kills them."""


class ClusterWorkers:
    """The workers of a Dask scheduler; has the methods of :class:`astrofm.data.making.workers.Workers`.

    Args:
        address: Of the scheduler, for example ``tcp://10.0.0.1:8786``.
        shared: A folder that the workers must see, that of the store to be written.

    Raises:
        UsageError: If Dask is not installed.
        StoreError: If the scheduler cannot be reached, has no workers, or a worker cannot take part.
    """

    def __init__(self, address: str, shared: Path) -> None:
        self._address = address
        self._shared = shared
        self._client: Client = _connected(address)

    def __enter__(self) -> Self:
        try:
            _check_workers(self._client, self._address, self._shared)
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._client.close()

    def run(self, work: Callable[[Job], Result], jobs: Sequence[Job], done: Callable[[int], None]) -> list[Result]:
        """Call a function on each job, see :meth:`astrofm.data.making.workers.Workers.run`.

        Raises:
            StoreError: If one job outlives several workers, or the scheduler is lost.
        """
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        results: dict[int, Result] = {}
        try:
            for index, result in self._finished(work, jobs):
                results[index] = result
                done(len(results))
        except KilledWorker as error:
            raise StoreError(
                f"{MAX_DEATHS + 1} workers of {self._address} died over the same part of the catalogue, perhaps for "
                "want of memory: give the same command again, which goes on where this one stopped"
            ) from error
        except (FutureCancelledError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the file system, which the ingest puts into words
            raise StoreError(
                f"the Dask scheduler at {self._address} was lost: give the same command again, with --dask or with "
                "--workers, which goes on where this one stopped"
            ) from error
        return [results[index] for index in range(len(jobs))]

    def _finished(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Keep every thread of the cluster busy, and take results as they come."""
        from distributed import as_completed

        waiting = iter(enumerate(jobs))
        running: dict[Future[Result], int] = {}
        completed = as_completed(loop=self._client.loop)

        def submit_next() -> None:
            entry = next(waiting, None)
            if entry is not None:
                future = self._client.submit(work, entry[1], pure=False)
                running[future] = entry[0]
                completed.add(future)

        for _ in range(max(1, JOBS_PER_THREAD * sum(self._client.nthreads().values()))):
            submit_next()
        for future in completed:
            index = running.pop(future)
            result = future.result()
            submit_next()
            yield index, result


def _connected(address: str) -> Client:
    try:
        import dask.config
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            "--dask needs the packages of Dask, which are not installed: pip install 'astrofm[dask]'"
        ) from error
    try:
        with dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s"}):
            return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise StoreError(
            f"no Dask scheduler answers at {address!r}: start one with 'dask scheduler' and workers with "
            "'dask worker ADDRESS', or use --workers N on this machine"
        ) from error


def _check_workers(client: Client, address: str, shared: Path) -> None:
    """Refuse workers of another release, and those that do not see the folder of the store."""
    if not client.nthreads():
        raise StoreError(f"the Dask scheduler at {address} has no workers: start some with 'dask worker {address}'")
    mine = version("astrofm")
    for worker, found in client.run(_look_around, str(shared)).items():
        if found["astrofm"] != mine:
            raise StoreError(f"the Dask worker {worker} runs astrofm {found['astrofm']}, not {mine}: install the same")
        if not found["sees_folder"]:
            raise StoreError(
                f"the Dask worker {worker} does not see {shared}: choose an --out on a file system that all share"
            )


def _look_around(folder: str) -> dict[str, Any]:
    return {"astrofm": version("astrofm"), "sees_folder": Path(folder).is_dir()}
