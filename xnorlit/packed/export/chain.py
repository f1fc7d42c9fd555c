"""A network as links: a layer, what lies between it and the next layer, and what the next layer makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from xnorlit.binarize import Binarizer
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d, BatchNorm2d, QuantConv2d, QuantLayer
from xnorlit.models import AlexNet

# All are one value in, one value out, and grow or fall throughout with their input.
ELEMENTWISE = (BatchNorm1d, BatchNorm2d, nn.ReLU, nn.PReLU, RPReLU)


@dataclass(frozen=True)
class Link:
    """One layer and its way to the next.

    Attributes:
        name: Name of the layer's block.
        layer: The layer.
        before_pool: Elementwise modules between the layer and the max pool, or the next layer where there is no pool.
        pool: The max pool, if any.
        after_pool: Elementwise modules behind the pool, before a flattening.
        after_flatten: Elementwise modules behind a flattening.
        reader: The next layer's binarizer, which takes the values' sign or the values; `None` behind the last layer.
        first: Whether it reads the pixels.
    """

    name: str
    layer: QuantLayer
    before_pool: tuple[nn.Module, ...]
    pool: nn.MaxPool2d | None
    after_pool: tuple[nn.Module, ...]
    after_flatten: tuple[nn.Module, ...]
    reader: Binarizer | None
    first: bool

    @property
    def gives_signs(self) -> bool:
        """Whether the next layer reads signs."""
        return self.reader is not None and self.reader.input_bits == 1

    @cached_property
    def scale(self) -> Tensor:
        """What the evaluation forward multiplies the sums of codes by, `(O,)`, in its own arithmetic."""
        codes = self.layer.binarizer.weight_codes(self.layer.weight)
        inputs = self.layer.binarizer.input_codes(self.layer.weight.new_zeros(1, self.layer.channels))
        return (inputs.scale * codes.scale).expand(len(self.layer.weight))

    def scaled(self, sums: Tensor) -> Tensor:
        """The layer's output for sums of codes, `(M, O)`: scaled, then the bias added."""
        bias = self.layer.bias
        y = sums * self.scale
        return y if bias is None else y + bias

    def to_pool(self, sums: Tensor) -> Tensor:
        """What the max pool sees of sums of codes, `(M, O)`; the whole way where there is no pool."""
        return _through(self.before_pool, self.scaled(sums))

    def features(self, sums: Tensor, positions: int) -> Tensor:
        """What the next layer reads, `(M, O, positions)`, when the pool's largest sums of codes are `(M, O)`.

        Args:
            sums: A sum for each output channel.
            positions: Positions of the map that a flattening would lay side by side; 1 where none matters.
        """
        y = _through(self.after_pool, self.to_pool(sums))
        y = y[:, :, None].expand(-1, -1, positions)
        if self.after_flatten:
            flat = y.flatten(1)
            for module in self.after_flatten:
                flat = module(flat)
            y = flat.view(y.shape)
        return y


def links(model: AlexNet) -> list[Link]:
    """The links of a network, from the pixels to the logits.

    Raises:
        UserError: Something in the network has no packed form.
    """
    steps = [(name, module) for name, block in model.named_children() if name != "normalize" for module in block]
    places = [i for i, (_, module) in enumerate(steps) if isinstance(module, QuantLayer)]
    _refuse(places[0] > 0, steps[0][0], "something stands between the pixels and the first layer")
    found = []
    for place, end in zip(places, [*places[1:], len(steps)], strict=True):
        name, layer = steps[place]
        reader = steps[end][1].binarizer if end < len(steps) else None
        between = [module for _, module in steps[place + 1 : end]]
        found.append(_link(name, layer, between, reader, place == places[0]))
    for link in found:
        _check(link, last=link is found[-1])
    return found


def _link(name: str, layer: QuantLayer, between: Sequence[nn.Module], reader: Binarizer | None, first: bool) -> Link:
    parts: dict[str, list[nn.Module]] = {"before_pool": [], "after_pool": [], "after_flatten": []}
    at, pool = "before_pool", None
    for module in between:
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            continue  # nothing in evaluation
        if isinstance(module, nn.MaxPool2d):
            _refuse(at != "before_pool", name, "a second max pool, or one behind a flattening, follows it")
            pool, at = module, "after_pool"
        elif isinstance(module, nn.Flatten):
            at = "after_flatten"
        elif isinstance(module, ELEMENTWISE):
            parts[at].append(module)
        else:
            _refuse(True, name, f"{type(module).__name__} follows it, which has no packed form")
    modules = {part: tuple(found) for part, found in parts.items()}
    return Link(name, layer, pool=pool, reader=reader, first=first, **modules)


def _check(link: Link, last: bool) -> None:
    binarizer = link.layer.binarizer
    kind = type(binarizer).__name__
    _refuse(bool(binarizer.cannot_pack), link.name, binarizer.cannot_pack)
    _refuse(link.layer.shortcut, link.name, f"{kind} adds its real input to its output; train without shortcuts")
    if link.first:
        _refuse(
            binarizer.input_bits < 32, link.name, f"{kind} would take the sign of pixels; keep the first layer float"
        )
        _refuse(binarizer.rectify, link.name, "a ReLU stands before the pixels")
        _refuse(not isinstance(link.layer, QuantConv2d), link.name, "the first layer is no convolution")
        _refuse(isinstance(link.layer, QuantConv2d) and link.layer.groups > 1, link.name, "the first layer has groups")
        _refuse(not link.gives_signs, link.name, "the layer behind it reads real numbers; make that one XNOR")
    elif last and binarizer.input_bits == 32:
        _refuse(isinstance(link.layer, QuantConv2d), link.name, "the last layer is a float convolution")
    else:
        _refuse(
            not (binarizer.weight_bits == 1 and binarizer.input_bits == 1),
            link.name,
            f"{kind} has {binarizer.weight_bits}-bit weights and {binarizer.input_bits}-bit inputs, where a layer in "
            "the middle needs one bit for both (XNOR)",
        )
        _refuse(
            _scales_positions(link),
            link.name,
            f"{kind} scales each position by its inputs (K); train without",
        )
    pool = link.pool
    if pool is not None:
        plain = pool.padding == 0 and pool.dilation == 1 and not pool.ceil_mode and isinstance(pool.kernel_size, int)
        _refuse(not plain, link.name, f"its max pool {pool} is not square and unpadded")


def _scales_positions(link: Link) -> bool:
    """Whether the binarizer multiplies the sums by something that depends on the layer's input."""
    window, weight = link.layer.window, link.layer.weight
    if window is None:
        x, y = weight.new_ones(1, weight.shape[1]), weight.new_ones(1, 1)
    else:
        x = weight.new_ones(1, weight.shape[1], *window.kernel)
        sides = [1 + 2 * padding // stride for padding, stride in zip(window.padding, window.stride, strict=True)]
        y = weight.new_ones(1, 1, *sides)
    return not torch.equal(link.layer.binarizer.rescale(y, 3 * x, window), y)


def _refuse(condition: bool, name: str, why: str) -> None:
    if condition:
        raise UserError(
            f"{name} cannot be packed: {why}. The packed engine takes a float convolution of the pixels, "
            "layers with one-bit weights and inputs, and a float linear layer at the end."
        )


def _through(modules: Sequence[nn.Module], y: Tensor) -> Tensor:
    for module in modules:
        y = module(y[:, :, None, None]).flatten(1) if isinstance(module, BatchNorm2d) else module(y)
    return y
