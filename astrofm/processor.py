"""What the processor, and the GPU, of this machine can do."""

from __future__ import annotations

__all__ = ["has_bfloat16", "precision_on"]

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from astrofm.optimizer import Precision

BFLOAT16 = ("avx512_bf16", "amx_bf16", "avx10_1", "avx_ne_convert", "bf16", "sve_bf16")
"""Names, in torch's list of capabilities, of instructions for bfloat16 on x86 and on ARM."""


def has_bfloat16() -> bool | None:
    """Return whether the processor computes in bfloat16; None where torch cannot tell.

    Without such instructions convolutions in bfloat16 were seen to take ten times as long as in float32.
    """
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch has it from 2.11 on
    capabilities = {} if ask is None else ask()
    return any(capabilities.get(name, False) for name in BFLOAT16) if capabilities else None


def precision_on(device: str, precision: Precision | Literal["auto"]) -> Precision:
    """Return the precision asked for; for ``auto`` bfloat16 where the device is known to compute in it, else float32.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: As a recipe has it.
    """
    if precision != "auto":
        return precision
    if device == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = device == "cpu" and has_bfloat16() is True
    return "bf16-mixed" if has else "32-true"
