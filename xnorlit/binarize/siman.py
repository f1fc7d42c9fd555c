"""SiMaN: the half of a filter's weights with the largest magnitudes becomes +1, regardless of sign."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bwn import alpha
from xnorlit.binarize.channels import over_filters
from xnorlit.binarize.per_sample import CANNOT_PACK, EPS, standardised
from xnorlit.binarize.standard import filter_dims
from xnorlit.binarize.straight_through import quadratic_sign, sign


def large_half(weight: Tensor) -> Tensor:
    """+1 where `|W - mean_o|` is above its median in the filter, -1 elsewhere: `n // 2` weights are +1.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
    """
    magnitude = (weight - weight.mean(dim=filter_dims(weight), keepdim=True)).abs().flatten(1)
    median = magnitude.median(dim=1, keepdim=True).values  # the lower of the two middle values
    return (magnitude > median).to(weight.dtype).mul_(2).sub_(1).view_as(weight)


class SiMaN(Binarizer):
    """`y = (sign(z) (*) B) * gain_o`: `B = +1` for the half of a filter with the largest `|W - mean_o|`, else -1.

    `z = (x - mean) / deviation` over the whole map of each image, in training and in evaluation. The gradient of the
    weights is that of `|w|`, `w = (W - mean_o) / sqrt(var_o + 1e-5)`, and passes through mean and variance. The
    gradient of the sign is `max(0, 2 - 2|z|)`. The learned gains start at `mean|W|`.

    The release can also clip latent weights at percentiles (off by default), and evaluates with the bits of the last
    training forward. Here the bits follow the latent weights.

    Source: Lin et al. 2022, arXiv 2102.07981; lmbxmu/SiMaN, imagenet/modules/binarized_modules.py.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -1.0]])
        >>> xl.SiMaN().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[-1., -1.,  1.,  1.]]), scale=tensor([0.6250]))
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True
    cannot_pack = CANNOT_PACK

    @override
    def setup(self, weight: Tensor) -> None:
        self.gain = nn.Parameter(alpha(weight).detach().clone())

    @override
    def weight(self, weight: Tensor) -> Tensor:
        dims = filter_dims(weight)
        centred = weight - weight.mean(dim=dims, keepdim=True)
        variance = centred.square().sum(dim=dims, keepdim=True) / max(1, weight[0].numel() - 1)
        magnitude = (centred * (variance + EPS).rsqrt()).abs()
        binary = magnitude + (large_half(weight.detach()) - magnitude).detach()
        return binary * over_filters(self.gain, weight)

    @override
    def input(self, x: Tensor) -> Tensor:
        return quadratic_sign(standardised(x))

    @override
    @torch.no_grad()
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(large_half(weight), self.gain.detach())

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(standardised(x)), x.new_ones(()))

    @override
    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        self.gain.copy_((weight * large_half(weight)).flatten(1).mean(dim=1))
