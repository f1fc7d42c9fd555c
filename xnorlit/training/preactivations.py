"""Preactivations of a trained network: the distribution of each few-bit layer's input, by channel."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xnorlit.binarize import input_signs_or_codes
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer
from xnorlit.models import BuiltNetwork


@dataclass(frozen=True)
class Preactivations:
    """Histograms of one layer's inputs before quantisation, over some images.

    Attributes:
        edges: Edges of B equal bins, fp32 `(B + 1,)`; a bin includes its lower edge. Values beyond the outer edges
            count in the outer bins.
        counts: Values in each bin by input channel, int64 `(C, B)`; of a flattened map, by input feature.
        positive: Share of the values with the upper of two codes, such as the sign +1, by channel, fp64 `(C,)`. A
            method may learn the threshold. For codes of several bits, the share of the values that are 0 or more.
        beyond: Share of the values with `|x| > 1`, where a clipped straight-through estimator passes no gradient, by
            channel, fp64 `(C,)`.
        dead: Channels whose code was the same at every position of every image, bool `(C,)`.
    """

    edges: Tensor
    counts: Tensor
    positive: Tensor
    beyond: Tensor
    dead: Tensor

    @property
    def most_one_sided(self) -> int:
        """The channel whose `positive` is farthest from one half."""
        return int((self.positive - 0.5).abs().argmax())

    @property
    def most_even(self) -> int:
        """The channel whose `positive` is nearest to one half."""
        return int((self.positive - 0.5).abs().argmin())


@torch.no_grad()
def preactivations(
    network: BuiltNetwork, batches: Iterable[Tensor], *, limit: float = 3.0, bins: int = 60
) -> dict[str, Preactivations]:
    """The histograms of every layer with few-bit inputs, by the layer's name, from the pixels to the logits.

    This puts the network into evaluation mode, in which batch norms use their running statistics.

    Args:
        network: A network with trained weights.
        batches: Batches of uint8 images `(N, 3, S, S)`.
        limit: The outer edges are -limit and +limit.
        bins: Number of bins; even, so that 0 is an edge and every bin has one sign.

    Raises:
        UserError: No layer has few-bit inputs, there are no images, or the number of bins is odd.
    """
    if bins < 2 or bins % 2 or not limit > 0:
        raise UserError(f"bins is {bins} and limit {limit}. Expected an even number of bins and a limit above 0.")
    layers = [(name, layer) for name, layer in network.layers() if layer.binarizer.input_bits < 32]
    if not layers:
        raise UserError("no layer of this network has few-bit inputs. Give a run of a binary arm, such as xnor.")
    half = bins // 2
    edges = torch.arange(-half, half + 1) / half * limit
    sums = {name: _Sums(edges) for name, _ in layers}
    handles = [layer.register_forward_pre_hook(sums[name].add) for name, layer in layers]
    network.eval()
    try:
        for images in batches:
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    if any(each.values == 0 for each in sums.values()):
        raise UserError("no images were given. Expected batches of validation images.")
    return {name: each.result() for name, each in sums.items()}


class _Sums:
    def __init__(self, edges: Tensor) -> None:
        self.edges = edges
        self.values = 0  # per channel
        self.counts = self.positive = self.beyond = torch.zeros(())
        self.lowest, self.highest = torch.tensor(torch.inf), torch.tensor(-torch.inf)

    def add(self, layer: BinaryLayer, arguments: tuple[Tensor, ...]) -> Any:
        (x,) = arguments
        codes = _by_channel(input_signs_or_codes(layer.binarizer, x.to(layer.weight.dtype)))
        self.lowest = torch.minimum(self.lowest, codes.amin(1))
        self.highest = torch.maximum(self.highest, codes.amax(1))
        x = _by_channel(x)
        bins, channels = len(self.edges) - 1, len(x)
        at = torch.bucketize(x, self.edges[1:-1], right=True) + bins * torch.arange(channels)[:, None]
        self.counts = self.counts + torch.bincount(at.flatten(), minlength=bins * channels).view(channels, bins)
        self.positive = self.positive + (codes > 0 if layer.binarizer.input_bits == 1 else x >= 0).sum(1)
        self.beyond = self.beyond + (x.abs() > 1).sum(1)
        self.values += x.shape[1]

    def result(self) -> Preactivations:
        shares = self.positive.double() / self.values, self.beyond.double() / self.values
        return Preactivations(self.edges, self.counts.long(), *shares, self.lowest == self.highest)


def _by_channel(x: Tensor) -> Tensor:
    """`(C, values)` in fp32 on the CPU."""
    return x.transpose(0, 1).flatten(1).float().cpu().contiguous()
