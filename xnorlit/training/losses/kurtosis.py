"""A regulariser of the kurtosis of each layer's weights."""

from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork
from xnorlit.training.losses.base import Loss


def kurtosis(weight: Tensor) -> Tensor:
    """`mean(((W - mean W) / std W)^4)` over a layer: 1 for two equally frequent values, 1.8 if uniform, 3 if normal."""
    square = (weight - weight.mean()).square()
    return square.square().mean() / square.mean().square()


class WeightKurtosis(Loss):
    """`weight * mean over the few-bit layers of (kurtosis(W) - target)^2`.

    A target below 3 flattens the initial normal distribution. Fewer weights then lie near 0, where a step flips their
    sign. Fewer lie far from 0, where alpha approximates them badly.

    Source: Shkolnik et al. 2020, arXiv 2002.07686 (KURE). Its target of 1.8 is the kurtosis of a uniform distribution.

    Args:
        weight: Factor.
        target: Kurtosis, at least 1, which is the minimum of any distribution.
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
            raise UserError("WeightKurtosis needs few-bit weights, and this network has none. Remove the term.")

    @override
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        each = torch.stack([kurtosis(weight) for weight in _latent(net)])
        return self.weight * (each - self.target).square().mean()


def _latent(net: BuiltNetwork) -> list[Tensor]:
    return [layer.weight for _, layer in net.layers() if layer.binarizer.weight_bits < 32]
