"""ReCU: latent weights in the tails of their distribution keep receiving gradients, and the scale is learned."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.autocast import without_autocast
from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.channels import over_filters
from xnorlit.binarize.latent import by_filters_with, by_samples, compute_dtype
from xnorlit.binarize.standard import centred, filter_dims, through_standardised
from xnorlit.binarize.straight_through import clip_gradient, sign, straight_through
from xnorlit.errors import UserError

EPS = 1e-5
"""Added to the variance of weights and of inputs."""


class _RectifiedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, gain: Tensor, tau: Tensor) -> Tensor:
        gains = over_filters(gain, weight)

        def formula(weight: Tensor, gain: Tensor) -> tuple[Tensor, ...]:
            values, mean, deviation = centred(weight, EPS)
            magnitude = values.abs().mean(dim=filter_dims(values), keepdim=True).div_(deviation)
            return sign(values).mul_(gain), mean, deviation, magnitude

        binary, means, deviations, magnitudes = by_filters_with(formula, compute_dtype(weight), weight, gains)
        # In units of 2 sqrt(2). Computed now, because the schedule may change tau in place before the backward pass.
        bound = -magnitudes.mean() * torch.log(2 - 2 * tau.to(weight.dtype))
        ctx.save_for_backward(weight, gains, means, deviations, bound)
        return binary

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        weight, gains, means, deviations, bound = ctx.saved_tensors
        bound = bound.clamp_min(torch.finfo(weight.dtype).tiny)

        def formula(weight: Tensor, gain: Tensor, mean: Tensor, deviation: Tensor, outer: Tensor) -> tuple[Tensor, ...]:
            values = (weight - mean).div_(deviation * bound)  # The bounds of the clip are now at 1.
            inner = sign(values).mul_(outer)
            of_gain = inner.sum(dim=filter_dims(weight))
            clip_gradient(outer.to(weight.dtype), values, out=inner)
            return through_standardised(inner, values, bound, 2 * math.sqrt(2) * gain / deviation), of_gain

        of_weight, of_gain = by_filters_with(formula, weight.dtype, weight, gains, means, deviations, outer)
        return of_weight, of_gain, None


def rectified_sign(weight: Tensor, gain: Tensor, tau: Tensor) -> Tensor:
    """`gain_o * sign(W - mean_o)`, with the gradient of `gain_o * clip(w, -Q, Q)`, `w = 2 sqrt(2) (W - mean_o) / s_o`.

    `s_o = sqrt(var_o + 1e-5)`. `Q = -mean|w| ln(2 - 2 tau)` is one number for the layer, taken as a constant. The
    gain's gradient is `sum_o g sign(W - mean_o)`.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        gain: `(O,)`.
        tau: From 0.5 (no gradient passes) to 1 (all gradients pass).
    """
    return _RectifiedSign.apply(weight, gain, tau)


def spread_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of `spread_sign` with respect to `x`."""
    return by_samples(_spread, x, gradient)


def _spread(x: Tensor, gradient: Tensor) -> Tensor:
    dims, n = tuple(range(1, x.ndim)), x.shape[1:].numel()
    exact = x.dtype if x.dtype == torch.float64 else torch.float32
    mean = x.mean(dim=dims, keepdim=True, dtype=exact)
    squares = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=exact).square()
    freedom = max(1, n - 1)
    rate = ((squares - n * mean.square()) / freedom).clamp_min_(0).add_(EPS).rsqrt_()  # 1 / s
    # h / s = 2/s max(0, 1 - |x|/s) g, minus the part through s: (x - mean) sum(h x) / s^3 / (n - 1).
    inner = x.abs().mul_((-2 * rate.square()).to(x.dtype)).add_((2 * rate).to(x.dtype)).clamp_min_(0).mul_(gradient)
    slope = (inner * x).sum(dim=dims, keepdim=True, dtype=exact) * rate.square() / freedom
    return inner.addcmul_(x, slope.to(x.dtype), value=-1).add_((slope * mean).to(x.dtype))


def spread_sign(x: Tensor) -> Tensor:
    """`sign(x)`, with the gradient of `f(x / s)`, `s = sqrt(var + 1e-5)` of each sample, `f' = max(0, 2 - 2|z|)`.

    The gradient also passes through the deviation.

    Args:
        x: `(N, ...)`.
    """
    return straight_through(x, sign, spread_gradient)  # Dividing by a deviation changes no sign.


class ReCU(Binarizer):
    """`y = (sign(x) (*) sign(W - mean_o)) * gain_o`, with learned gains that start in U(0, 1).

    The weights' gradient is that of a clip of the standardised weights (`rectified_sign`). Its bounds move outwards as
    tau rises with the epochs, `tau = A exp(e/E) + B` from tau_min to tau_max. The inputs' gradient is Bi-Real's for
    inputs divided by each sample's deviation (`spread_sign`). The release divides only in training, which changes no
    sign.

    Source: Xu et al. 2021, arXiv 2103.12369; z-hXu/ReCU, imagenet/modules/binarized_modules.py.

    Args:
        tau_min: tau in the first epoch, above 0.5.
        tau_max: tau after the last epoch, below 1.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.ReCU().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[-1.,  1.,  1.,  1.]]), scale=tensor(1.))
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True
    tau: Tensor

    def __init__(self, tau_min: float = 0.85, tau_max: float = 0.99) -> None:
        super().__init__()
        if not 0.5 < tau_min <= tau_max < 1:
            raise UserError(
                f"ReCU's tau_min is {tau_min} and tau_max {tau_max}. Expected 0.5 < tau_min <= tau_max < 1."
            )
        self.tau_min, self.tau_max = tau_min, tau_max

    @override
    def setup(self, weight: Tensor) -> None:
        self.gain = nn.Parameter(weight.new_empty(len(weight)).uniform_())
        self.register_buffer("tau", weight.new_tensor(self.tau_min))

    @override
    def on_epoch(self, epoch: int, epochs: int) -> None:
        rise = (math.exp(epoch / epochs) - 1) / (math.e - 1)
        self.tau.fill_(self.tau_min + (self.tau_max - self.tau_min) * rise)

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return rectified_sign(weight, self.gain, self.tau)

    @override
    def input(self, x: Tensor) -> Tensor:
        return spread_sign(x)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        with torch.no_grad(), without_autocast(weight.device):
            return Codes(rectified_sign(weight, torch.ones_like(self.gain), self.tau), self.gain.detach())

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(()))

    @override
    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        self.gain.copy_((weight * self.weight_codes(weight).values).flatten(1).mean(dim=1))
