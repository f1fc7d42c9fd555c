"""Binary weights without latent weights: the parameters are the signs, and an optimizer flips them."""

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.straight_through import clipped_sign, sign


class LatentFree(Binarizer):
    """`y = sign(x) (*) W`, where W itself is -1 or +1 and starts as the signs of the initial weights.

    Gradient of the inputs: `g * 1[|x| <= 1]`; of the weights: `g`, without estimator, scale or clip. The optimizer Bop
    turns it into flips. There is no scale, so a norm must follow.

    Source: Helwegen et al. 2019, arXiv 1906.02107.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.LatentFree().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[-1.,  1.,  1.,  1.]]), scale=tensor(1.))
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True
    flips = True

    @override
    @torch.no_grad()
    def setup(self, weight: Tensor) -> None:
        self.fit(weight)

    @override
    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        weight.copy_(sign(weight))

    @override
    def input(self, x: Tensor) -> Tensor:
        return clipped_sign(x)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(sign(weight), weight.new_ones(()))  # Averaged weights are no longer signs.

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(()))
