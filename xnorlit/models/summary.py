"""What a network weighs and computes, layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from xnorlit.layers import QuantLayer
from xnorlit.models.builder import AlexNet, Twice

REAL = 32  # bits of a number in fp32, and what a binarizer says of operands that stay real


@dataclass(frozen=True)
class LayerSummary:
    """One convolution or linear layer, with what lies between it and the next one.

    Attributes:
        name: Name of its block.
        weight: Shape of the weights, `(O, I, kh, kw)` or `(O, I)`.
        output: Shape of the output for one image, `(O, H', W')` or `(O,)`.
        weight_bits: Bits of a weight code, 32 for a real weight.
        input_bits: Bits of an input code.
        macs: Multiply-adds for one image.
        parameters: Trained numbers of the layer and of the norms and other modules up to the next layer.
        packed_bits: Bits of the same in a packed file, see `Summary.packed_bits`.
    """

    name: str
    weight: tuple[int, ...]
    output: tuple[int, ...]
    weight_bits: int
    input_bits: int
    macs: int
    parameters: int
    packed_bits: int

    @property
    def weights(self) -> int:
        """Number of weights, the bias not counted."""
        return torch.Size(self.weight).numel()

    @property
    def few_bit_macs(self) -> int:
        """Multiply-adds of codes with codes, which a packed engine counts in bits."""
        return self.macs if max(self.weight_bits, self.input_bits) < REAL else 0

    @property
    def float_bits(self) -> int:
        """Bits of its parameters as trained, in fp32."""
        return REAL * self.parameters


@dataclass(frozen=True)
class Summary:
    """A whole network.

    Attributes:
        layers: Convolutions and linear layers, from the pixels to the logits.
    """

    layers: tuple[LayerSummary, ...]

    @property
    def parameters(self) -> int:
        """Trained numbers, everything counted."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def binary_weights(self) -> int:
        """Number of weights whose code has one bit."""
        return sum(layer.weights for layer in self.layers if layer.weight_bits == 1)

    @property
    def float_bits(self) -> int:
        """Bits of all parameters as trained, in fp32."""
        return REAL * self.parameters

    @property
    def packed_bits(self) -> int:
        """Bits of the network in a packed file.

        - Each weight in the bits of its code; twice where the outputs occur twice (BinaryDuo's decoupled networks).
        - Where the next layer reads codes, all that stands before it (alpha, bias, norm, ReLU) is folded into a 32-bit
          threshold between each code and the next, and a bit for the direction, per channel; per channel and position
          where a norm has numbers of its own for each position of a flattened map.
        - Where a few-bit layer leads to real numbers, into a scale and a shift per channel in fp32; into one more of
          each for a norm that stands behind a ReLU.
        - Everything else in fp32.
        """
        return sum(layer.packed_bits for layer in self.layers)

    @property
    def binary_packed_bits(self) -> int:
        """The part of it that belongs to layers with one-bit weights: the weights, and what leads to the next layer."""
        return sum(layer.packed_bits for layer in self.layers if layer.weight_bits == 1)


def summarize(model: AlexNet) -> Summary:
    """Measures a network; nothing is computed, so that one on torch's `meta` device will do.

    Args:
        model: The network.
    """
    links = list(_links(model))
    readers = [layer for _, layer, _ in links[1:]]
    return Summary(
        tuple(
            LayerSummary(
                name,
                tuple(layer.weight.shape),
                model.outputs[name],
                layer.binarizer.weight_bits,
                layer.binarizer.input_bits,
                layer.weight[0].numel() * torch.Size(model.outputs[name]).numel(),
                _count(layer, *between),
                _packed_bits(layer, between, reader),
            )
            for (name, layer, between), reader in zip(links, [*readers, None], strict=True)
        )
    )


def _links(model: AlexNet) -> Iterator[tuple[str, QuantLayer, list[nn.Module]]]:
    """Each layer with its name and the modules up to the next one."""
    name, layer, between = "", None, list[nn.Module]()
    for block_name, block in model.named_children():
        for module in block.children():
            if isinstance(module, QuantLayer):
                if layer is not None:
                    yield name, layer, between
                name, layer, between = block_name, module, []
            else:
                between.append(module)
    assert layer is not None
    yield name, layer, between


def _packed_bits(layer: QuantLayer, between: Sequence[nn.Module], reader: QuantLayer | None) -> int:
    copies = 2 if any(isinstance(module, Twice) for module in between) else 1
    outputs, codes = copies * len(layer.weight), copies * layer.binarizer.weight_bits * layer.weight.numel()
    read = REAL if reader is None else reader.binarizer.input_bits
    if read < REAL:
        thresholds = 2**read - 1
        flat = [module.num_features for module in between if isinstance(module, nn.BatchNorm1d)]
        return codes + (REAL * thresholds + 1) * max([outputs, *flat])
    if layer.binarizer.weight_bits < REAL:
        return codes + REAL * 2 * _affine_maps(between) * outputs
    return REAL * _count(layer, *between)


def _affine_maps(between: Sequence[nn.Module]) -> int:
    """How many maps `a x + b` per channel it takes: norms behind one another are one, a ReLU before one parts them."""
    maps, bent = 1, False
    for module in between:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            maps, bent = maps + bent, False
        bent = bent or isinstance(module, nn.ReLU | nn.PReLU | nn.Hardtanh)
    return maps


def _count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
