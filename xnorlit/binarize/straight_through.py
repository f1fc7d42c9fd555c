"""The sign without a zero, and straight-through estimators, whose backward pass is not the derivative."""

from collections.abc import Callable
from functools import partial
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
    """`value(x)` with the gradient `gradient(g, x)`, where `g` is the gradient of the loss by the result.

    Args:
        x: Any shape.
        value: The forward, a new tensor of the shape of `x`.
        gradient: The backward, from `g` and `x`; it must not write to either.

    Source: Bengio et al. 2013, arXiv 1308.3432.
    """
    return _StraightThrough.apply(x, value, gradient)


class _ScheduledSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, gradient: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        # A copy, because the schedule may change t in place before the backward pass.
        ctx.save_for_backward(x, t.clone())
        ctx.gradient = gradient
        return sign(x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        x, t = ctx.saved_tensors
        return ctx.gradient(outer, x, t.to(x.dtype)), None, None


def scheduled_sign(x: Tensor, t: Tensor, gradient: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """`sign(x)` with the gradient `gradient(g, x, t)`, where t is that of the forward pass.

    Args:
        x: Any shape.
        t: One number, which changes with the epochs.
        gradient: The backward, in the dtype of `x`; it must not write to `g` or `x`.
    """
    return _ScheduledSign.apply(x, t, gradient)


def sign(x: Tensor) -> Tensor:
    """`sign(x) = +1 where x >= 0, else -1`, in the dtype of `x`. Zero and minus zero give +1: a bit has no zero.

    `torch.sign` has a zero, and `copysign(1, x)` maps -0.0 to -1. NaN becomes -1, so a binary layer hides it. The two
    passes, the second in place, take a twentieth of the time of `torch.where` on a CPU.
    """
    ones = torch.ge(x, 0, out=torch.empty_like(x))
    return torch.add(-torch.ones((), dtype=x.dtype, device=x.device), ones, alpha=2, out=ones)


def clip_gradient(gradient: Tensor, x: Tensor, out: Tensor | None = None, end: float = 1.0) -> Tensor:
    """`gradient * 1[|x| <= end]`, in one pass: the derivative of `clip(x, -end, end)`, ends included.

    Args:
        gradient: Gradient with respect to the output, in the shape of `x`.
        x: The function's input.
        out: Output tensor; may be `gradient` itself if it is not needed any more.
        end: Bound of the clip.
    """
    # The kernel excludes its bounds, so they lie one representable step beyond the end.
    bound = end * (1 + torch.finfo(x.dtype).eps)
    out = torch.empty_like(x) if out is None else out
    return torch.ops.aten.hardtanh_backward.grad_input(gradient, x, -bound, bound, grad_input=out)


def clipped_sign(x: Tensor, end: float = 1.0) -> Tensor:
    """`sign(x)` with the gradient of `clip(x, -end, end)`: the clipped straight-through estimator.

    Args:
        x: Any shape.
        end: Bound of the clip.

    Source: Hubara et al. 2016, arXiv 1602.02830, section 1.3; Rastegari et al. 2016, arXiv 1603.05279, section 3.1.
    """
    return straight_through(x, sign, clip_gradient if end == 1 else partial(clip_gradient, end=end))


def random_sign(x: Tensor, bound: float = 1.0) -> Tensor:
    """`+1` with probability `clip((x / bound + 1) / 2, 0, 1)`, else -1; on average `clip(x / bound, -1, 1)`.

    Args:
        x: Any shape.
        bound: Magnitude from which the sign is certain, above 0.
    """
    noise = torch.empty_like(x).uniform_(-bound, bound)
    return sign(noise.add_(x))


def stochastic_sign(x: Tensor) -> Tensor:
    """`random_sign(x)` with the gradient of `clip(x, -1, 1)`.

    Source: Hubara et al. 2016, arXiv 1602.02830, sections 1.1 and 1.3.
    """
    return straight_through(x, random_sign, clip_gradient)


def quadratic_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """`gradient * max(0, 2 - 2|x|)`: the derivative of `clip(2x - x|x|, -1, 1)`."""
    # 1 - |x| where it is positive; the factor 2 comes last, in place.
    slope = x.abs().neg_().add_(1).clamp_min_(0)
    return slope.mul_(gradient).mul_(2)


def quadratic_sign(x: Tensor) -> Tensor:
    """`sign(x)` with the gradient of `clip(2x - x|x|, -1, 1)`: `g * max(0, 2 - 2|x|)`.

    Source: Liu et al. 2018, arXiv 1808.00278, section 3.
    """
    return straight_through(x, sign, quadratic_gradient)


def unit_gradient(outer: Tensor, x: Tensor) -> Tensor:
    """`outer * 1[0 <= x <= 1]`, in one pass: the derivative of `clip(x, 0, 1)`, ends included.

    Args:
        outer: Gradient with respect to the output, in the shape of `x`.
        x: The function's input.
    """
    # The kernel excludes its bounds, so they lie one representable step beyond.
    low, high = -torch.finfo(x.dtype).tiny, 1 + torch.finfo(x.dtype).eps
    return torch.ops.aten.hardtanh_backward.grad_input(outer, x, low, high, grad_input=torch.empty_like(x))
