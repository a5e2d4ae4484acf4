"""The live line of a training run."""

from __future__ import annotations

__all__ = ["TrainingProgress"]

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from astrofm.listener import StepInfo

LINE_EVERY_STEPS = 50
"""Where stderr is no terminal, one line is printed every so many steps."""
SHOWN_EVERY_S = 0.1
"""On a terminal; to read the numbers of a step waits for the GPU."""


class TrainingProgress:
    """Shows images a second, share of time waiting for data, loss, tau, embedding spread and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
        )
        self._progress = Progress(*columns, console=self._console, transient=False)
        self._task = self._progress.add_task("", total=None, epoch=0, numbers="")
        self._probed = ""
        self._shown_at = -math.inf

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def on_step(self, info: StepInfo) -> None:
        """Show the newest numbers, if it is time."""
        probed = [name for name in info.metrics if name.startswith("knn_error_")]
        if not (probed or info.step == info.num_steps or self._is_time(info.step)):
            return
        if probed:
            self._probed = "".join(
                f"  {name.removeprefix('knn_error_')} kNN error {100 * info.metrics[name]:.1f}%" for name in probed
            )
        numbers = f"{info.images_per_second:.0f} images/s, {100 * info.wait_share:.0f}% waiting"
        shown = {**_losses(info.metrics), "tau": "tau", "embedding_spread": "spread"}
        for name, label in shown.items():
            if name in info.metrics:
                numbers += f", {label} {info.metrics[name]:.4g}"
        numbers += self._probed
        if self._console.is_terminal:
            self._progress.update(
                self._task, completed=info.step, total=info.num_steps, epoch=info.epoch + 1, numbers=numbers
            )
        else:
            self._console.print(f"step {info.step}/{info.num_steps}, epoch {info.epoch + 1}: {numbers}", markup=False)

    def _is_time(self, step: int) -> bool:
        """Return whether a step without a probe is to be shown."""
        if not self._console.is_terminal:
            return step % LINE_EVERY_STEPS == 0
        now = time.monotonic()
        if now - self._shown_at < SHOWN_EVERY_S:
            return False
        self._shown_at = now
        return True


def _losses(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return what to call each loss: the parts, where an objective tells them.

    The two parts of ``hybrid`` are scaled to each other at every step, so that with a weight of 1 their sum is 2
    however well both are learned.
    """
    parts = {name: name.replace("_", " ") for name in metrics if name.startswith("loss_")}
    return parts or {"loss": "loss"}
