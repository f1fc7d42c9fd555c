"""ReCU: latent weights in the tails of their distribution come back to life, and a learned scale."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.latent import BLOCK, by_filters, compute_dtype
from xnorlit.binarize.sign import clip_gradient, sign
from xnorlit.binarize.standard import standardised, through_standardised
from xnorlit.errors import UserError

EPS = 1e-5
"""Added to the variance of weights and of inputs."""


def _centred_sign(weight: Tensor, gain: Tensor) -> Tensor:
    return sign(weight - weight.mean(dim=tuple(range(1, weight.ndim)), keepdim=True)).mul_(gain)


class _RectifiedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, gain: Tensor, tau: Tensor) -> Tensor:
        gains = gain.view(-1, *(1,) * (weight.ndim - 1))
        # The schedule moves tau in place, perhaps between the two passes of a step.
        ctx.save_for_backward(weight, gains, tau.clone())
        return by_filters(_centred_sign, compute_dtype(weight), weight, gains)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        weight, gains, tau = ctx.saved_tensors
        parts = weight.split(max(1, BLOCK // weight[0].numel()))
        mean = torch.stack([standardised(part, EPS)[0].abs().sum() for part in parts]).sum() / weight.numel()
        bound = -mean * torch.log(2 - 2 * tau.to(weight.dtype))
        sums = []

        def formula(weight: Tensor, gain: Tensor, outer: Tensor) -> Tensor:
            values, deviation = standardised(weight, EPS)
            inner = sign(values).mul_(outer)
            sums.append(inner.sum(dim=tuple(range(1, weight.ndim))))
            clip_gradient(outer.to(weight.dtype), values / bound, out=inner).mul_(2 * math.sqrt(2) * gain)
            return through_standardised(inner, values, deviation)

        gradient = by_filters(formula, weight.dtype, weight, gains, outer)
        return gradient, torch.cat(sums), None


def rectified_sign(weight: Tensor, gain: Tensor, tau: Tensor) -> Tensor:
    """`gain_o * sign(W - mean_o)`, with the gradient of `gain_o * clip(w, -Q, Q)`, `w = 2 sqrt(2) (W - mean_o) / s_o`.

    `s_o = sqrt(var_o + 1e-5)`, and `Q = -mean|w| ln(2 - 2 tau)`, a constant, is one number for the layer. The gain has
    the gradient of what it multiplies, the sign.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        gain: `(O,)`.
        tau: From 0.5, where nothing passes, up to 1, where everything does.
    """
    return _RectifiedSign.apply(weight, gain, tau)


class _SpreadSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return sign(x)  # A division by a deviation changes no sign.

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        dims, freedom = tuple(range(1, x.ndim)), max(1, x[0].numel() - 1)
        exact = x.dtype if x.dtype == torch.float64 else torch.float32
        centred = x - x.mean(dim=dims, keepdim=True, dtype=exact).to(x.dtype)
        variance = (centred * centred).sum(dim=dims, keepdim=True, dtype=exact) / freedom
        per_deviation = (variance + EPS).rsqrt().to(x.dtype)
        inner = x.abs().mul_(-per_deviation).add_(1).clamp_min_(0).mul_(outer)
        slope = (inner * x).sum(dim=dims, keepdim=True, dtype=exact) / freedom
        slope = slope.to(x.dtype) * per_deviation.square()
        return inner.addcmul_(centred, slope, value=-1).mul_(2 * per_deviation)


def spread_sign(x: Tensor) -> Tensor:
    """`sign(x)`, with the gradient of `f(x / s)`, `s = sqrt(var + 1e-5)` of each sample, `f' = max(0, 2 - 2|z|)`.

    The deviation is differentiated as well.

    Args:
        x: `(N, ...)`.
    """
    return _SpreadSign.apply(x)


class ReCU(Binarizer):
    """`y = (sign(x) (*) sign(W - mean_o)) * gain_o`, gains learned from U(0, 1).

    The weights' gradient is that of a clip of the standardised weights (`rectified_sign`), whose bounds move outwards
    as tau rises by the epoch, `tau = A exp(e/E) + B` from tau_min to tau_max; the inputs' is Bi-Real's for inputs
    divided by each sample's deviation (`spread_sign`), which the release does in training alone, and which moves no
    sign.

    Source: Xu et al. 2021, arXiv 2103.12369, sections 3.2 to 3.4; z-hXu/ReCU, imagenet/modules/binarized_modules.py.

    Args:
        tau_min: tau in the first epoch, above 0.5.
        tau_max: tau behind the last epoch, below 1.
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
        ones = weight.new_ones(len(weight), *(1,) * (weight.ndim - 1))
        return Codes(by_filters(_centred_sign, weight.dtype, weight, ones), self.gain.detach())

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(()))

    @override
    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        self.gain.copy_((weight * self.weight_codes(weight).values).flatten(1).mean(dim=1))
