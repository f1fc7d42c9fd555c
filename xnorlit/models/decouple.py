"""BinaryDuo's second stage: each three-level input becomes two 1-bit inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from xnorlit.errors import UserError
from xnorlit.models.network import LAYERS, Block, Network

QUARTER = 0.25  # The two bits exceed 1/2 where the three-level input exceeds 3/4 and 1/4.


def decoupled(network: Network) -> Network:
    """The table with the channels doubled before every norm whose output a binary layer reads.

    Args:
        network: Table of the coupled network; a step `twice` is inserted before each such norm.

    Raises:
        UserError: A binary layer has groups, or no norm between it and the layer before.
    """
    copied = {norm for norm, _ in _pairs(network)}
    blocks = tuple(
        replace(
            block,
            steps=" ".join(
                f"twice {step}" if (block.name, place) in copied else step
                for place, step in enumerate(block.steps.split())
            ),
        )
        for block in network.blocks
    )
    names = {"name": f"{network.name}-decoupled", "source": f"{network.source}, its inputs decoupled"}
    return replace(network, **names, blocks=blocks, coupled=network)


def decouple(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Weights for the decoupled network that computes the same function as a trained coupled one.

    Each norm is duplicated, once with its beta reduced by a quarter and once with it raised by a quarter. The weights
    that read both are duplicated at half their size, so their mean magnitude is halved as well.

    Args:
        state: State dict of the module that `build` makes from the coupled table.
        network: Table of the coupled network.

    Raises:
        UserError: The network cannot be decoupled, or the state belongs to another one.
    """
    found = dict(state)
    for (norm_block, _), layer_block in _pairs(network):
        norm, weight = f"{norm_block}.norm", f"{layer_block.name}.{layer_block.layer}.weight"
        missing = [key for key in (f"{norm}.bias", weight) if key not in state]
        if missing:
            raise UserError(
                f"{network.name} cannot be decoupled: its state has no {missing[0]}. Give a checkpoint of a run with "
                f"--model.network {network.name} and the binarizer BinaryDuo."
            )
        for key in [key for key in state if key.startswith(f"{norm}.") and state[key].ndim]:
            shift = QUARTER if key == f"{norm}.bias" else 0.0
            found[key] = torch.cat([state[key] - shift, state[key] + shift])
        found[weight] = torch.cat([state[weight] / 2] * 2, dim=1)
    return found


def _pairs(network: Network) -> Iterator[tuple[tuple[str, int], Block]]:
    """For each binary layer, the norm that feeds it, as block name and index of the step, and the layer's block."""
    norm: tuple[str, int] | None = None
    for block in network.blocks:
        for place, step in enumerate(block.steps.split()):
            if step == "norm":
                norm = block.name, place
            elif step in LAYERS:
                if block.binary is True:
                    if norm is None or block.groups > 1:
                        why = "groups" if block.groups > 1 else "no norm between it and the layer before"
                        raise UserError(f"{network.name} cannot be decoupled: {block.name} has {why}.")
                    yield norm, block
                norm = None
