"""Signs times a learned gain per filter. The gain is part of the weights, so it costs no pass over the output."""

from typing import Any

import torch
from torch import Tensor

from xnorlit.binarize.channels import over_filters
from xnorlit.binarize.latent import by_filters, by_filters_with, compute_dtype
from xnorlit.binarize.standard import filter_dims
from xnorlit.binarize.straight_through import clip_gradient, sign


class _GainedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, gain: Tensor) -> Tensor:
        gains = over_filters(gain, weight)
        ctx.save_for_backward(weight, gains)
        return by_filters(lambda weight, gain: sign(weight).mul_(gain), compute_dtype(weight), weight, gains)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        weight, gains = ctx.saved_tensors

        def formula(weight: Tensor, gain: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
            inner = sign(weight).mul_(outer)
            of_gain = inner.sum(dim=filter_dims(weight))
            return clip_gradient(outer.to(weight.dtype), weight, out=inner).mul_(gain), of_gain

        gradient, of_gain = by_filters_with(formula, weight.dtype, weight, gains, outer)
        return gradient, of_gain


def gained_sign(weight: Tensor, gain: Tensor) -> Tensor:
    """`gain_o * sign(W)`, with the gradients `dW = g gain_o 1[|W| <= 1]` and `dgain_o = sum_o g sign(W)`.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        gain: `(O,)`, of either sign.
    """
    return _GainedSign.apply(weight, gain)
