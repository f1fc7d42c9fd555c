"""The error decay estimator: a gradient of the sign that starts as the identity and narrows during training."""

import math

import torch
from torch import Tensor

from xnorlit.binarize.straight_through import scheduled_sign


def temperature(epoch: int, epochs: int, low: float = 1e-3, high: float = 1e1) -> float:
    """`t = low * (high / low)^(epoch / epochs)`: from `low` to `high` in equal steps of the logarithm.

    Args:
        epoch: Current epoch, counted from 0.
        epochs: Epochs of the whole training.
        low: Temperature in the first epoch; 1e-3 in the released CIFAR trainer. Up to 0.1 the gradient is the identity
            over the range of a batch norm's output.
        high: Temperature that the last epoch nearly reaches.
    """
    return low * 10 ** (epoch / epochs * math.log10(high / low))


def ede_gradient(outer: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """`outer * k t (1 - tanh^2(t x))`, `k = max(1/t, 1)`, the derivative of `k tanh(t x)`; a new tensor.

    Args:
        outer: Gradient with respect to the sign.
        x: Input of the sign, in the shape of `outer`.
        t: The temperature, one number; see `temperature`.
    """
    return ede_curve(outer, x, t).mul_(ede_height(t))


def ede_curve(outer: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """`outer * (1 - tanh^2(t x)) / 4`, a new tensor. Times `ede_height`, it is the estimator's gradient.

    Args:
        outer: Gradient with respect to the sign.
        x: Input of the sign, in the shape of `outer`.
        t: Temperatures that broadcast to the shape of `x`.
    """
    # It equals s (1 - s) with the logistic function s(2tx), which takes a CPU a quarter of the time.
    curve = torch.mul(x, 2 * t).sigmoid_()
    return torch.ops.aten.sigmoid_backward.grad_input(outer.to(x.dtype), curve, grad_input=curve)


def ede_height(t: Tensor) -> Tensor:
    """`4 k t`, `k = max(1/t, 1)`."""
    return 4 * t.clamp_min(1)


def ede_sign(x: Tensor, t: Tensor) -> Tensor:
    """`sign(x)`, whose gradient is `g * k t (1 - tanh^2(t x))`, `k = max(1/t, 1)`.

    Args:
        x: Any shape.
        t: The temperature, one number; see `temperature`.

    Source: Qin et al. 2020, arXiv 1909.10788, section 3.
    """
    return scheduled_sign(x, t, ede_gradient)
