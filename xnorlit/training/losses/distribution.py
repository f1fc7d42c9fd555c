"""The distribution loss of BNN-DL: keeps the inputs of quantisers centred and unsaturated."""

import math
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryLayer
from xnorlit.models import BuiltNetwork
from xnorlit.training.losses.base import Loss

BatchNorm = BatchNorm1d | BatchNorm2d


def distribution_loss(mean: Tensor, deviation: Tensor) -> Tensor:
    """`mean_c max(0, 2 - |m| - s)^2 + mean_c max(0, s - 4)^2 + mean_c max(0, m^2 - s^2)` over the channels of a layer.

    The terms penalise gradient mismatch, saturation and degeneration, in this order: channels whose values all lie
    where the straight-through estimator differs most from the sign, where it clips the gradient, or on one side of 0.

    Args:
        mean: m of each channel, `(C,)`.
        deviation: s of each channel, at least 0.
    """
    mismatch = (2 - mean.abs() - deviation).clamp(min=0).square().mean()
    saturation = (deviation - 4).clamp(min=0).square().mean()
    degeneration = (mean.square() - deviation.square()).clamp(min=0).mean()
    return mismatch + saturation + degeneration


class DistributionLoss(Loss):
    """`weight * mean over layers of distribution_loss(m, s)`, m and s of the batch norm before each quantiser.

    In training, the output of a batch norm has mean beta and deviation |gamma| for any input. (With eps, a channel of
    variance v has the deviation `|gamma| sqrt(v / (v + eps))`.) So this loss reads gamma and beta. The released code
    measures the activations, which costs passes over all of them. Its gradients, too, reach only gamma and beta.

    Source: Ding et al. 2019, arXiv 1904.02823; ruizhoud/DistributionLoss, models/distrloss_layer.py and its README,
    which applies the loss in the first 60 of 67 epochs.

    Args:
        weight: Factor; 2 in the released command.
        until: Share of the epochs with this loss; default: as in the released command.
    """

    def __init__(self, weight: float = 2.0, until: float = 60 / 67) -> None:
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"DistributionLoss: weight is {weight}. Expected a number from 0.")
        if not 0 <= until <= 1:
            raise UserError(f"DistributionLoss: until is {until}. Expected a share of the epochs, from 0 to 1.")
        self.weight = weight
        self.until = until
        self.active = True
        self.norms: list[BatchNorm] = []

    @override
    def prepare(self, net: BuiltNetwork, data: ImageData, run: Path) -> None:
        self.norms = norms_before_quantised_inputs(net)
        if not self.norms:
            raise UserError(
                f"DistributionLoss needs batch norms whose output is quantised, and {net.name} has none with "
                "this binarizer. Remove the loss, or choose a binarizer that quantises inputs (XNOR)."
            )

    @override
    def on_epoch(self, epoch: int, epochs: int) -> None:
        self.active = epoch < self.until * epochs

    @override
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        if not self.active or not self.weight:
            return logits.new_zeros(())
        each = [distribution_loss(norm.bias, _gamma(norm).abs()) for norm in self.norms]
        return self.weight * torch.stack(each).mean()


def norms_before_quantised_inputs(net: BuiltNetwork) -> list[BatchNorm]:
    """The batch norms directly in front of layers with few-bit inputs."""
    found, last = [], None
    for module in net.modules():
        if isinstance(module, BatchNorm):
            last = module
        elif isinstance(module, BinaryLayer):
            if last is not None and module.binarizer.input_bits < 32:
                found.append(last)
            last = None
    return found


def _gamma(norm: BatchNorm) -> Tensor:
    return torch.ones_like(norm.bias) if norm.weight is None else norm.weight
