"""PACT: inputs of a few bits between zero and a learned clipping value."""

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bits import REAL, checked
from xnorlit.binarize.dorefa import WeightGradient, quantised_weights, weight_codes
from xnorlit.binarize.straight_through import unit_gradient
from xnorlit.errors import UserError

SMALLEST = 1e-3
"""Smallest clipping value after an optimizer step, because inputs are divided by it."""


def levels(x: Tensor, top: Tensor, largest: int) -> Tensor:
    """`round(largest * clip(x / a, 0, 1))`, integers in the dtype of `x`; ties round to even."""
    return torch.mul(x, largest / top).clamp_(0, largest).round_()


class _ClippedLevels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, top: Tensor, largest: int) -> Tensor:
        ctx.save_for_backward(x, top)
        return levels(x, top, largest).mul_(top / largest)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        x, top = ctx.saved_tensors
        of_x = unit_gradient(outer, x / top)
        clipped = torch.ge(x, top, out=torch.empty_like(x)).mul_(outer)
        return of_x, clipped.sum(dtype=top.dtype), None


def clipped_levels(x: Tensor, top: Tensor, bits: int) -> Tensor:
    """`round(clip(x, 0, a) q / a) a / q`, `q = 2^bits - 1`, with a learned clipping value `a`.

    With `g` the gradient of the loss by this function's output, `dx = g * 1[0 <= x <= a]` and
    `da = sum of g over x >= a`. Rounding counts as the identity, and values clipped to `a` move with it.

    Args:
        x: Inputs, any shape.
        top: a, one number above zero.
        bits: 1 to 8.
    """
    return _ClippedLevels.apply(x, top, 2**bits - 1)


class PACT(Binarizer):
    """`input(x) = round(clip(x, 0, a) q / a) a / q`, `q = 2^k - 1`, with a learned a; weights as in `DoReFa`.

    `dx = g * 1[0 <= x <= a]`, `da = sum of g over x >= a`. Only inputs beyond a change it, up or down. The paper also
    decays a; set `model.learned_weight_decay` for that. After each optimizer step a is at least 1e-3.

    Source: Choi et al. 2018, arXiv 1805.06085, section 3; hpi-xnor/bitorch, bitorch/layers/pact.py.

    Args:
        weight_bits: Bits of a weight, 1 to 8, or 32 for real weights.
        input_bits: Bits of an input, 1 to 8.
        init: Initial a. bitorch starts at 10, which suits inputs without a batch norm. Behind a batch norm almost no
            value exceeds 10, so a would not learn, and two bits would use only two of their levels.
        weight_gradient: See `DoReFa`.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.PACT().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[0., 0., 1., 3.]]), scale=tensor(0.6667))
    """

    def __init__(
        self, weight_bits: int = 2, input_bits: int = 2, init: float = 2.0, weight_gradient: WeightGradient = "tanh"
    ) -> None:
        super().__init__()
        self.weight_bits = checked("weight_bits", weight_bits)
        self.input_bits = checked("input_bits", input_bits)
        if self.input_bits == REAL:
            raise UserError(
                "PACT's input_bits is 32, but PACT quantises inputs. Expected 1 to 8; for real inputs use DoReFa."
            )
        if not SMALLEST <= init < float("inf"):
            raise UserError(f"PACT's init is {init}. Expected a clipping value from {SMALLEST}, such as 2.")
        self.init = init
        self.weight_gradient: WeightGradient = weight_gradient

    @override
    def setup(self, weight: Tensor) -> None:
        self.top = nn.Parameter(weight.new_full((), self.init))

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return weight if self.weight_bits == REAL else quantised_weights(weight, self.weight_bits, self.weight_gradient)

    @override
    def input(self, x: Tensor) -> Tensor:
        return clipped_levels(x, self.top, self.input_bits)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return super().weight_codes(weight) if self.weight_bits == REAL else weight_codes(weight, self.weight_bits)

    @override
    def input_codes(self, x: Tensor) -> Codes:
        largest, top = 2**self.input_bits - 1, self.top.detach()
        return Codes(levels(x, top, largest), top / largest)

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        self.top.clamp_(min=SMALLEST)
