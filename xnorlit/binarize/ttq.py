"""Trained ternary quantization: weights -Wn, 0 or +Wp, and the two scales are learned."""

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.latent import by_filters, compute_dtype
from xnorlit.binarize.nearest import nearest_scale
from xnorlit.errors import UserError

SMALLEST = 1e-4
"""Smallest scale after an optimizer step. At 0 its latent weights would receive no gradient."""


def _parts(weight: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    positive = torch.gt(weight, threshold, out=torch.empty_like(weight))
    return positive, torch.lt(weight, -threshold, out=torch.empty_like(weight))


class _TrainedTernary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, plus: Tensor, minus: Tensor, share: float) -> Tensor:
        threshold = share * torch.linalg.vector_norm(weight, torch.inf)
        ctx.save_for_backward(weight, plus, minus, threshold)

        def formula(weight: Tensor) -> Tensor:
            positive, negative = _parts(weight, threshold)
            return positive.mul_(plus).sub_(negative.mul_(minus))

        return by_filters(formula, compute_dtype(weight), weight)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        weight, plus, minus, threshold = ctx.saved_tensors
        sums = []

        def formula(weight: Tensor, outer: Tensor) -> Tensor:
            outer = outer.to(weight.dtype)
            positive, negative = (part.mul_(outer) for part in _parts(weight, threshold))
            sums.append(torch.stack([positive.sum(), -negative.sum()]))
            return positive.mul_(plus - 1).add_(negative.mul_(minus - 1)).add_(outer)

        gradient = by_filters(formula, weight.dtype, weight, outer)
        of_plus, of_minus = torch.stack(sums).sum(dim=0).unbind()
        return gradient, of_plus, of_minus, None


def trained_ternary(weight: Tensor, plus: Tensor, minus: Tensor, share: float = 0.05) -> Tensor:
    """`+Wp where W > D, -Wn where W < -D, else 0`, with `D = share * max|W|`, which is not differentiated.

    With `g` the gradient of the loss by this function's output: `dWp = sum of g over W > D`,
    `dWn = -(sum of g over W < -D)`, and `dW = g` times `Wp`, `1` or `Wn` for positive, zero and negative codes.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        plus: Wp, one number.
        minus: Wn, one number.
        share: D divided by the largest magnitude in the layer.
    """
    return _TrainedTernary.apply(weight, plus, minus, share)


class TTQ(Binarizer):
    """`weight(W) = {+Wp if W > D, -Wn if W < -D, else 0}`, `D = share * max|W|`; inputs stay real (see `Float`).

    Each layer learns one Wp and one Wn, which start at 1. `dW = g` times Wp, 1 or Wn. The paper prints the gradient of
    Wn without its minus sign. The released code has the sign, as the derivative does, and so does this class. Neither
    paper nor code keeps the scales positive. Here they are at least 1e-4 after each step.

    Source: Zhu et al. 2017, arXiv 1612.01064, sections 3 and 4; czhu95/ternarynet, examples/Ternary-Net/ternary.py.

    Args:
        share: D divided by the largest magnitude in the layer; 0.05 in the paper's networks.
        init: Initial Wp and Wn; 1 in the released code.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.TTQ().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 1., -1.,  1., -1.]]), scale=tensor(1.))
    """

    weight_bits = 2
    cannot_pack = "its weights have two scales, one for +1 and one for -1, but a packed sum has only one; use TWN"
    cannot_pack_weights = cannot_pack

    def __init__(self, share: float = 0.05, init: float = 1.0) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise UserError(f"TTQ's share is {share}. Expected a share of the largest magnitude, from 0 to below 1.")
        if not SMALLEST <= init < float("inf"):
            raise UserError(f"TTQ's init is {init}. Expected a scale from {SMALLEST}, such as 1.")
        self.share = share
        self.init = init

    @override
    def setup(self, weight: Tensor) -> None:
        self.plus = nn.Parameter(weight.new_full((), self.init))
        self.minus = nn.Parameter(weight.new_full((), self.init))

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return trained_ternary(weight, self.plus, self.minus, self.share)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        # Real values, because two scales have no common unit.
        with torch.no_grad():
            return Codes(self.weight(weight), weight.new_ones(()))

    @property
    @override
    def exact(self) -> bool:
        return False

    @override
    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        threshold = self.share * weight.abs().max()
        for scale, side in ((self.plus, weight), (self.minus, -weight)):
            scale.copy_(nearest_scale(side, (side > threshold).to(side.dtype)).clamp(min=SMALLEST))

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        self.plus.clamp_(min=SMALLEST)
        self.minus.clamp_(min=SMALLEST)
