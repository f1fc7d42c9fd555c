"""A regulariser that pulls latent weights away from zero, towards the values of their signs."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork
from xnorlit.training.losses.base import Loss


def bipolarity(weight: Tensor, target: Literal["one", "alpha"], power: int) -> Tensor:
    """`sum_i |a - |W_i||^p`: 0 if every weight is `+a` or `-a`. Its gradient pulls each weight to the nearer one.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        target: a is 1 (`one`) or the `mean|W|` of each filter (`alpha`), treated as a constant.
        power: p, 1 or 2.
    """
    magnitude = weight.abs()
    if target == "one":
        distance = 1 - magnitude
    else:
        distance = magnitude.detach().flatten(1).mean(1).view(-1, *(1,) * (weight.ndim - 1)) - magnitude
    return distance.square().sum() if power == 2 else distance.abs().sum()


class Bipolar(Loss):
    """`weight * sum over the 1-bit layers of sum_i |a - |W_i||^p`.

    A latent weight near 0 flips back and forth, and the forward ignores its magnitude. This term moves it away from 0.

    Source: Darabi et al. 2018, arXiv 1812.11800: `R1` for p = 1 and `R2` for p = 2. Their a may also be learned.

    Args:
        weight: Factor; small, because the sum runs over all weights.
        target: a is 1 (`one`, the bound that many methods clip to) or the `mean|W|` of each filter (`alpha`).
        power: p, 1 or 2.
    """

    def __init__(
        self, weight: float = 1e-6, target: Literal["one", "alpha"] = "alpha", power: Literal[1, 2] = 2
    ) -> None:
        if not 0 < weight < float("inf"):
            raise UserError(f"Bipolar.weight is {weight}. Expected a number above 0, such as 1e-6.")
        self.weight = weight
        self.target: Literal["one", "alpha"] = target
        self.power = power

    @override
    def prepare(self, net: BuiltNetwork, data: ImageData, run: Path) -> None:
        if not _latent(net):
            raise UserError("Bipolar needs layers with 1-bit weights, and this network has none. Remove the term.")

    @override
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        return self.weight * torch.stack([bipolarity(w, self.target, self.power) for w in _latent(net)]).sum()


def _latent(net: BuiltNetwork) -> list[Tensor]:
    return [layer.weight for _, layer in net.layers() if layer.binarizer.weight_bits == 1]
