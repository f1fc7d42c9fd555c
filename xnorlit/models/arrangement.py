"""Variants of a table for ablations: the same layers in another order, or with a non-linearity after each."""

from dataclasses import replace
from typing import Literal

from xnorlit.models.network import LAYERS, Block, Network


def activated(network: Network, activation: Literal["relu", "prelu"]) -> Network:
    """The network with a non-linearity after each binary layer, before its pool; named `NAME-relu` or `NAME-prelu`.

    The only non-linearity of an XNOR-Net block is the sign, which discards all magnitudes.

    Args:
        network: A table of blocks.
        activation: A ReLU, as in jiecaoyu's port, or a PReLU, whose negative slope is learned for each channel.

    Source: Rastegari et al. 2016, arXiv 1603.05279, section 3.2, on a non-binary activation after the convolution.
    """
    blocks = tuple(_behind_layer(block, activation) if block.binary else block for block in network.blocks)
    source = f"{network.source}; a {activation} after each binary layer"
    return replace(network, name=f"{network.name}-{activation}", source=source, blocks=blocks)


def _behind_layer(block: Block, step: str) -> Block:
    return replace(block, steps=" ".join(f"{word} {step}" if word in LAYERS else word for word in block.steps.split()))


def layer_first(network: Network, name: str | None = None) -> Network:
    """The network in the usual order layer, norm, sign, pool (C-B-A-P) instead of XNOR-Net's norm, sign, layer, pool.

    Each block's norm moves to the end of the block before it, before the pool. The maximum of signs is the sign of the
    maximum, so a pool after the sign equals one before it, and the next layer still takes the sign. A block that
    already has a norm keeps it and loses its ReLU, after which every sign would be +1.

    Args:
        network: A table whose blocks begin with a norm.
        name: Name of the result; default: `NAME-cbap`.

    Source: Rastegari et al. 2016, arXiv 1603.05279, sections 3.2 and 4.3, where the two orders are compared.
    """
    blocks = list(network.blocks)
    for number in range(1, len(blocks)):
        norm, (before, after) = blocks[number].eps, blocks[number - 1 : number + 1]
        words = after.steps.split()
        if "norm" in words[: words.index(after.layer)]:
            words.remove("norm")
            blocks[number] = replace(after, steps=" ".join(words))
            blocks[number - 1] = _normed(before, norm)
    source = f"{network.source}; norms after the layers, before the pools"
    return replace(network, name=name or f"{network.name}-cbap", source=source, blocks=tuple(blocks))


def _normed(block: Block, eps: float) -> Block:
    """The block with a norm before its pool, or at its end."""
    words = block.steps.split()
    if "norm" in words:
        return replace(block, steps=" ".join(word for word in words if word != "relu"))
    words.insert(words.index("pool") if "pool" in words else len(words), "norm")
    return replace(block, steps=" ".join(words), eps=eps)
