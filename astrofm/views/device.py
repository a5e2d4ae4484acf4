"""Bring batches to a GPU, and make their views there, while it computes."""

from __future__ import annotations

__all__ = ["MakeViews", "Sender", "SentBatch"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from threading import Lock

import torch
from torch import Tensor

from astrofm.data.batch import Batch, Share
from astrofm.views.base import Views

MakeViews = Callable[[Batch, int, torch.device], Views]
"""From (batch, step, device) to views, as :class:`astrofm.views.pipeline.ViewPipeline` makes them."""


@dataclass(frozen=True)
class SentBatch(Batch):
    """A batch on its way to a device.

    Attributes:
        views: Its views, if they are made ahead.
        is_there: Reached on the stream of the sender when all of it is on the device.
    """

    views: Views | None = None
    is_there: torch.cuda.Event | None = None


class Sender:
    """Copies the pixels of batches to a device beside its work; on the CPU there is nothing to do.

    On a GPU the pixels go through pinned memory on a stream of their own: :meth:`send` is called in the thread that
    makes the batches, :meth:`receive` where the batch is used. Views that are made in that thread fill the gaps in
    which the GPU would wait for the end of one step and the begin of the next.

    Args:
        device: Where the pixels are needed.
        make_views: Makes the views of a batch on the way; None: whoever uses the batch makes them.

    Attributes:
        lock: Held while a batch is sent; who holds it has the device to itself.
    """

    def __init__(self, device: torch.device | str, make_views: MakeViews | None = None) -> None:
        self._device = torch.device(device)
        self._stream = _stream(self._device)
        self._make_views = make_views
        self.lock = Lock()

    def send(self, batch: Batch, step: int) -> Batch:
        """Return the batch with its pixels on their way to the device.

        Args:
            batch: On the CPU.
            step: Optimiser steps taken when it is used.
        """
        if self._stream is None:
            return batch
        with self.lock, torch.cuda.stream(self._stream):
            sent = replace(batch, shares=tuple(self._sent(share) for share in batch.shares))
            views = None if self._make_views is None else self._make_views(sent, step, self._device)
            is_there = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves its constructor untyped
            is_there.record()
        return SentBatch(sent.shares, sent.row_ids, sent.first, sent.global_size, sent.labels, views, is_there)

    def receive(self, batch: Batch) -> Batch:
        """Return a sent batch for use on the current stream, which waits for it; the CPU does not."""
        if isinstance(batch, SentBatch) and batch.is_there is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(batch.is_there)
            for tensor in _tensors(batch):
                # Else the memory could be given to the next batch while this one is still computed on.
                tensor.record_stream(stream)
        return batch

    def _sent(self, share: Share) -> Share:
        """Copy the pixels without waiting; the pinned memory is kept by torch until the copy is done."""
        images, mask = (
            None if pixels is None else torch.as_tensor(pixels).pin_memory().to(self._device, non_blocking=True)
            for pixels in (share.images, share.mask)
        )
        assert images is not None
        return replace(share, images=images, mask=mask)


def _tensors(batch: SentBatch) -> Iterator[Tensor]:
    """Yield what of a batch lies on the device."""
    for share in batch.shares:
        yield from (pixels for pixels in (share.images, share.mask) if isinstance(pixels, Tensor))
    if batch.views is not None:
        yield from (*batch.views.images, batch.views.row_ids, *batch.views.labels.values())


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves its constructor untyped
