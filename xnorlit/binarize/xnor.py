"""XNOR-Net: one bit per weight and one per input, so a dot product is an XNOR and a bit count."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Codes, Window
from xnorlit.binarize.bwn import BWN, WeightGradient, WeightScale
from xnorlit.binarize.straight_through import clipped_sign, sign


class _MeanMagnitude(torch.autograd.Function):
    """`A = mean of |x| over the channels`, `(N, 1, ...)`, with a gradient in the memory format of `x`.

    Autograd's own gradient would lose channels-last strides. The backward pass of the batch norm in front would then
    take four times as long, and so would the passes after it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.abs().mean(dim=1, keepdim=True)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return x.sgn().mul_(outer / x.shape[1])


def input_scale(x: Tensor, window: Window | None) -> Tensor:
    """`K = A * box`, `A = mean of |x| over the channels`: the scale of the inputs at each position of the window.

    `box` is a `kh x kw` filter of `1 / (kh kw)` with the convolution's stride and padding; padding is 0 in A. K has the
    shape `(N, 1, H', W')`. For a linear layer the window is the whole input, and `K = A`, shape `(N, 1)`.

    Args:
        x: The layer's input before its sign, `(N, I, H, W)` or `(N, I)`.
        window: Window of the convolution; `None` for a linear layer.

    Source: Rastegari et al. 2016, arXiv 1603.05279, section 3.2.
    """
    mean = _MeanMagnitude.apply(x)
    if window is None:
        return mean
    height, width = window.padding
    return F.avg_pool2d(F.pad(mean, (width, width, height, height)), window.kernel, window.stride)


class XNOR(BWN):
    """`y = (sign(x) (*) sign(W)) * alpha_o`, and times K on request: XNOR-Net's layer.

    Weights are as in `BWN`. Inputs are `sign(x)` with `sign(0) = +1`; their gradient is `g * 1[|x| <= 1]`. Padding adds
    zeros after the sign, so it adds nothing to the dot product.

    Source: Rastegari et al. 2016, arXiv 1603.05279, sections 3.2 and 3.3.

    Args:
        gradient: Gradient of the latent weights, see `scaled_sign`: `corrected` (the true derivative), `paper`
            (equations 11-12) or `ste` (alpha as a constant).
        center: Subtract from the latent weights, after each step, their mean over the input channels.
        clip: Clamp the latent weights to [-1, 1] after each step.
        input_scale: `K` multiplies each output position by the mean magnitude of its inputs, as in section 3.2, and
            passes gradients; `none` as in all released networks.
        scale: `alpha`, or `none` for the plain sign of the weights, for which the three gradients are equal.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.XNOR().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[-1.,  1.,  1.,  1.]]), scale=tensor(1.))
    """

    input_bits = 1
    signed_input = True

    def __init__(
        self,
        gradient: WeightGradient = "corrected",
        center: bool = True,
        clip: bool = True,
        input_scale: Literal["none", "K"] = "none",
        scale: WeightScale = "alpha",
    ) -> None:
        super().__init__(gradient, center, clip, scale)
        self.input_scale = input_scale

    @override
    def input(self, x: Tensor) -> Tensor:
        return clipped_sign(x)

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(()))

    @override
    def rescale(self, y: Tensor, x: Tensor, window: Window | None) -> Tensor:
        return y * input_scale(x, window).to(y.dtype) if self.input_scale == "K" else y
