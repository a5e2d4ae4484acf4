"""What a listener learns of each step of training, and the pace it is told."""

from __future__ import annotations

__all__ = ["Listener", "Pace", "Progress", "StepInfo"]

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what) during a long job that is not training."""


@dataclass(frozen=True)
class StepInfo:
    """What a listener learns after each optimiser step.

    Attributes:
        step: Steps taken, this one included.
        num_steps: Length of the run.
        epoch: Epoch, from 0.
        metrics: Loss, learning rate and what the objective and the probes report; to read a value waits for a GPU, to
            ask for the names does not.
        images_per_second: Cutouts through the optimiser step, over the last seconds.
        wait_share: Share of that time spent waiting for data.
    """

    step: int
    num_steps: int
    epoch: int
    metrics: Mapping[str, float]
    images_per_second: float
    wait_share: float


class Listener(Protocol):
    """Anything that wants to know how training goes."""

    def on_step(self, info: StepInfo) -> None:
        """Hear of a finished step."""


class Pace:
    """Images a second and share of waiting, averaged over the last steps with a decaying weight."""

    DECAY = 0.95

    def __init__(self) -> None:
        self._images = self._busy = self._waited = 0.0
        self._all_busy = self._all_waited = 0.0
        self._mark = time.monotonic()

    def step_done(self, num_images: int, waited_s: float) -> None:
        """Count the time since the last step as work on this many cutouts, but for what was waited for them."""
        now = time.monotonic()
        busy = max(0.0, now - self._mark - waited_s)
        self._busy = self.DECAY * self._busy + busy
        self._waited = self.DECAY * self._waited + waited_s
        self._all_busy += busy
        self._all_waited += waited_s
        self._images = self.DECAY * self._images + num_images
        self._mark = now

    def pause(self) -> None:
        """Leave out the time since the last step: it was neither."""
        self._mark = time.monotonic()

    def rate(self) -> float:
        """Return cutouts a second, waiting included."""
        return self._images / max(1e-9, self._busy + self._waited)

    def wait_share(self) -> float:
        """Return the share of the time spent waiting for data."""
        return self._waited / max(1e-9, self._busy + self._waited)

    def overall_wait_share(self) -> float:
        """Return the share of all the time since the beginning, the first batch included, spent waiting for data."""
        return self._all_waited / max(1e-9, self._all_busy + self._all_waited)
