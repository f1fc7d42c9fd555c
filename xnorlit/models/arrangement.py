"""The same layers in another order, or with a non-linearity of their own: what an ablation of blocks compares."""

from dataclasses import replace
from typing import Literal

from xnorlit.models.network import LAYERS, Block, Network


def activated(network: Network, activation: Literal["relu", "prelu"]) -> Network:
    """The network with a non-linearity behind each binary layer, before its pool; named `NAME-relu` or `NAME-prelu`.

    An XNOR-Net block has no other non-linearity than the sign, which loses every magnitude.

    Args:
        network: A table of blocks.
        activation: A ReLU, as jiecaoyu's port has it, or one whose negative slope is learned for each channel.

    Source: Rastegari et al. 2016, arXiv 1603.05279, section 3.2, on a non-binary activation behind the convolution.
    """
    blocks = tuple(_behind_layer(block, activation) if block.binary else block for block in network.blocks)
    source = f"{network.source}; a {activation} behind each binary layer"
    return replace(network, name=f"{network.name}-{activation}", source=source, blocks=blocks)


def _behind_layer(block: Block, step: str) -> Block:
    return replace(block, steps=" ".join(f"{word} {step}" if word in LAYERS else word for word in block.steps.split()))


def layer_first(network: Network, name: str | None = None) -> Network:
    """The network in the usual order, layer, norm, sign, pool (C-B-A-P), from XNOR-Net's norm, sign, layer, pool.

    Each block's norm goes to the end of the block before it, in front of the pool. The largest of some signs is the
    sign of the largest, so a pool behind the sign is one before it, and the sign stays where the next layer takes it.
    A block that has a norm already keeps that one, without its ReLU, behind which every sign would be +1.

    Args:
        network: A table whose blocks begin with a norm.
        name: What the result is called; `NAME-cbap` by default.

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
    source = f"{network.source}; norms behind the layers, before the pools"
    return replace(network, name=name or f"{network.name}-cbap", source=source, blocks=tuple(blocks))


def _normed(block: Block, eps: float) -> Block:
    """The block with a norm in front of its pool, or at its end."""
    words = block.steps.split()
    if "norm" in words:
        return replace(block, steps=" ".join(word for word in words if word != "relu"))
    words.insert(words.index("pool") if "pool" in words else len(words), "norm")
    return replace(block, steps=" ".join(words), eps=eps)
