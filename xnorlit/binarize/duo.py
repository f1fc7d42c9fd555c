"""BinaryDuo: train with inputs of three levels, then split each into two independent inputs of one bit."""

from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.dorefa import quantised_weights, weight_codes
from xnorlit.binarize.straight_through import straight_through, unit_gradient
from xnorlit.errors import UserError

Stage = Literal["coupled", "decoupled"]

THRESHOLDS: dict[Stage, tuple[float, ...]] = {"coupled": (0.25, 0.75), "decoupled": (0.5,)}
"""An input's code is the number of these thresholds that it exceeds; its value is their share."""


def exceeded(x: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """The number of thresholds that each value exceeds, in the dtype of `x`."""
    count = torch.gt(x, thresholds[0], out=torch.empty_like(x))
    for threshold in thresholds[1:]:
        count.add_(torch.gt(x, threshold, out=torch.empty_like(x)))  # Adding a boolean tensor is far slower.
    return count


def shares(x: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """The share of the thresholds that each value exceeds, in the dtype of `x`."""
    count = exceeded(x, thresholds)
    return count if len(thresholds) == 1 else count.div_(len(thresholds))


def steps(x: Tensor, stage: Stage) -> Tensor:
    """`(1[x > 1/4] + 1[x > 3/4]) / 2` if coupled, `1[x > 1/2]` if decoupled; the gradient is `g * 1[0 <= x <= 1]`."""
    return straight_through(x, lambda x: shares(x, THRESHOLDS[stage]), unit_gradient)


class BinaryDuo(Binarizer):
    """`weight(W) = E sign(W)`, `E = mean|W|`; `input(x) = (1[x > 1/4] + 1[x > 3/4]) / 2`, and later `1[x > 1/2]`.

    Gradients: of the weights `g`, with E as a constant; of the inputs `g * 1[0 <= x <= 1]`.

    The method has two stages. A network is trained with *coupled* inputs of three levels. Then
    [decoupled][xnorlit.models.decouple.decoupled] doubles its channels. Each three-level input becomes two one-bit
    inputs: the first behind a norm whose beta is lower by 1/4, the second behind one whose beta is higher by 1/4. Each
    weight becomes two of half its size. The function stays the same; fine-tuning lets the two halves diverge.

    Source: Kim et al. 2020, arXiv 2002.06517, sections 3 and 4; Hyungjun-K1m/BinaryDuo, models/ and newLayers/. There
    a value at a threshold is rounded up; here it does not exceed it, in both stages.

    Args:
        stage: `coupled` or `decoupled`.
        clip: Clamp the latent weights to [-clip, clip] after each step; 0 for no clamp, as in the released runs.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.BinaryDuo().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[0., 0., 1., 2.]]), scale=tensor(0.5000))
    """

    weight_bits = 1

    def __init__(self, stage: Stage = "coupled", clip: float = 0.0) -> None:
        super().__init__()
        if not 0 <= clip < float("inf"):
            raise UserError(
                f"BinaryDuo's clip is {clip}. Expected a bound of the latent weights above 0, or 0 for no bound."
            )
        self.stage: Stage = stage
        self.clip = clip
        self.input_bits = len(THRESHOLDS[stage])

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return quantised_weights(weight, 1)

    @override
    def input(self, x: Tensor) -> Tensor:
        return steps(x, self.stage)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return weight_codes(weight, 1)

    @override
    def input_codes(self, x: Tensor) -> Codes:
        thresholds = THRESHOLDS[self.stage]
        return Codes(exceeded(x, thresholds), x.new_tensor(1 / len(thresholds)))

    @property
    @override
    def tends(self) -> bool:
        return self.clip > 0

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        if self.clip:
            weight.clamp_(-self.clip, self.clip)
