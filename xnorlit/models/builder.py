"""Build a module from a table of blocks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn
from typing_extensions import override

from xnorlit.binarize import Binarizer
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLayer, BinaryLinear
from xnorlit.models.built import BuiltNetwork, DuplicateChannels, Normalize, WholeNorm
from xnorlit.models.choice import choose
from xnorlit.models.design import Design, choose_layers, composed
from xnorlit.models.initial import initialise
from xnorlit.models.network import Block, Network

AVERAGED = 6  # side of the map after the step `average`


class AlexNet(BuiltNetwork):
    """A network built from a table: uint8 pixels `(N, 3, S, S)` to logits `(N, classes)`.

    Attributes:
        outputs: Shape of each layer's output for one image, `(O, H', W')` or `(O,)`, by name.
    """

    outputs: dict[str, tuple[int, ...]]

    @override
    def layers(self) -> Iterator[tuple[str, BinaryLayer]]:
        """The convolutions and linear layers with their blocks' names, from the pixels to the logits."""
        for name, block in self.named_children():
            yield from ((name, layer) for layer in block.modules() if isinstance(layer, BinaryLayer))


def build(
    network: Network | Design,
    binarizer: Binarizer,
    *,
    classes: int,
    image_size: int,
    mean: Sequence[float] = (127.5, 127.5, 127.5),
    std: Sequence[float] = (127.5, 127.5, 127.5),
    layers: Mapping[str, Binarizer] | None = None,
) -> BuiltNetwork:
    """Build the module of a table or a design, with fresh weights from torch's global generator.

    The weights do not depend on the binarizer, so two networks of the same seed start from the same latent weights.

    Args:
        network: The table of blocks, or the design.
        binarizer: Binarizer of every layer that is not kept real.
        classes: Number of classes.
        image_size: Side of the square input, pixels.
        mean: Mean of each channel, 0 to 255, subtracted from the pixels.
        std: Standard deviation of each channel, 0 to 255.
        layers: Binarizers for individual layers, by name or pattern (`conv*`); the last match wins.

    Raises:
        UserError: A pattern matches no layer, the images are too small for the network, or a sign would follow a ReLU.
    """
    if isinstance(network, Design):
        given: dict[str, Any] = {"classes": classes, "image_size": image_size, "mean": mean, "std": std}
        return composed(network, binarizer, layers=layers or {}, **given)
    chosen = choose(network, binarizer, layers or {})
    model = AlexNet()
    model.network, model.image_size, model.outputs = network, image_size, {}
    model.classes = classes
    model.add_module("normalize", Normalize(mean, std))
    flow = _Flow((3, image_size, image_size))
    for block in network.blocks:
        model.add_module(block.name, _build(block, network, flow, chosen[block.name], classes))
        model.outputs[block.name] = flow.output
    built = [layer for _, layer in model.layers()]
    if any(layer.shortcut or layer.binarizer.two_valued for layer in built):
        # Real values reach signs beyond the next layer, so the packed graph must round as evaluation does.
        for layer in built:
            layer.rounds_once = True
    return model


@dataclass(frozen=True)
class NetworkSpec:
    """A network's table or design and the binarizers of its layers: all that `build` needs apart from the images.

    A binarizer is a module, so a module with a binarizer as an attribute owns its parameters. A module with a
    `NetworkSpec` owns none.

    Args:
        table: The table of blocks, or the design.
        binarizer: Binarizer of every layer that is not kept real.
        layers: Binarizers for individual layers, by name or pattern (`conv*`); the last match wins.

    Raises:
        UserError: A pattern matches no layer.
    """

    table: Network | Design
    binarizer: Binarizer
    layers: Mapping[str, Binarizer] = field(default_factory=dict)

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the network was designed for."""
        return self.table.image_size

    @property
    def layer_names(self) -> list[str]:
        """Names of the layers, for overrides."""
        return self.table.layer_names

    def __post_init__(self) -> None:
        if isinstance(self.table, Design):
            choose_layers(self.table, self.binarizer, self.layers)
        else:
            choose(self.table, self.binarizer, self.layers)

    def build(self, *, classes: int, image_size: int | None = None, **normalisation: Sequence[float]) -> BuiltNetwork:
        """Build the network; see `build`.

        Args:
            classes: Number of classes.
            image_size: Side of the square input, pixels; default: the table's own.
            normalisation: `mean` and `std`.
        """
        size = image_size or self.table.image_size
        return build(self.table, self.binarizer, classes=classes, image_size=size, layers=self.layers, **normalisation)


@dataclass
class _Flow:
    """What is known of the tensor between two steps: its shape for one image, and whether its sign is informative."""

    shape: tuple[int, ...]
    output: tuple[int, ...] = ()  # Shape of the last layer's output.
    rectified: bool = True  # There is a non-linearity after the last layer; pixels need none.
    signed: bool = True  # Negative values are possible.


def _build(block: Block, network: Network, flow: _Flow, binarizer: Binarizer, classes: int) -> nn.Sequential:
    body = nn.Sequential()
    positions = 1
    behind: nn.Module | None = None
    for step in block.steps.split():
        if behind is not None and step != "pool":
            _add_behind(body, behind, flow)
            behind = None
        if step == "norm":
            module = _norm(block, network, flow.shape)
            flow.signed = True
        elif step == "whole-norm":
            module = WholeNorm(eps=block.eps)
            flow.signed = True
        elif step == "relu":
            module = nn.ReLU(inplace=True)
            flow.rectified, flow.signed = True, False
        elif step == "prelu":
            module = nn.PReLU(flow.shape[0])
            flow.rectified = True
        elif step == "clip":
            module = nn.Hardtanh(0.0, 1.0)
            flow.rectified, flow.signed = True, False
        elif step == "lrn":
            # torch divides alpha by the size, so this is `x / (2 + 1e-4 * sum of 5 squares) ** 0.75`.
            module = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        elif step == "dropout":
            module = nn.Dropout2d(block.dropout) if len(flow.shape) == 3 else nn.Dropout(block.dropout)
        elif step == "twice":
            module = DuplicateChannels()
            flow.shape = (2 * flow.shape[0], *flow.shape[1:])
        elif step == "flatten":
            module = nn.Flatten()
            positions, flow.shape = math.prod(flow.shape[1:]), (math.prod(flow.shape),)
        elif step == "pool":
            module = nn.MaxPool2d(*block.pool, padding=block.pool_padding)
            sides = (_side(block, side + 2 * block.pool_padding, *block.pool) for side in flow.shape[1:])
            flow.shape = (flow.shape[0], *sides)
        elif step == "average":
            module = nn.AdaptiveAvgPool2d(AVERAGED)
            flow.shape = (flow.shape[0], AVERAGED, AVERAGED)
        else:
            _refuse_dead_sign(block, binarizer, flow)
            module, flow.shape = _layer(block, network, flow, binarizer, positions, classes)
            flow.output, flow.rectified, flow.signed = flow.shape, False, True
            behind = module.binarizer.post_layer(len(module.weight))
        body.add_module(step, module)
    if behind is not None:
        _add_behind(body, behind, flow)
    return body


def _add_behind(body: nn.Sequential, module: nn.Module, flow: _Flow) -> None:
    """Add the module that a binarizer puts after its layer."""
    body.add_module("behind", module)
    flow.rectified = True


def _layer(
    block: Block, network: Network, flow: _Flow, binarizer: Binarizer, positions: int, classes: int
) -> tuple[BinaryLayer, tuple[int, ...]]:
    inputs, outputs = flow.shape[0], classes if block.outputs is None else block.outputs
    settings: dict[str, Any] = {
        "bias": block.bias,
        "binarizer": binarizer,
        "rectify": not flow.rectified,
        "dropout": block.input_dropout,
        "post_layer": False,
        "initialise": partial(initialise, block=block, network=network),
    }
    if block.layer == "linear":
        return BinaryLinear(inputs, outputs, positions=positions, **settings), (outputs,)
    window = block.kernel, block.stride, block.padding
    sides = [_side(block, side + 2 * block.padding, block.kernel, block.stride) for side in flow.shape[1:]]
    conv = BinaryConv2d(inputs, outputs, *window, groups=block.groups, extent=tuple(sides), **settings)
    return conv, (outputs, *sides)


def _side(block: Block, side: int, kernel: int, stride: int) -> int:
    if side < kernel:
        raise UserError(
            f"the image is too small for this network: {block.name} has {side} pixels left for a window of {kernel}. "
            "Give larger images (data.image_size) or choose another network (model.network)."
        )
    return (side - kernel) // stride + 1


def _norm(block: Block, network: Network, shape: tuple[int, ...]) -> nn.Module:
    norm = (BatchNorm2d if len(shape) == 3 else BatchNorm1d)(shape[0], eps=block.eps)
    if network.gamma == "uniform":
        nn.init.uniform_(norm.weight)
    elif network.gamma == "none":
        norm.register_parameter("weight", None)
    return norm


def _refuse_dead_sign(block: Block, binarizer: Binarizer, flow: _Flow) -> None:
    if binarizer.signed_input and not flow.signed:
        raise UserError(
            f"{block.name}: {type(binarizer).__name__} takes the sign of a ReLU's output, with no norm in between, so "
            "every code would be +1. Choose a network whose blocks begin with a norm (--model.network alexnet-xnor), "
            "or a binarizer whose inputs stay real (BWN)."
        )
