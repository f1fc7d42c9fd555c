"""One-bit inputs that are 0 or 1, with binary weights: a dot product is an AND and two bit counts."""

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Codes
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.straight_through import clip_gradient, straight_through


def heaviside(x: Tensor) -> Tensor:
    """`1 where x > 0, else 0`, in the dtype of `x`."""
    return torch.gt(x, 0, out=torch.empty_like(x))


def clipped_heaviside(x: Tensor) -> Tensor:
    """`1[x > 0]` with the gradient `g * 1[|x| <= 1]`."""
    return straight_through(x, heaviside, clip_gradient)


class Heaviside(BWN):
    """`y = (1[x > 0] (*) sign(W)) * alpha_o`: XNOR-Net's layer with inputs {0, 1} in place of signs.

    Weights are as in `BWN`. The gradient of the inputs is `g * 1[|x| <= 1]`. A padded input has the code 0, so padding
    needs no third value.

    Source: larq, larq/quantizers.py, SteHeaviside.

    Args:
        scale: `alpha`, or `none` for the plain sign, see `BWN`.
        gradient: Gradient of the latent weights, see `BWN`.
        center: Subtract from the latent weights, after each step, their mean over the input channels.
        clip: Clamp the latent weights to [-1, 1] after each step.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.Heaviside().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[0., 0., 1., 1.]]), scale=tensor(1.))
    """

    input_bits = 1

    @override
    def input(self, x: Tensor) -> Tensor:
        return clipped_heaviside(x)

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(heaviside(x), x.new_ones(()))
