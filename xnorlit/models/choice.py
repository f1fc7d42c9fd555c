"""Which binarizer each layer of a network gets."""

import fnmatch
from collections.abc import Mapping

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
    chosen = {block.name: _of_the_network(block, binarizer) for block in network.blocks}
    for pattern, override in layers.items():
        matches = fnmatch.filter(chosen, pattern)
        if not matches:
            raise UserError(
                f"model.layers: no layer of {network.name} matches {pattern!r}.{did_you_mean(pattern, chosen)} "
                f"Layers: {', '.join(chosen)}; patterns like 'conv*' are understood."
            )
        chosen.update(dict.fromkeys(matches, override))
    return chosen


def _of_the_network(block: Block, binarizer: Binarizer) -> Binarizer:
    if block.binary == "weights":
        return WeightsOnly(binarizer)
    return binarizer if block.binary else Float()
