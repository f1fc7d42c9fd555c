"""Distillation with hints: the teacher also teaches what the inputs of the layers should be."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork
from xnorlit.training.losses.distillation import Distillation


def hints(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """`mean_l mean (s_l - t_l)^2`: the mean squared difference of two networks' features, averaged over the layers.

    Args:
        student: Features s_l of each layer l.
        teacher: Features t_l, of the same shapes.
    """
    return torch.stack([F.mse_loss(s.float(), t.float()) for s, t in zip(student, teacher, strict=True)]).mean()


class HintedDistillation(Distillation):
    """`Distillation + hint * mean_l mean (x_l - t_l)^2`, x_l and t_l the student's and the teacher's input of layer l.

    The inputs are taken before they are quantised. Behind a batch norm, both have comparable magnitudes, and a binary
    layer keeps their signs. The layers are all but the first, which reads the image. The teacher has layers of the same
    names and shapes, as a float twin does.

    Source: Romero et al. 2015, arXiv 1412.6550, section 2.2; without its regressor, which unequal widths need.

    Args:
        teacher: See `Distillation`.
        temperature: See `Distillation`.
        weight: See `Distillation`.
        hint: Factor of the hints, from 0.
    """

    def __init__(self, teacher: str, temperature: float = 2.0, weight: float = 0.9, hint: float = 1.0) -> None:
        super().__init__(teacher, temperature, weight)
        if not (math.isfinite(hint) and hint >= 0):
            raise UserError(f"HintedDistillation.hint is {hint}. Expected a number from 0.")
        self.hint = hint
        self._names: list[str] = []
        self._student: dict[str, Tensor] = {}
        self._teacher: dict[str, Tensor] = {}

    @override
    def prepare(self, net: BuiltNetwork, data: ImageData, run: Path) -> None:
        super().prepare(net, data, run)
        assert self._network is not None
        own, others = dict(net.layers()), dict(self._network.layers())
        self._names = list(own)[1:]
        for name in self._names:
            shape = tuple(own[name].weight.shape)
            there = tuple(others[name].weight.shape) if name in others else None
            if there != shape:
                raise UserError(
                    f"HintedDistillation: layer {name} has weights {shape}, and the teacher, {self._network.name}, has "
                    f"{there or 'no such layer'}. Expected a teacher with the same layers, such as the float twin."
                )
            own[name].register_forward_pre_hook(partial(_keep_trained, self._student, name))
            others[name].register_forward_pre_hook(partial(_keep, self._teacher, name))

    @override
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        loss = super().__call__(net, batch, logits)
        # Popped, so that no graph outlives its step.
        student, teacher = ([kept.pop(name) for name in self._names] for kept in (self._student, self._teacher))
        return loss + self.hint * hints(student, teacher)


def _keep(kept: dict[str, Tensor], name: str, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    kept[name] = arguments[0]


def _keep_trained(kept: dict[str, Tensor], name: str, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    if layer.training:
        _keep(kept, name, layer, arguments)
