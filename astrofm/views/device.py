"""Bring batches to a GPU while it computes."""

from __future__ import annotations

__all__ = ["Sender"]

from dataclasses import replace

import torch
from torch import Tensor

from astrofm.data.batch import Batch, Share


class Sender:
    """Copies the pixels of batches to a device beside its work; on the CPU there is nothing to do.

    On a GPU the pixels go through pinned memory on a stream of their own: :meth:`send` is called in the thread that
    makes the batches, :meth:`receive` where the batch is used.

    Args:
        device: Where the pixels are needed.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._stream = _stream(self._device)

    def send(self, batch: Batch) -> Batch:
        """Return the batch with its pixels on their way to the device."""
        if self._stream is None:
            return batch
        with torch.cuda.stream(self._stream):
            return replace(batch, shares=tuple(self._sent(share) for share in batch.shares))

    def receive(self, batch: Batch) -> Batch:
        """Return a sent batch for use on the current stream, which waits for the pixels; the CPU does not."""
        if self._stream is None:
            return batch
        stream = torch.cuda.current_stream(self._device)
        stream.wait_stream(self._stream)
        for share in batch.shares:
            for pixels in (share.images, share.mask):
                if isinstance(pixels, Tensor):
                    # Else the memory could be given to the next batch while this one is still computed on.
                    pixels.record_stream(stream)
        return batch

    def _sent(self, share: Share) -> Share:
        """Copy the pixels without waiting; the pinned memory is kept by torch until the copy is done."""
        images, mask = (
            None if pixels is None else torch.as_tensor(pixels).pin_memory().to(self._device, non_blocking=True)
            for pixels in (share.images, share.mask)
        )
        assert images is not None
        return replace(share, images=images, mask=mask)


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves its constructor untyped
