"""Bits, multiply-adds and memory of a network, by layer."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from xnorlit.binarize import Binarizer
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer
from xnorlit.layers.layer import expect_module
from xnorlit.models.builder import AlexNet
from xnorlit.models.built import BuiltNetwork
from xnorlit.models.folded import folded
from xnorlit.models.weighed import REAL, LayerSummary, Summary

LAYERS = (BinaryLayer, nn.modules.conv._ConvNd, nn.Linear)


def summary(model: nn.Module, input_shape: Sequence[int] | None = None) -> Summary:
    """Bits, multiply-adds and memory of a network for one image, by layer; the result prints as a table.

    A network of the tables is summarised as it would be packed, without running it. Any other module runs once, in
    evaluation mode, on zeros. Its convolutions and linear layers are listed in the order in which they run, each with
    the parameters of the modules that follow it. Their packed size counts weights in the bits of their codes and
    everything else in fp32.

    Args:
        model: The network.
        input_shape: Shape of one input, such as `(3, 224, 224)`; not needed for a network from `create`.

    Raises:
        UserError: The shape is missing, or the module has no convolution or linear layer that runs.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> net = torch.nn.Sequential(torch.nn.BatchNorm2d(8), xl.BinaryConv2d(8, 16, 3, bias=False, binarizer="XNOR"))
        >>> found = xl.summary(net, (8, 12, 12))
        >>> found.layers[0].weights, found.layers[0].macs, found.parameters
        (1152, 115200, 1168)
    """
    expect_module("summary", model)
    if isinstance(model, AlexNet):
        return folded(model)
    if input_shape is None and isinstance(model, BuiltNetwork):
        input_shape = (3, model.image_size, model.image_size)
    if input_shape is None:
        raise UserError(
            f"summary: {type(model).__name__} does not state the shape of its input. Give it, such as "
            "summary(net, (3, 224, 224))."
        )
    if not isinstance(input_shape, Sequence) or not all(isinstance(side, int) for side in input_shape):
        raise UserError(f"summary: input_shape is {input_shape!r}. Expected whole numbers, such as (3, 224, 224).")
    return _run(model, input_shape)


def _run(model: nn.Module, shape: Sequence[int]) -> Summary:
    """The summary of any module, from one run of its forward."""
    names = {module: name for name, module in model.named_modules()}
    ran: dict[nn.Module, list[int]] = {}
    outputs: dict[nn.Module, tuple[int, ...]] = {}
    read: dict[nn.Module, int] = {}

    def ends(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs = ran.setdefault(module, [])
        if isinstance(module, LAYERS):
            outputs[module] = tuple(output.shape[1:])
            read[module] = max(read.get(module, 0), inputs[0].numel())
            transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
            runs.append(cast(Tensor, module.weight)[0].numel() * (inputs[0] if transposed else output).numel())

    within = {part for layer in names if isinstance(layer, BinaryLayer) for part in layer.modules()} - {
        module for module in names if isinstance(module, BinaryLayer)
    }
    watched = [m for m in names if m not in within and (isinstance(m, LAYERS) or not any(m.children()))]
    like = next((each for each in model.parameters()), torch.empty(0))
    modes = {module: module.training for module in names}
    handles = [module.register_forward_hook(ends) for module in watched]
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape, device=like.device, dtype=like.dtype))
    except (RuntimeError, ValueError) as error:
        what = f"{type(model).__name__} does not take an input of shape {tuple(shape)}"
        raise UserError(f"summary: {what} ({error}). Give the shape of one input, without the batch.") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    layers = [module for module in ran if isinstance(module, LAYERS)]
    if not layers:
        raise UserError(f"summary: {type(model).__name__} runs no convolution and no linear layer.")
    counted: set[int] = set()
    groups: dict[nn.Module, list[nn.Module]] = {layer: [] for layer in layers}
    last = layers[0]
    for module in [*ran, model]:  # The last one has the parameters that no module that ran holds.
        last = module if module in groups else last
        groups[last].append(module)
    found = []
    for layer, modules in groups.items():
        binarizer = layer.binarizer if isinstance(layer, BinaryLayer) else Binarizer()
        fresh = {id(p): p.numel() for module in modules for p in module.parameters() if id(p) not in counted}
        counted |= fresh.keys()
        count = sum(fresh.values())
        own = fresh.get(id(layer.weight), 0)
        found.append(
            LayerSummary(
                name=names[layer],
                weight=tuple(cast(Tensor, layer.weight).shape),
                output=outputs[layer],
                weight_bits=binarizer.weight_bits,
                input_bits=binarizer.input_bits,
                macs=sum(ran[layer]),
                parameters=count,
                packed_bits=binarizer.weight_bits * own + REAL * (count - own),
                inputs=read[layer],
            )
        )
    return Summary(tuple(found), folded=False)
