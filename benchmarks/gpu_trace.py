"""Where the time of a training step on a GPU goes: what the card does, what it waits for, and what it spends on views.

Usage: ``python benchmarks/gpu_trace.py --device cuda --size-pix 224 --data galaxies --precisions bfloat16 --warm 20``,
and the other options of ``pretrain_throughput.py`` but ``--workers`` and ``--rounds``

One pretraining of that benchmark, of which torch.profiler records the last ``--steps`` steps. Printed for one step, in
milliseconds: wall time, time with any kernel running, the kernels on the stream of the views and on that of the
training, and how often a kernel or a graph of kernels was started; then the kernels that take longest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pretrain_throughput import asked_for, recipe_of
from real_pictures import SETS
from torch.profiler import ProfilerActivity, profile

from astrofm.listener import StepInfo
from astrofm.pretrain import pretrain

ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
STARTS = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")
NUM_KERNELS = 12
"""Kernels that are printed."""


def main() -> None:
    """Trace a run and print where its time goes."""
    asked = asked_for(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    for name in asked.data:
        with tempfile.TemporaryDirectory() as folder:
            recorder = _Recorder(asked.warm, Path(folder) / "trace.json")
            recipe = recipe_of(SETS[name], (asked.precisions or ["bfloat16"])[0], asked)
            stores = {SETS[name].survey: SETS[name].store(Path(folder))}
            pretrain(recipe, stores, Path(folder) / "run", device=asked.device, listeners=[recorder])
            events = json.loads(recorder.path.read_text())["traceEvents"]
        print(name)
        _describe([event for event in events if event.get("ph") == "X"], asked.steps - 1)


class _Recorder:
    """Records the steps after some that do not count, the last one excepted, in which the run is saved."""

    def __init__(self, warm: int, path: Path) -> None:
        self.path = path
        self._warm = warm
        self._profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])

    def on_step(self, info: StepInfo) -> None:
        if info.step == self._warm:
            torch.cuda.synchronize()
            self._profile.__enter__()
        elif info.step == info.num_steps - 1:
            torch.cuda.synchronize()
            self._profile.__exit__(None, None, None)
            self._profile.export_chrome_trace(str(self.path))


def _describe(events: list[dict[str, Any]], num_steps: int) -> None:
    """Print the parts of a step.

    Args:
        events: Of a trace, in microseconds.
        num_steps: Steps that they cover.
    """
    on_device = [event for event in events if event.get("cat") in ON_DEVICE]
    begins, ends = zip(*((event["ts"], event["ts"] + event["dur"]) for event in on_device), strict=True)
    of_stream: Counter[int] = Counter()
    of_kernel: Counter[str] = Counter()
    for event in on_device:
        of_stream[event["args"]["stream"]] += event["dur"]
        of_kernel[event["name"]] += event["dur"]
    starts = sum(event["name"] in STARTS for event in events)
    print(f"  a step: {(max(ends) - min(begins)) / num_steps / 1e3:.2f} ms")
    print(f"  the device works in {_covered(zip(begins, ends, strict=True)) / num_steps / 1e3:.2f} ms of it")
    for stream, duration in of_stream.most_common():
        print(f"  kernels on stream {stream}: {duration / num_steps / 1e3:.2f} ms")
    print(f"  kernels and copies: {len(on_device) / num_steps:.0f}, started by {starts / num_steps:.0f} calls")
    for kernel, duration in of_kernel.most_common(NUM_KERNELS):
        print(f"    {duration / num_steps / 1e3:.2f} ms  {kernel[:100]}")


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of some intervals."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


if __name__ == "__main__":
    main()
