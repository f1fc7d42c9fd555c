"""The distribution loss of BNN-DL: keeps the inputs of quantisers centred and unsaturated."""

import math
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryLayer
from xnorlit.layers.tracing import unchanged
from xnorlit.models import BuiltNetwork
from xnorlit.training.losses.base import Loss

BatchNorm = BatchNorm1d | BatchNorm2d
Weighted = BinaryLayer | nn.modules.conv._ConvNd | nn.Linear


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
    measures the activations, which costs passes over all of them. Its gradients, too, reach only gamma and beta. A norm
    without them (`affine=False`) has the constants 0 and 1, and is left out.

    Behind a shortcut a quantiser reads a sum, whose moments are not those of a norm. Such networks are refused.

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
        found = norms_before_quantised_inputs(net)
        self.norms = [norm for norm in found if norm.bias is not None]
        if not found:
            raise UserError(
                f"DistributionLoss needs batch norms whose output is quantised, and {net.name} has none with "
                "this binarizer. Remove the loss, or choose a binarizer that quantises inputs (XNOR)."
            )
        if not self.norms:
            raise UserError(
                f"DistributionLoss moves gamma and beta of the batch norms whose output is quantised, and those of "
                f"{net.name} have neither (affine=False). Remove the loss, or give the norms affine=True."
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


class _Tracer(fx.Tracer):
    """Stops at layers and at modules without parts, so that the sums in a block are seen."""

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, BinaryLayer) or not any(m.children()) or super().is_leaf_module(m, module_qualified_name)


def norms_before_quantised_inputs(net: BuiltNetwork) -> list[BatchNorm]:
    """The batch norms in front of layers with few-bit inputs, with only activations, pools and the like in between.

    Raises:
        UserError: One of these layers reads the sum or the concatenation of several values, or torch.fx cannot trace
            the network.
    """
    names = {layer: name for name, layer in net.layers()}
    with unchanged(net):
        try:
            graph = _Tracer().trace(net.train())
        except Exception as error:  # A user's forward may do anything with proxy values.
            raise UserError(
                f"DistributionLoss: torch.fx cannot trace {net.name} ({type(error).__name__}: {error}), so the norms "
                "before its quantisers are unknown. Remove the loss, or the control flow from the forward."
            ) from error
    found = []
    for node in graph.nodes:
        layer = _module(net, node)
        if not isinstance(layer, BinaryLayer) or layer.binarizer.input_bits == 32:
            continue
        node = node.all_input_nodes[0]
        while len(node.all_input_nodes) == 1 and not isinstance(_module(net, node), BatchNorm | Weighted):
            node = node.all_input_nodes[0]
        module = _module(net, node)
        if isinstance(module, BatchNorm):
            found.append(module)
        elif len(node.all_input_nodes) > 1:
            raise UserError(
                f"DistributionLoss takes mean and deviation of a quantiser's input from the batch norm before it, but "
                f"{names[layer]} of {net.name} reads several values that meet ({node.name}), as behind a shortcut. "
                "Remove the loss, or choose a network without shortcuts, such as vgg-small."
            )
    return found


def _module(net: nn.Module, node: fx.Node) -> nn.Module | None:
    return net.get_submodule(str(node.target)) if node.op == "call_module" else None


def _gamma(norm: BatchNorm) -> Tensor:
    return torch.ones_like(norm.bias) if norm.weight is None else norm.weight
