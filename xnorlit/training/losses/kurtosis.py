"""A regulariser of the shape of each layer's weight distribution."""

from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork
from xnorlit.training.losses.base import Loss


def kurtosis(weight: Tensor) -> Tensor:
    """`mean(((W - mean W) / std W)^4)` over a whole layer: 1 of two values, 1.8 of a uniform, 3 of a normal draw."""
    square = (weight - weight.mean()).square()
    return square.square().mean() / square.mean().square()


class WeightKurtosis(Loss):
    """`weight * mean over the few-bit layers of (kurtosis(W) - target)^2`.

    A target below 3 flattens the normal shape that weights start with: fewer lie near 0, where a step flips their
    sign, and fewer far out, where alpha stands for them badly.

    Source: Shkolnik et al. 2020, arXiv 2002.07686 (KURE), whose target of 1.8 is that of the uniform distribution.

    Args:
        weight: Factor.
        target: The kurtosis aimed at, 1 or more; no distribution has less than 1.
    """

    def __init__(self, weight: float = 1.0, target: float = 1.8) -> None:
        if not 0 < weight < float("inf"):
            raise UserError(f"WeightKurtosis.weight is {weight}. Expected a number above 0, such as 1.")
        if not 1 <= target < float("inf"):
            raise UserError(f"WeightKurtosis.target is {target}. Expected 1 (two values) or more; 1.8 is uniform.")
        self.weight = weight
        self.target = target

    @override
    def prepare(self, net: BuiltNetwork, data: ImageData, run: Path) -> None:
        if not _latent(net):
            raise UserError("WeightKurtosis needs few-bit weights, and this network has none. Leave the term out.")

    @override
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        each = torch.stack([kurtosis(weight) for weight in _latent(net)])
        return self.weight * (each - self.target).square().mean()


def _latent(net: BuiltNetwork) -> list[Tensor]:
    return [layer.weight for _, layer in net.layers() if layer.binarizer.weight_bits < 32]
