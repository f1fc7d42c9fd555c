"""Filters brought to mean 0 and deviation 1, and the gradient through that."""

from torch import Tensor


def standardised(weight: Tensor, eps: float = 0.0) -> tuple[Tensor, Tensor]:
    """`(W - mean_o) / s_o`, `s_o = sqrt(var_o + eps)`, a new tensor, and `s_o`, `(O, 1, ...)`.

    The variance divides by n - 1. A filter whose weights are all alike has a deviation of 1e-6.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        eps: Added to the variance.
    """
    dims = _filter_dims(weight)
    values = weight - weight.mean(dim=dims, keepdim=True)
    # torch's own variance is several times slower on a CPU.
    variance = (values * values).sum(dim=dims, keepdim=True) / _freedom(weight)
    deviation = variance.add_(eps).sqrt_().clamp_min_(1e-6)
    return values.div_(deviation), deviation


def through_standardised(inner: Tensor, values: Tensor, deviation: Tensor) -> Tensor:
    """`dW = (h - mean_o(h) - v sum_o(h v) / (n - 1)) / s_o`, in place of `h`.

    Args:
        inner: h, the gradient with respect to the standardised weights.
        values: v, the standardised weights.
        deviation: `s_o`.
    """
    dims = _filter_dims(inner)
    slope = (inner * values).sum(dim=dims, keepdim=True) / _freedom(inner)
    inner.sub_(inner.mean(dim=dims, keepdim=True))
    return inner.addcmul_(values, slope, value=-1).div_(deviation)


def _filter_dims(weight: Tensor) -> tuple[int, ...]:
    return tuple(range(1, weight.ndim))


def _freedom(weight: Tensor) -> int:
    return max(1, weight[0].numel() - 1)
