"""Binarized Neural Networks: signs for weights and inputs, without any scale."""

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.binary_connect import Rounding, bounded_sign
from xnorlit.binarize.straight_through import clipped_sign, sign, stochastic_sign
from xnorlit.errors import UserError


class BNN(Binarizer):
    """`y = sign(x) (*) sign(W)`. Stochastic on request: `+1` with probability `clip((z + 1)/2, 0, 1)`, else -1.

    Gradient of the inputs: `g * 1[|x| <= 1]`; of the weights: `g`, unmasked. After every optimizer step the latent
    weights are clamped to [-1, 1]. `clip` sets another bound than 1. Inference always uses deterministic signs. There
    is no scale, so sums are as large as the number of weights in a filter, and a norm must follow.

    Source: Hubara et al. 2016, arXiv 1602.02830, sections 1.1 to 1.4; MatthieuCourbariaux/BinaryNet,
    Train-time/binary_net.py.

    Args:
        weights: `deterministic` or `stochastic`.
        inputs: `deterministic` or `stochastic`. The default is deterministic, because random numbers take time.
        clip: Bound of the inputs' gradient and of the latent weights; needs deterministic signs. QuickNets use 1.25.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.BNN().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[-1.,  1.,  1.,  1.]]), scale=tensor(1.))
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True

    def __init__(
        self, weights: Rounding = "deterministic", inputs: Rounding = "deterministic", clip: float = 1.0
    ) -> None:
        super().__init__()
        if not clip > 0 or (clip != 1 and "stochastic" in (weights, inputs)):
            raise UserError(
                f"BNN's clip is {clip}, with {weights} weights and {inputs} inputs. Expected a number above 0, and 1 "
                "for stochastic signs."
            )
        self.clip = clip
        self.weights: Rounding = weights
        self.inputs: Rounding = inputs

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return bounded_sign(weight, rounding=self.weights)

    @override
    def input(self, x: Tensor) -> Tensor:
        return clipped_sign(x, self.clip) if self.inputs == "deterministic" else stochastic_sign(x)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(sign(weight), weight.new_ones(()))

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(()))

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        weight.clamp_(-self.clip, self.clip)
