"""The summary of a network of the tables as it would be packed, with everything between two layers folded."""

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import nn

from xnorlit.layers import BinaryLayer
from xnorlit.models.builder import AlexNet
from xnorlit.models.built import DuplicateChannels
from xnorlit.models.weighed import REAL, LayerSummary, Summary


def folded(model: AlexNet) -> Summary:
    """Summarises a network without running it, which may be on torch's `meta` device.

    If its binarizer adds shortcuts or centres, or keeps everything real, parameters without codes count in fp32.

    Args:
        model: The network.
    """
    links = list(_links(model))
    readers = [layer for _, layer, _ in links[1:]]
    reads = [3 * model.image_size**2, *(_left(model.outputs[name], between) for name, _, between in links)]
    graph = any(layer.shortcut or layer.binarizer.two_valued for _, layer, _ in links)
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
                _unfolded(layer, _count(layer, *between)) if real or graph else _packed_bits(layer, between, reader),
                inputs,
            )
            for (name, layer, between), reader, inputs in zip(links, [*readers, None], reads[:-1], strict=True)
        ),
        folded=not graph,
    )


def _links(model: AlexNet) -> Iterator[tuple[str, BinaryLayer, list[nn.Module]]]:
    """Each layer with its name and the modules up to the next layer."""
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


def _left(output: Sequence[int], between: Sequence[nn.Module]) -> int:
    """How many numbers of a layer's output the next layer reads, behind pools and copies."""
    channels, *sides = output
    for module in between:
        if isinstance(module, DuplicateChannels):
            channels *= 2
        if isinstance(module, nn.MaxPool2d):
            kernel, stride, padding = (cast(int, each) for each in (module.kernel_size, module.stride, module.padding))
            sides = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
    return channels * math.prod(sides)


def _unfolded(layer: BinaryLayer, count: int) -> int:
    """Bits of a layer's codes, and of its other parameters in fp32."""
    weights = layer.weight.numel()
    return layer.binarizer.weight_bits * weights + REAL * (count - weights)


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
    """Numbers per channel that lead to reals: maps `a x + b`, separated by a ReLU before a norm, and slopes."""
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
