"""Work spread over processes, with results in the order of the jobs whatever their number."""

from __future__ import annotations

__all__ = ["Workers", "start_server"]

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from typing import Any, Self, TypeVar

from astrofm.errors import StoreError, UsageError

Job = TypeVar("Job")
Result = TypeVar("Result")

JOBS_PER_WORKER = 2
"""Jobs under way for each: one being done and the next; a job may hold thousands of catalogue rows."""

PRELOADED = ["astrofm.data.making.stage", "astrofm.data.making.pack"]
"""What the process that the others are forked from imports, once: with astropy and pyarrow that takes a second."""


def start_server() -> None:
    """Let the process that workers are forked from start and import, if it does not run yet, without waiting for it."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()


class Workers:
    """This process and, once there is something to do for them, others beside it.

    This one does its share of the work from the first moment on, while the others start: a short work is done by then.

    Args:
        num_workers: Number of processes, this one included.
    """

    def __init__(self, num_workers: int) -> None:
        self._num_others = num_workers - 1
        self._pool: ProcessPoolExecutor | None = None
        self._starting: threading.Thread | None = None
        self._first_call: Future[Future[None]] = Future()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._pool is not None and self._starting is not None:
            self._starting.join()
            self._pool.shutdown(wait=True, cancel_futures=True)
            if raised == (None, None, None):
                self._first_call.result()

    def run(self, work: Callable[[Job], Result], jobs: Sequence[Job], done: Callable[[int], None]) -> list[Result]:
        """Call a function on each job.

        Args:
            work: A module-level function.
            jobs: Its arguments.
            done: Called with the number of finished jobs, now and then.

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
        if self._num_others == 0 or len(jobs) < 2:
            yield from ((index, work(jobs[index])) for index in range(len(jobs)))
            return
        _check_sendable(jobs[0])
        self._start()
        try:
            yield from self._spread(work, jobs)
        except BrokenProcessPool as error:
            raise StoreError(
                "a worker process was ended from outside, perhaps for want of memory: "
                "give the same command again, which goes on where this one stopped, or use fewer --workers"
            ) from error

    def _spread(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Keep the others busy with few jobs under way, and do the next one here."""
        waiting = iter(range(len(jobs)))
        running: dict[Future[Result], int] = {}
        while True:
            while self._pool is not None and self._answers() and len(running) < JOBS_PER_WORKER * self._num_others:
                theirs = next(waiting, None)
                if theirs is None:
                    break
                running[self._pool.submit(work, jobs[theirs])] = theirs
            ours = next(waiting, None)
            if ours is not None:
                yield ours, work(jobs[ours])
            elif not running:
                return
            else:
                wait(running, return_when=FIRST_COMPLETED)
            for future in [future for future in running if future.done()]:
                yield running.pop(future), future.result()

    def _start(self) -> None:
        """Start the others without waiting for them: the first call returns when the server has been imported."""
        if self._pool is not None:
            return
        start_server()
        context = multiprocessing.get_context("forkserver")
        pool = ProcessPoolExecutor(self._num_others, context, initializer=_serve_only_the_parent)

        def first_call() -> None:
            try:
                self._first_call.set_result(pool.submit(_answer))
            except BaseException as error:
                self._first_call.set_exception(error)  # raised where the others are first looked for

        self._pool = pool
        self._starting = threading.Thread(target=first_call, daemon=True)
        self._starting.start()

    def _answers(self) -> bool:
        if not self._first_call.done() or not self._first_call.result().done():
            return False
        self._first_call.result().result()  # says so if the process was ended
        return True


def _answer() -> None:
    """Do nothing: a worker that has done it is there."""


def _check_sendable(job: Any) -> None:
    try:
        pickle.dumps(job)
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
