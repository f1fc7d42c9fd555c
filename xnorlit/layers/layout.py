"""Gradients in the memory format of their feature maps.

torch's kernels for an average over whole maps and for every second pixel return their gradient as `(N, C, H, W)` in
memory, even if the maps are channels-last. The sums at shortcuts then carry that format back through the network. The
numbers are the same, but kernels that meet both formats are several times slower.
"""

from typing import Any

import torch
from torch import Tensor


class _InFormat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:  # type: ignore[override]
        return outer.contiguous(memory_format=torch.channels_last)


def in_format(x: Tensor) -> Tensor:
    """The same maps; if they are channels-last, their gradient becomes channels-last as well.

    Args:
        x: Feature maps, `(N, C, H, W)`.
    """
    if x.ndim != 4 or x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return x
    return _InFormat.apply(x)
