"""Two augmented views of each image, made by our view pipeline and by three other libraries, in views a second.

Usage: ``python benchmarks/views.py [--json] [--repeats 5] [--batches 4] [--cpu-time]``

Everyone makes from the same uint8 images in memory, in batches of 128, two float32 views of 64 px each: a rotation by
any angle, a crop of 30% to 100% of the area, both flips with 0.5, jitter of 0.4, 0.4, 0.2, 0.1 with 0.8, grey with
0.2, a blur of 0.1 to 2 pixels with 0.5, and a normalisation. Two sets: colour of 128 px, and one band of 150 px,
where saturation, hue and grey are left out. The pixels are smoothed noise: nobody's work depends on them.

- ``astrofm``: ``ViewPipeline`` on the batch, from uint8 to normalised views.
- ``lightly``: its ``BYOLTransform`` on one PIL image after the other, made before the clock starts.
- ``torchvision``: transforms v2 on one uint8 tensor after the other.
- ``torchvision batched``: the same on the whole batch, which then shares one set of parameters for each view: not the
  same work, as every image is turned, cropped and coloured alike.
- ``kornia``: its augmentations on the batch, with parameters of its own for each image.

With one thread all of them run in this process. With two, torch has two threads, and those that take one image after
the other run in a ``DataLoader`` with two workers of one thread each, as they are used.

What is not equal. Geometry: we resample once, after averaging over 2 x 2 pixels; the others rotate, then crop and
resize (lightly crops first); Pillow and torchvision smooth when they shrink, kornia does not. Jitter: our saturation
goes towards the plain mean of the bands, theirs towards the brightness for the eye; we keep the order and clip once,
at the end, they shuffle and clip after each part. Blur: 13 taps each way here, in torchvision and in kornia, with a
width for each image (not in torchvision batched); Pillow approximates the Gaussian by boxes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from astrofm.card import Step
from astrofm.data.batch import Batch, Share
from astrofm.views.blur import Blur, BlurConfig
from astrofm.views.geometry import Flip, FlipConfig, Rotate, RotateConfig, Zoom, ZoomConfig
from astrofm.views.grayscale import Grayscale, GrayscaleConfig
from astrofm.views.photometry import Jitter, JitterConfig
from astrofm.views.pipeline import ViewPipeline
from astrofm.views.stretch import InputPlan

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # kornia's import uses what torch has deprecated
    import kornia.augmentation as kornia

BATCH = 128
VIEWS = 2
SIZE = 64
AREA = (0.3, 1.0)
BLUR_SIGMA = (0.1, 2.0)
BLUR_TAPS = 13
MEAN, STD = 0.5, 0.25
SETS = {"colour, 128 px": (3, 128), "one band, 150 px": (1, 150)}

Work = Callable[[], object]


def main() -> None:
    """Run the benchmark and print its rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="the best one counts")
    parser.add_argument("--batches", type=int, default=4, help="batches in one repeat")
    parser.add_argument("--cpu-time", action="store_true", help="one thread, processor time: for a busy machine")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    rows = []
    for name, (channels, size) in SETS.items():
        images = smoothed_noise(asked.batches * BATCH, channels, size)
        for threads in (1,) if asked.cpu_time else (1, 2):
            rates = measured(images, threads, asked.repeats, time.process_time if asked.cpu_time else time.perf_counter)
            ratios = {other: rates["astrofm"] / rate for other, rate in rates.items() if other != "astrofm"}
            rows.append({"images": name, "threads": threads, "views_per_second": rates, "ratio_to": ratios})
    if asked.json:
        print(json.dumps({"batch": BATCH, "size_pix": SIZE, "num_views": VIEWS, "rows": rows}))
        return
    for row in rows:
        print(f"{row['images']}, {row['threads']} thread(s)")
        for name, rate in row["views_per_second"].items():
            print(f"  {name:20} {rate:9,.0f} views/s   astrofm / this: {rows_ratio(row, name):6.2f}")


def rows_ratio(row: dict[str, Any], name: str) -> float:
    """Return how many times faster we are; 1 for ourselves."""
    ratio: float = row["ratio_to"].get(name, 1.0)
    return ratio


def measured(images: NDArray[np.uint8], threads: int, repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return views a second by library."""
    torch.set_num_threads(threads)
    one_by_one = {"lightly": LightlyViews(images), "torchvision": TorchvisionViews(images)}
    works: dict[str, Work] = {"astrofm": ours(images)}
    for name, views in one_by_one.items():
        works[name] = in_workers(views) if threads == 2 else in_a_loop(views)
    works["torchvision batched"] = torchvision_batched(images)
    works["kornia"] = kornia_batched(images)
    num = len(images) * VIEWS
    return {name: num / best(work, repeats, clock) for name, work in works.items()}


def best(work: Work, repeats: int, clock: Callable[[], float]) -> float:
    """Return the seconds of the fastest repeat; the first call is not timed."""
    work()
    seconds = []
    for _ in range(repeats):
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds)


def smoothed_noise(num: int, channels: int, size: int) -> NDArray[np.uint8]:
    """Return images with structure over a few pixels. Shape: (num, channels, size, size)."""
    noise = torch.rand(num, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(noise, size=(size, size), mode="bicubic").clamp(0.0, 1.0)
    images: NDArray[np.uint8] = (255.0 * smooth).to(torch.uint8).numpy()
    return images


def ours(images: NDArray[np.uint8]) -> Work:
    """Return the work of our pipeline."""
    is_colour = images.shape[1] == 3
    colour = {"saturation": 0.2, "hue": 0.1} if is_colour else {}
    views = [
        Rotate(RotateConfig()),
        Flip(FlipConfig(p=0.5)),
        Zoom(ZoomConfig(scale=AREA)),
        Jitter(JitterConfig(brightness=0.4, contrast=0.4, p=0.8, clip=(0.0, 1.0), **colour)),
        *([Grayscale(GrayscaleConfig(p=0.2))] if is_colour else []),
        Blur(BlurConfig(sigma=BLUR_SIGMA, p=0.5)),
    ]
    plan = InputPlan("a", (Step(name="scale", settings={"factor": 1 / 255}),), (MEAN,), (STD,))
    pipeline = ViewPipeline({"a": plan}, views, num_views=VIEWS, size_pix=SIZE, field_of_view_arcsec=None, seed=0)
    rows = np.arange(BATCH)
    batches = [
        Batch((Share("a", part, None, rows, {}),), rows, 0, BATCH) for part in np.split(images, len(images) // BATCH)
    ]

    def work() -> None:
        for step, batch in enumerate(batches):
            pipeline(batch, step, "cpu")

    return work


class LightlyViews(Dataset[list[Tensor]]):
    """Its BYOL transform, both views with the settings above."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        is_colour = images.shape[1] == 3
        self.images = [
            Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)) if is_colour else image[0])
            for image in images
        ]
        settings: dict[str, Any] = {
            "input_size": SIZE,
            "min_scale": AREA[0],
            "vf_prob": 0.5,
            "rr_prob": 1.0,
            "rr_degrees": 180.0,
            "gaussian_blur": 0.5,
            "sigmas": BLUR_SIGMA,
            "solarization_prob": 0.0,
            "normalize": {"mean": [MEAN], "std": [STD]},
        }
        if not is_colour:
            settings |= {"cj_sat": 0.0, "cj_hue": 0.0, "random_gray_scale": 0.0}
        self.transform = BYOLTransform(BYOLView1Transform(**settings), BYOLView2Transform(**settings))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        views: list[Tensor] = self.transform(self.images[index])
        return views


def torchvision_transform(channels: int) -> v2.Compose:
    """Return transforms v2 with the settings above, for one image or a batch."""
    colour = {"saturation": 0.2, "hue": 0.1} if channels == 3 else {}
    return v2.Compose(
        [
            v2.RandomRotation(180.0, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomResizedCrop(SIZE, scale=AREA, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, **colour)], p=0.8),
            *([v2.RandomGrayscale(0.2)] if channels == 3 else []),
            v2.RandomApply([v2.GaussianBlur(BLUR_TAPS, BLUR_SIGMA)], p=0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([MEAN], [STD]),
        ]
    )


class TorchvisionViews(Dataset[list[Tensor]]):
    """Transforms v2, one image after the other."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = torch.from_numpy(images)
        self.transform = torchvision_transform(images.shape[1])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return [self.transform(self.images[index]) for _ in range(VIEWS)]


def in_a_loop(dataset: Dataset[list[Tensor]]) -> Work:
    """Return the work of making batches in this process."""

    def work() -> None:
        for _ in DataLoader(dataset, BATCH):
            pass

    return work


def in_workers(dataset: Dataset[list[Tensor]]) -> Work:
    """Return the work of making batches in two processes that stay."""
    loader = DataLoader(dataset, BATCH, num_workers=2, persistent_workers=True)

    def work() -> None:
        for _ in loader:
            pass

    return work


def torchvision_batched(images: NDArray[np.uint8]) -> Work:
    """Return the work of transforms v2 on batches, with one set of parameters for all images of a view."""
    transform, batches = torchvision_transform(images.shape[1]), torch.from_numpy(images).split(BATCH)

    def work() -> None:
        for batch in batches:
            for _ in range(VIEWS):
                transform(batch)

    return work


def kornia_batched(images: NDArray[np.uint8]) -> Work:
    """Return the work of kornia on batches, from uint8 on."""
    channels, batches = images.shape[1], torch.from_numpy(images).split(BATCH)
    colour = {"saturation": 0.2, "hue": 0.1} if channels == 3 else {}
    transform = nn.Sequential(
        kornia.RandomRotation(180.0, p=1.0),
        kornia.RandomResizedCrop((SIZE, SIZE), scale=AREA, cropping_mode="resample"),
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomVerticalFlip(p=0.5),
        *([kornia.ColorJitter(0.4, 0.4, p=0.8, **colour)] if channels == 3 else _grey_jitter()),
        *([kornia.RandomGrayscale(p=0.2)] if channels == 3 else []),
        kornia.RandomGaussianBlur((BLUR_TAPS, BLUR_TAPS), BLUR_SIGMA, border_type="replicate", p=0.5),
        kornia.Normalize(MEAN, STD),
    )

    @torch.no_grad()
    def work() -> None:
        for batch in batches:
            scaled = batch.float() / 255.0
            for _ in range(VIEWS):
                transform(scaled)

    return work


def _grey_jitter() -> list[nn.Module]:
    """Return brightness and contrast by themselves: its ColorJitter takes three bands only."""
    return [kornia.RandomBrightness((0.6, 1.4), p=0.8), kornia.RandomContrast((0.6, 1.4), p=0.8)]


if __name__ == "__main__":
    main()
