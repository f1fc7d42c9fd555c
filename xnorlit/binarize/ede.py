"""The error decay estimator: a gradient of the sign that begins as the identity and narrows to the sign's own."""

import math

import torch
from torch import Tensor

from xnorlit.binarize.straight_through import scheduled_sign


def temperature(epoch: int, epochs: int, low: float = 1e-3, high: float = 1e1) -> float:
    """`t = low * (high / low)^(epoch / epochs)`: evenly through the powers of ten, from `low` on to `high`.

    Args:
        epoch: From 0.
        epochs: Of the whole training.
        low: 1e-3 as in the released CIFAR trainer. Up to a tenth all values are the identity over a batch norm's range.
        high: Where the last epoch nearly is.
    """
    return low * 10 ** (epoch / epochs * math.log10(high / low))


def ede_gradient(outer: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """`outer * k t (1 - tanh^2(t x))`, `k = max(1/t, 1)`, the derivative of `k tanh(t x)`; a new tensor.

    Args:
        outer: Gradient with respect to the sign.
        x: What the sign was taken of, the shape of `outer`.
        t: One number, see `temperature`.
    """
    return ede_curve(outer, x, t).mul_(ede_height(t))


def ede_curve(outer: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """`outer * (1 - tanh^2(t x)) / 4`, a new tensor, which times `ede_height` is the estimator's gradient.

    Args:
        outer: Gradient with respect to the sign.
        x: What the sign was taken of, the shape of `outer`.
        t: Numbers that are broadcast to the shape of `x`.
    """
    # It is s (1 - s) with the logistic s(2tx), for which a CPU needs a fourth of the time.
    curve = torch.mul(x, 2 * t).sigmoid_()
    return torch.ops.aten.sigmoid_backward.grad_input(outer.to(x.dtype), curve, grad_input=curve)


def ede_height(t: Tensor) -> Tensor:
    """`4 k t`, `k = max(1/t, 1)`."""
    return 4 * t.clamp_min(1)


def ede_sign(x: Tensor, t: Tensor) -> Tensor:
    """`sign(x)`, whose gradient is `g * k t (1 - tanh^2(t x))`, `k = max(1/t, 1)`.

    Args:
        x: Any shape.
        t: One number, see `temperature`.

    Source: Qin et al. 2020, arXiv 1909.10788, section 3.
    """
    return scheduled_sign(x, t, ede_gradient)
