"""Bi-Real Net: a closer gradient of the sign, and real shortcuts around the binary layers."""

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bwn import alpha, scaled_sign
from xnorlit.binarize.straight_through import clip_gradient, quadratic_sign, sign


class _PlainGradient(torch.autograd.Function):
    """Forward: the values of another tensor. Backward: the gradient of `clip(W, -1, 1)`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        return clip_gradient(outer.to(weight.dtype), weight), None


def plain_scaled_sign(weight: Tensor) -> Tensor:
    """`alpha_o * sign(W)`, `alpha_o = mean|W|`, with the gradient `g * 1[|W| <= 1]`, without alpha.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
    """
    return _PlainGradient.apply(weight, scaled_sign(weight.detach(), "ste"))


class BiReal(Binarizer):
    """`y = (sign(x) (*) sign(W)) * alpha_o + x`, `alpha_o = mean|W|`; the real `x` only if the layer keeps its shape.

    Gradient of the inputs: `g * max(0, 2 - 2|x|)`, the derivative of a piecewise quadratic approximation of the sign.
    The network initialises the latent weights. The release initialises all of them above 0, so every sign is +1.

    Source: Liu et al. 2018, arXiv 1808.00278, section 3; liuzechun/Bi-Real-net,
    pytorch_implementation/BiReal18_34/birealnet.py.

    Args:
        weight_gradient: `plain` for `g * 1[|W| <= 1]`, as in the authors' PyTorch release; `magnitude` for the same
            times alpha, taken as a constant, as in larq. Under Adam the constant cancels.
        shortcut: Whether the real input is added to the output if both have the same shape: in AlexNet, around conv4
            and fc7. The next layer then reads real sums, so the network is packed as a graph.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.BiReal().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[-1.,  1.,  1.,  1.]]), scale=tensor(1.))
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True

    def __init__(self, weight_gradient: Literal["plain", "magnitude"] = "plain", shortcut: bool = True) -> None:
        super().__init__()
        self.weight_gradient = weight_gradient
        self.shortcut = shortcut

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return plain_scaled_sign(weight) if self.weight_gradient == "plain" else scaled_sign(weight, "ste")

    @override
    def input(self, x: Tensor) -> Tensor:
        return quadratic_sign(x)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(sign(weight), alpha(weight))

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(()))
