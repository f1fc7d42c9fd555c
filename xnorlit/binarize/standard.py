"""Standardise filters to mean 0 and deviation 1, forward and backward, in few passes."""

import torch
from torch import Tensor


def centred(weight: Tensor, eps: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """`W - mean_o`, a new tensor, with `mean_o` and `s_o = sqrt(var_o + eps)`, both `(O, 1, ...)`.

    The variance divides by n - 1. The deviation of a filter with equal weights is set to 1e-6.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        eps: Added to the variance.
    """
    dims = filter_dims(weight)
    mean = weight.mean(dim=dims, keepdim=True)
    values = weight - mean
    # torch's own variance takes twenty times as long on a CPU.
    variance = torch.linalg.vector_norm(values, dim=dims, keepdim=True).square_() / _freedom(weight)
    return values, mean, variance.add_(eps).sqrt_().clamp_min_(1e-6)


def through_standardised(inner: Tensor, values: Tensor, unit: Tensor, rate: Tensor) -> Tensor:
    """`dW = r_o (h - mean_o(h) - v sum_o(h v) / (n - 1))`, computed in place in `h`.

    Args:
        inner: h, the gradient with respect to the standardised weights v, up to a factor per filter.
        values: `v / unit`.
        unit: The unit, one number or `(O, 1, ...)`.
        rate: r, the factor missing in `inner`, divided by the deviation, `(O, 1, ...)`.
    """
    dims = filter_dims(inner)
    slope = (inner * values).sum(dim=dims, keepdim=True) * (unit.square() / _freedom(inner))
    inner.sub_(inner.mean(dim=dims, keepdim=True))
    return inner.addcmul_(values, slope, value=-1).mul_(rate)


def filter_dims(weight: Tensor) -> tuple[int, ...]:
    """All dimensions except the first."""
    return tuple(range(1, weight.ndim))


def _freedom(weight: Tensor) -> int:
    return max(1, weight[0].numel() - 1)
