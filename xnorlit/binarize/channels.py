"""One number per channel or filter: broadcast to a tensor, or summed from one."""

import torch
from torch import Tensor


def over_channels(values: Tensor, x: Tensor) -> Tensor:
    """`values` in the dtype of `x` and in the shape `(C, 1, ...)`, which broadcasts over the channels of `x`.

    Args:
        values: `(C,)`.
        x: `(N, C, ...)`.
    """
    return values.view(-1, *(1,) * (x.ndim - 2)).to(x.dtype)


def over_filters(values: Tensor, weight: Tensor) -> Tensor:
    """`values` in the shape `(O, 1, ...)`, which broadcasts over the filters of `weight`.

    Args:
        values: `(O,)`.
        weight: `(O, ...)`.
    """
    return values.view(-1, *(1,) * (weight.ndim - 1))


def per_channel(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`sum of x over all but its channels`, `(C,)`.

    Args:
        x: `(N, C, ...)`.
        dtype: Dtype of the sum.
    """
    return x.sum(dim=[dim for dim in range(x.ndim) if dim != 1], dtype=dtype)
