"""BinaryDuo's second stage: a network whose three-level inputs are taken apart into two of one bit."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from xnorlit.errors import UserError
from xnorlit.models.network import LAYERS, Block, Network

QUARTER = 0.25  # The two bits exceed 1/2 where the three-level input exceeded 3/4 and 1/4.


def decoupled(network: Network) -> Network:
    """The table with the channels doubled ahead of every norm whose output a binary layer reads.

    Args:
        network: The coupled one's table; a step `twice` is put in front of each such norm.

    Raises:
        UserError: A binary layer has groups, or no norm ahead of it since the layer before.
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
    names = {"name": f"{network.name}-decoupled", "source": f"{network.source}, its inputs taken apart"}
    return replace(network, **names, blocks=blocks, coupled=network)


def decouple(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The weights of a coupled network as weights of its decoupled one, which then computes the same function.

    A norm is written twice, the first with a beta that is a quarter less, the second with one that is a quarter more;
    the weights that read both are written twice at half their size, so that their mean magnitude is half as well.

    Args:
        state: State of the module that `build` makes of the coupled table.
        network: The coupled network's table.

    Raises:
        UserError: The network cannot be decoupled, or the state is not of it.
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
    """For each binary layer the norm that feeds it, as block name and place among the steps, and its block."""
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
