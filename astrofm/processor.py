"""What the processor of this machine can do."""

from __future__ import annotations

__all__ = ["has_bfloat16"]

import torch

BFLOAT16 = ("avx512_bf16", "amx_bf16", "avx10_1", "avx_ne_convert", "bf16", "sve_bf16")
"""Names, in torch's list of capabilities, of instructions for bfloat16 on x86 and on ARM."""


def has_bfloat16() -> bool:
    """Return whether the processor computes in bfloat16; True where torch cannot tell.

    Without such instructions convolutions in bfloat16 were seen to take ten times as long as in float32.
    """
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch has it from 2.11 on
    capabilities = {} if ask is None else ask()
    return not capabilities or any(capabilities.get(name, False) for name in BFLOAT16)
