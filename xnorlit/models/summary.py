"""What a network weighs and computes, layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from xnorlit.layers import BinaryLayer
from xnorlit.models.builder import AlexNet, DuplicateChannels

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
          threshold between each code and the next and, for codes of k bits, k bits for the first code and at each
          threshold; per channel, and per position where a norm behind a flattening tells them apart.
        - Where a layer leads to real numbers, into a scale and a shift in fp32; into one more of each for a norm that
          stands behind a ReLU.
        - Real weights in fp32.

        Of a network without any codes it is what was trained, for there is no packed file of one.
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
    real = all(min(layer.binarizer.weight_bits, layer.binarizer.input_bits) == REAL for _, layer, _ in links)
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
                REAL * _count(layer, *between) if real else _packed_bits(layer, between, reader),
            )
            for (name, layer, between), reader in zip(links, [*readers, None], strict=True)
        )
    )


def _links(model: AlexNet) -> Iterator[tuple[str, BinaryLayer, list[nn.Module]]]:
    """Each layer with its name and the modules up to the next one."""
    name, layer, between = "", None, list[nn.Module]()
    for block_name, block in model.named_children():
        for module in block.children():
            if isinstance(module, BinaryLayer):
                if layer is not None:
                    yield name, layer, between
                name, layer, between = block_name, module, []
            else:
                between.append(module)
    assert layer is not None
    yield name, layer, between


def _packed_bits(layer: BinaryLayer, between: Sequence[nn.Module], reader: BinaryLayer | None) -> int:
    copies = 2 if any(isinstance(module, DuplicateChannels) for module in between) else 1
    codes = copies * layer.binarizer.weight_bits * layer.weight.numel()
    flat = [module.num_features for module in between if isinstance(module, nn.BatchNorm1d)]
    features = max([copies * len(layer.weight), *flat])
    read = REAL if reader is None else reader.binarizer.input_bits
    if read == REAL:
        return codes + REAL * _numbers(between) * features
    thresholds = 2**read - 1
    directions = 1 if read == 1 else read * (1 + thresholds)
    return codes + (REAL * thresholds + directions) * features


def _numbers(between: Sequence[nn.Module]) -> int:
    """Numbers per channel of what leads to reals: maps `a x + b`, parted by a ReLU before a norm, and slopes."""
    numbers, bent = 2, False
    for module in between:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            numbers, bent = numbers + 2 * bent, False
        elif isinstance(module, nn.ReLU | nn.Hardtanh):
            bent = True
        elif parameters := list(module.parameters()):  # A slope, or a slope between two shifts.
            numbers, bent = numbers + len(parameters), len(parameters) == 1
    return numbers


def _count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def summary(model: nn.Module, image_shape: Sequence[int] | None = None) -> Summary:
    """Measures a network."""
    return summarize(model)
