"""Signs times a learned gain of each filter, as one operand, so that the gain costs no pass over the output."""

from typing import Any

import torch
from torch import Tensor

from xnorlit.binarize.latent import by_filters, compute_dtype
from xnorlit.binarize.sign import clip_gradient, sign


class _GainedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, gain: Tensor) -> Tensor:
        gains = gain.view(-1, *(1,) * (weight.ndim - 1))
        ctx.save_for_backward(weight, gains)
        return by_filters(lambda weight, gain: sign(weight).mul_(gain), compute_dtype(weight), weight, gains)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        weight, gains = ctx.saved_tensors
        sums = []

        def formula(weight: Tensor, gain: Tensor, outer: Tensor) -> Tensor:
            inner = sign(weight).mul_(outer)
            sums.append(inner.sum(dim=tuple(range(1, weight.ndim))))
            return clip_gradient(outer.to(weight.dtype), weight, out=inner).mul_(gain)

        gradient = by_filters(formula, weight.dtype, weight, gains, outer)
        return gradient, torch.cat(sums)


def gained_sign(weight: Tensor, gain: Tensor) -> Tensor:
    """`gain_o * sign(W)`, with the gradients `dW = g gain_o 1[|W| <= 1]` and `dgain_o = sum_o g sign(W)`.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        gain: `(O,)`, of either sign.
    """
    return _GainedSign.apply(weight, gain)
