"""The parameter groups of the optimizer: latent weights, parameters of binarizers, flipped weights, and all others."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import nn

from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer
from xnorlit.training.bop import refuse_other_weights


def grouped(
    make: OptimizerCallable,
    parameters: Iterable[nn.Parameter],
    layers: Sequence[BinaryLayer],
    settings: Mapping[str, Mapping[str, Any]],
    decayed: Sequence[nn.Parameter] | None = None,
) -> torch.optim.Optimizer:
    """An optimizer with separate groups for latent weights and for the parameters of binarizers.

    Args:
        make: Makes the optimizer from its groups.
        parameters: All parameters of the network.
        layers: Its binary layers.
        settings: Settings of the groups `latent` and `learned`; None leaves the optimizer's.
        decayed: The only parameters with weight decay (default: all).

    Raises:
        UserError: The optimizer lacks one of the given settings.
    """
    own = {
        "latent": [b.weight for b in layers if b.binarizer.weight_bits < 32 and not b.binarizer.flips],
        "learned": [parameter for layer in layers for parameter in layer.binarizer.parameters()],
    }
    flipped = [layer.weight for layer in layers if layer.binarizer.flips]
    named = {id(parameter) for group in (*own.values(), flipped) for parameter in group}
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if id(p) not in named]}]
    for name, members in own.items():
        given = {key: value for key, value in settings[name].items() if value is not None}
        groups.append({"params": members, "latent": name == "latent", **given})
    if decayed is not None:
        weights = {id(weight) for weight in decayed}
        groups = [part for group in groups for part in _split_by_decay(group, weights)]
    groups.append({"params": flipped, "flips": True})
    optimizer = make([group for group in groups if group["params"]])
    refuse_other_weights(optimizer, flipped)
    for name, own_settings in settings.items():
        for key, value in own_settings.items():
            if value is not None and key not in optimizer.defaults:
                raise UserError(
                    f"model.{name}_{key} was given, but {type(optimizer).__name__} has no {key}. Leave it out, or "
                    "choose an optimizer such as torch.optim.Adam."
                )
    for group in optimizer.param_groups:
        group["initial_weight_decay"] = group.get("weight_decay", 0.0)
    return optimizer


def _split_by_decay(group: dict[str, Any], decayed: set[int]) -> list[dict[str, Any]]:
    """Split a group into decayed parameters and others, whose weight decay is 0."""
    kept = [parameter for parameter in group["params"] if id(parameter) in decayed]
    others = [parameter for parameter in group["params"] if id(parameter) not in decayed]
    return [{**group, "params": kept}, {**group, "params": others, "weight_decay": 0.0}]
