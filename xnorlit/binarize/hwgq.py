"""Half-wave Gaussian quantization: two-bit inputs with levels for the output of a batch norm and a ReLU."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bwn import alpha, scaled_sign
from xnorlit.binarize.duo import exceeded
from xnorlit.binarize.straight_through import sign, straight_through

STEP = 0.538
THRESHOLDS = (0.0, 1.5 * STEP, 2.5 * STEP)
"""An input's level is the number of these that it exceeds: 0, so that any positive value has level 1 or more, and the
midpoints between the levels above."""
TOP = 3 * STEP


def levels(x: Tensor) -> Tensor:
    """0, 1, 2 or 3, in the dtype of `x`."""
    return exceeded(x, THRESHOLDS)


def half_wave_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """`gradient * 1[0 < x <= 1.614]`."""
    # The kernel excludes its bounds: 0, as it should, and the number one representable step above the top.
    return torch.ops.aten.hardtanh_backward(gradient, x, 0, TOP * (1 + torch.finfo(x.dtype).eps))


def half_wave(x: Tensor) -> Tensor:
    """`0.538 * levels(x)`, with the gradient of a ReLU clipped at the top level: `g * 1[0 < x <= 1.614]`."""
    return straight_through(x, lambda x: levels(x).mul_(STEP), half_wave_gradient)


class _Through(torch.autograd.Function):
    """Forward: the values of one tensor. Backward: the gradient passes to another."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, values: Tensor) -> Tensor:
        ctx.dtype = weight.dtype
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return outer.to(ctx.dtype), None


class HWGQ(Binarizer):
    """`weight(W) = alpha_o sign(W)`, `alpha_o = mean|W|`; `input(x) = 0.538 (1[x > 0] + 1[x > 0.807] + 1[x > 1.345])`.

    Gradient of the inputs: `g * 1[0 < x <= 1.614]`, that of a ReLU clipped at the top level; of the weights: `g`, as in
    the release. The levels are the best fit to the positive half of a normal distribution, so a batch norm must precede
    the layer. Any positive value has level 1 or more.

    Source: Cai et al. 2017, arXiv 1702.00953, section 4; zhaoweicai/hwgq, src/caffe/layers/quant_layer.cpp and
    examples/imagenet/alex-hwgq-3ne-clip-poly-320k.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.HWGQ().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[0., 0., 1., 3.]]), scale=tensor(0.5380))
    """

    weight_bits = 1
    input_bits = 2

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return _Through.apply(weight, scaled_sign(weight.detach(), "ste"))

    @override
    def input(self, x: Tensor) -> Tensor:
        return half_wave(x)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(sign(weight), alpha(weight))

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(levels(x), x.new_tensor(STEP))
