"""A function whose backward pass is another formula than its derivative: the straight-through estimator."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, value: Callable[[Tensor], Tensor], gradient: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.gradient = gradient
        return value(x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return ctx.gradient(outer, x), None, None


def straight_through(
    x: Tensor, value: Callable[[Tensor], Tensor], gradient: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """`value(x)`, whose gradient is `gradient(g, x)` for a gradient `g` of the loss by it.

    Args:
        x: Any shape.
        value: The forward, a new tensor of the shape of `x`.
        gradient: The backward, from `g` and `x`; it must not write to either, for others may read them.

    Source: Bengio et al. 2013, arXiv 1308.3432.
    """
    return _StraightThrough.apply(x, value, gradient)
