"""Where one BYOL step on a CPU spends its time: convolutions against the products of matrices that they could be.

Usage: ``python benchmarks/convolutions.py [--json]``

Prints how many GFLOP/s two cores reach in a product of two matrices of 2048 x 2048; which share of the bare step of
``step_levers.py`` (ResNet-18, 64 px, batch 128, float32, channels last) is convolutions, with small maps left to them;
and for the layers of a ResNet-18 at 64 px how long oneDNN's convolution takes forward and backward, and
:class:`astrofm.encoders.small_maps.SmallMapConv2d`, whatever the size of the map. Each time is the least of five.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from step_levers import Levers, make_step
from torch import nn
from torch.profiler import ProfilerActivity, profile

from astrofm.encoders import small_maps
from astrofm.encoders.small_maps import SmallMapConv2d

LAYERS = ((64, 64, 16, 1), (128, 128, 8, 1), (256, 256, 4, 1), (256, 512, 4, 2), (512, 512, 2, 1), (512, 512, 3, 1))
"""Channels in and out, side of the map in pixels, stride."""
STEP = argparse.Namespace(encoder="resnet18", size_pix=64, batch_size=128, device="cpu")
BATCH, SIZE_OF_PRODUCT, REPEATS = 128, 2048, 5


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    torch.set_num_threads(2)
    small_maps.LARGEST_MAP_PIX = 10**6
    rows = [layer(*shape) for shape in LAYERS]
    result = {"gflops_of_a_product": product_rate(), "share_of_convolutions": share_of_convolutions(), "layers": rows}
    if asked.json:
        print(json.dumps(result))
        return
    print(f"product of matrices: {result['gflops_of_a_product']:.0f} GFLOP/s")
    print(f"convolutions: {result['share_of_convolutions']:.0%} of the step")
    for row in rows:
        print(", ".join(f"{name} {value}" for name, value in row.items()))


def least_ms(work: Callable[[], object]) -> float:
    """Return the milliseconds of the quickest of some calls; the first is not timed."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds)


def product_rate() -> float:
    """Return GFLOP/s of a product of two square matrices."""
    first, second = torch.randn(2, SIZE_OF_PRODUCT, SIZE_OF_PRODUCT)
    return 2e-6 * SIZE_OF_PRODUCT**3 / least_ms(lambda: first @ second)


def share_of_convolutions() -> float:
    """Return the share of a step's processor time."""
    step = make_step(Levers(channels_last=True), STEP)
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    return sum(took for name, took in times.items() if "convolution" in name) / sum(times.values())


def layer(channels: int, out_channels: int, size: int, stride: int) -> dict[str, Any]:
    """Return the times of one layer, both ways, and of the gradient of the weights alone in the first."""
    plain = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False).to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, channels, size, size).to(memory_format=torch.channels_last).requires_grad_()
    row: dict[str, Any] = {"layer": f"{channels} to {out_channels}, {size} px, stride {stride}"}
    for name, conv in (("convolution", plain), ("product", SmallMapConv2d(plain))):
        result = conv(images)
        gradient = torch.randn_like(result)
        with torch.no_grad():
            forward = least_ms(lambda: conv(images))  # noqa: B023 - called before the loop goes on
        of_weights, both = (
            least_ms(lambda: torch.autograd.grad(result, wanted, gradient, retain_graph=True))  # noqa: B023
            for wanted in ([conv.weight], [images, conv.weight])
        )
        row |= {f"{name} forward ms": round(forward, 1), f"{name} backward ms": round(both, 1)}
        row[f"{name} weights ms"] = round(of_weights, 1)
    return row


if __name__ == "__main__":
    main()
