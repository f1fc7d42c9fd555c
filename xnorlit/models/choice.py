"""Chooses the binarizer of each layer of a network."""

import fnmatch
from collections.abc import Mapping, Sequence

from xnorlit.binarize import Binarizer
from xnorlit.binarize.float import Float
from xnorlit.binarize.weights_only import WeightsOnly
from xnorlit.errors import UserError, did_you_mean
from xnorlit.models.network import Block, Network


def choose(network: Network, binarizer: Binarizer, layers: Mapping[str, Binarizer]) -> dict[str, Binarizer]:
    """An unbound binarizer for every layer, by name.

    Args:
        network: The table of blocks, which says where the network's binarizer applies.
        binarizer: Binarizer of the network.
        layers: Binarizers for individual layers, by name or pattern (`conv*`); the last match wins.

    Raises:
        UserError: A pattern matches no layer.
    """
    return overridden({block.name: _of_the_network(block, binarizer) for block in network.blocks}, network.name, layers)


def overridden(chosen: dict[str, Binarizer], network: str, layers: Mapping[str, Binarizer]) -> dict[str, Binarizer]:
    """The binarizers by layer, with individual layers overridden.

    Args:
        chosen: Binarizer of every layer.
        network: Name of the network, for messages.
        layers: Overriding binarizers by name or pattern (`conv*`); the last match wins.

    Raises:
        UserError: A pattern matches no layer.
    """
    found, names = dict(chosen), list(chosen)
    for pattern, override in layers.items():
        found.update(dict.fromkeys(matching(names, network, pattern, "model.layers"), override))
    return found


def matching(names: Sequence[str], network: str, pattern: str, setting: str) -> list[str]:
    """The names of the layers that match a name or a pattern.

    Args:
        names: Names of all layers.
        network: Name of the network, for the message.
        pattern: `conv2`, or `conv*`.
        setting: The setting that contains the pattern, for the message.

    Raises:
        UserError: No layer matches; the message suggests the nearest name.
    """
    found = fnmatch.filter(names, pattern)
    if not found:
        raise UserError(
            f"{setting}: no layer of {network} matches {pattern!r}.{did_you_mean(pattern, names)} "
            f"Layers: {', '.join(names)}; patterns like 'conv*' are understood."
        )
    return found


def _of_the_network(block: Block, binarizer: Binarizer) -> Binarizer:
    if block.binary == "weights":
        return WeightsOnly(binarizer)
    return binarizer if block.binary else Float()
