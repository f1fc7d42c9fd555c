"""Which binarizer each layer of a network gets."""

import fnmatch
from collections.abc import Mapping, Sequence

from xnorlit.binarize import Binarizer
from xnorlit.binarize.float import Float
from xnorlit.binarize.weights_only import WeightsOnly
from xnorlit.errors import UserError, did_you_mean
from xnorlit.models.network import Block, Network


def choose(network: Network, binarizer: Binarizer, layers: Mapping[str, Binarizer]) -> dict[str, Binarizer]:
    """A binarizer, still unbound, for every layer by name.

    Args:
        network: The table of blocks, which says whether the network's binarizer applies.
        binarizer: The network's.
        layers: Other ones for single layers, by name or pattern (`conv*`); the last match wins.

    Raises:
        UserError: A pattern matches no layer.
    """
    return overridden({block.name: _of_the_network(block, binarizer) for block in network.blocks}, network.name, layers)


def overridden(chosen: dict[str, Binarizer], network: str, layers: Mapping[str, Binarizer]) -> dict[str, Binarizer]:
    """The binarizers by layer, other ones put in for single layers.

    Args:
        chosen: Of every layer.
        network: What messages call the network.
        layers: Other ones by name or pattern (`conv*`); the last match wins.

    Raises:
        UserError: A pattern matches no layer.
    """
    found, names = dict(chosen), list(chosen)
    for pattern, override in layers.items():
        found.update(dict.fromkeys(matching(names, network, pattern, "model.layers"), override))
    return found


def matching(names: Sequence[str], network: str, pattern: str, setting: str) -> list[str]:
    """The names of the layers that a name or a pattern means.

    Args:
        names: Those of all layers.
        network: What the message calls the network.
        pattern: `conv2`, or `conv*`.
        setting: Where it was given, for the message.

    Raises:
        UserError: There are none; the message suggests the nearest.
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
