"""DoReFa-Net: any number of bits for weights, inputs and gradients."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bits import REAL, checked
from xnorlit.binarize.bwn import alpha
from xnorlit.binarize.latent import by_filters, compute_dtype
from xnorlit.binarize.straight_through import sign, straight_through, unit_gradient

WeightGradient = Literal["tanh", "maximum", "identity"]


def levels(bits: int) -> int:
    """`q = 2^k - 1`: the largest code of k unsigned bits."""
    return 2**bits - 1


def clipped_levels(x: Tensor, bits: int) -> Tensor:
    """`round(q clip(x, 0, 1)) / q`, with the gradient of the clip, ends included; ties round to even.

    With one bit the codes are {0, 1} and the threshold is 0.5, which itself becomes 0.
    """
    q = levels(bits)
    return straight_through(x, lambda x: x.clamp(0, 1).mul_(q).round_().div_(q), unit_gradient)


def weight_codes(weight: Tensor, bits: int) -> Codes:
    """Weights of k bits: for k = 1, signs times the layer's `E = mean|W|`; else odd integers from -q to q, over q.

    `c = round(q (tanh(W) / (2 max|tanh W|) + 1/2))` is unsigned; the weight is `(2c - q) / q`.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        bits: k, 1 to 8.
    """
    weight = weight.detach()  # Rounding has no derivative.
    formula, scale = _formula(weight, bits)
    return Codes(by_filters(formula, weight.dtype, weight), scale)


def _formula(weight: Tensor, bits: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A function that computes the codes of some filters as a new tensor, and the scale."""
    if bits == 1:
        return sign, alpha(weight).mean()
    q = levels(bits)
    slope = q / 2 / _largest(weight)
    return lambda some: some.tanh().mul_(slope).add_(q / 2).round_().mul_(2).sub_(q), weight.new_tensor(1 / q)


def _largest(weight: Tensor) -> Tensor:
    """`max|tanh W|`; for zero weights a tiny number instead, because it is a divisor."""
    low, high = weight.aminmax()
    return torch.maximum(-low, high).tanh().clamp_min(torch.finfo(weight.dtype).tiny)


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int, gradient: WeightGradient) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.gradient = "identity" if bits == 1 else gradient
        codes, scale = _formula(weight, bits)
        return by_filters(lambda some: codes(some).mul_(scale), compute_dtype(weight), weight)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        if ctx.gradient == "identity":
            return outer.to(weight.dtype), None, None
        largest = _largest(weight)

        def through(weight: Tensor, outer: Tensor) -> Tensor:
            slope = weight.tanh().square_().neg_().add_(1)
            return slope.mul_(outer).div_(largest)

        inner = by_filters(through, weight.dtype, weight, outer)
        if ctx.gradient == "maximum":
            # The derivative of tanh(W)/m by m is -tanh(W)/m^2; its sum goes to the weight of the largest magnitude.
            summed = (weight.tanh() * outer).sum() / largest.square()
            place = torch.unravel_index(weight.abs().argmax(), weight.shape)
            inner[place] -= summed * weight[place].sign() * (1 - largest.square())
        return inner, None, None


def quantised_weights(weight: Tensor, bits: int, gradient: WeightGradient = "tanh") -> Tensor:
    """The product of `weight_codes` and scale as a differentiable tensor; in autocast's dtype if autocast is on.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        bits: 1 to 8.
        gradient: Gradient for two bits or more, see `DoReFa`; for one bit it is `g` itself.
    """
    return _Weights.apply(weight, bits, gradient)


def quantised_gradient(g: Tensor, bits: int) -> Tensor:
    """`2m (round(q clip(g/(2m) + 1/2 + u, 0, 1)) / q - 1/2)`, `m = max|g|` of each sample, `u ~ U(-1/(2q), 1/(2q))`.

    The noise makes the rounding unbiased. q is odd, so 0 is not a level: it becomes `m/q` or `-m/q`. Behind a max pool,
    whose gradient is mostly 0, few bits therefore give mostly noise. A gradient that is 0 for a whole sample stays 0.

    Args:
        g: `(N, ...)`.
        bits: 1 to 8.
    """
    q = levels(bits)
    # bf16 itself has only eight bits.
    wide = g if g.dtype == torch.float64 else g.float()
    largest = wide.abs().amax(dim=tuple(range(1, g.ndim)), keepdim=True)
    unit = q / 2 / largest.clamp_min(1e-30)
    noise = torch.empty_like(wide).uniform_(-0.5, 0.5)
    codes = torch.addcmul(noise, wide, unit, out=noise).add_(q / 2).clamp_(0, q).round_()
    return codes.sub_(q / 2).mul_(2 / q * largest).to(g.dtype)


class _QuantisedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, bits: int) -> Tensor:
        ctx.bits = bits
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return quantised_gradient(outer, ctx.bits), None


class DoReFa(Binarizer):
    """`weight(W) = 2 round(q (tanh W / 2 max|tanh W| + 1/2)) / q - 1`, `input(x) = round(q clip(x, 0, 1)) / q`.

    Each operand has its own `q = 2^k - 1` for k bits. One-bit weights are `E sign(W)`, `E = mean|W|` of the whole
    layer. One-bit inputs are {0, 1} with the threshold 0.5. Gradient of the inputs: `g 1[0 <= x <= 1]`; of one-bit
    weights: `g`, with E as a constant and without a clip. The gradient of the layer's output is itself quantised
    stochastically, see `quantised_gradient`.

    Source: Zhou et al. 2016, arXiv 1606.06160, section 2; tensorpack, examples/DoReFa-Net/dorefa.py; larq,
    larq/quantizers.py.

    Args:
        weight_bits: Bits of a weight, 1 to 8, or 32 for real weights.
        input_bits: Bits of an input, 1 to 8, or 32 for real inputs (rectified, see `Float`).
        gradient_bits: Bits of the gradient of the layer's output, 1 to 8, or 32 for a real gradient.
        weight_gradient: Gradient of weights of two bits or more: `tanh` passes through the tanh with its maximum as a
            constant (as in larq), `maximum` also through the maximum (as in tensorpack), and `identity` passes `g` on
            (as in bitorch). The maximum's gradient falls on a single weight, and is as large as that of all others
            together.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.DoReFa().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 1., -1.,  1., -1.]]), scale=tensor(0.5000))
    """

    def __init__(
        self,
        weight_bits: int = 1,
        input_bits: int = 2,
        gradient_bits: int = 6,
        weight_gradient: WeightGradient = "tanh",
    ) -> None:
        super().__init__()
        self.weight_bits = checked("weight_bits", weight_bits)
        self.input_bits = checked("input_bits", input_bits)
        self.gradient_bits = checked("gradient_bits", gradient_bits)
        self.weight_gradient: WeightGradient = weight_gradient

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return weight if self.weight_bits == REAL else quantised_weights(weight, self.weight_bits, self.weight_gradient)

    @override
    def input(self, x: Tensor) -> Tensor:
        return super().input(x) if self.input_bits == REAL else clipped_levels(x, self.input_bits)

    @override
    def output(self, y: Tensor) -> Tensor:
        return y if self.gradient_bits == REAL else _QuantisedGradient.apply(y, self.gradient_bits)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return super().weight_codes(weight) if self.weight_bits == REAL else weight_codes(weight, self.weight_bits)

    @override
    def input_codes(self, x: Tensor) -> Codes:
        if self.input_bits == REAL:
            return super().input_codes(x)
        q = levels(self.input_bits)
        return Codes(x.clamp(0, 1).mul_(q).round_(), x.new_tensor(1 / q))
