"""Work spread over processes, with results in the order of the jobs whatever their number."""

from __future__ import annotations

__all__ = ["Workers"]

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self, TypeVar

from astrofm.errors import StoreError, UsageError

Job = TypeVar("Job")
Result = TypeVar("Result")


class Workers:
    """Other processes, started when they first have something to do, or this one.

    Args:
        num_workers: 1 works in this process, more in as many others.
    """

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, work: Callable[[Job], Result], jobs: Sequence[Job], done: Callable[[int], None]) -> list[Result]:
        """Call a function on each job.

        Args:
            work: A module-level function.
            jobs: Its arguments.
            done: Called with the number of finished jobs after each.

        Returns:
            The results, in the order of the jobs.

        Raises:
            StoreError: If a worker process was ended from outside.
            UsageError: If the jobs cannot be sent to another process.
        """
        results: dict[int, Result] = {}
        for index, result in self._finished(work, jobs):
            results[index] = result
            done(len(results))
        return [results[index] for index in range(len(jobs))]

    def _finished(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        if self._num_workers == 1:
            yield from ((index, work(job)) for index, job in enumerate(jobs))
            return
        _check_sendable(jobs)
        try:
            yield from self._spread(work, jobs)
        except BrokenProcessPool as error:
            raise StoreError(
                "a worker process was ended from outside, perhaps for want of memory: "
                "give the same command again, which goes on where this one stopped, or use fewer --workers"
            ) from error

    def _spread(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Keep every worker busy with few jobs under way: a job may hold thousands of catalogue rows."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._num_workers, context, initializer=_serve_only_the_parent)
        waiting = list(range(len(jobs)))[::-1]
        running: dict[Future[Result], int] = {}
        while waiting or running:
            while waiting and len(running) < 2 * self._num_workers:
                index = waiting.pop()
                running[self._pool.submit(work, jobs[index])] = index
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def _check_sendable(jobs: Sequence[Any]) -> None:
    try:
        pickle.dumps(jobs[:1])
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(f"the survey cannot be sent to worker processes ({error}): use --workers 1") from error


def _serve_only_the_parent() -> None:
    """Leave interrupts to the parent, and end with it: a pool's workers outlive a parent that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_it() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
