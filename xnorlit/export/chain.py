"""A chain as links: a layer, the modules between it and the next layer, and the next layer's input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from xnorlit.binarize import input_signs_or_codes
from xnorlit.errors import UserError
from xnorlit.export.bends import Bend, bends_of
from xnorlit.export.known import AVERAGES, LAYERS, SMALL
from xnorlit.export.maps import Halves
from xnorlit.export.operands import operand_of, passes_output, reads_plainly, refuse, refuse_beyond
from xnorlit.export.trace import Step, Trace
from xnorlit.layers import BinaryConv2d, BinaryLayer, BinaryLinear, Conv2d, Linear
from xnorlit.models.built import DuplicateChannels
from xnorlit.packed.layer import Operand


@dataclass(frozen=True)
class Link:
    """One layer, with everything up to the next layer.

    Attributes:
        name: The layer's name in the packed network.
        layer: The layer; a torch layer is converted to one of ours.
        operand: The input of its sums.
        before_pool: Elementwise modules between the layer and the max pool, or the next layer if there is no pool.
        pool: Side, stride and padding of the max pool, if any.
        after_pool: Elementwise modules after the pool, before a flattening.
        after_flatten: Elementwise modules after a flattening.
        reader: The next layer; `None` after the last one.
        reads: The input of the next layer's sums.
        copies: How often its output channels are repeated; the packed layer has all copies.
    """

    name: str
    layer: BinaryLayer
    operand: Operand
    before_pool: tuple[nn.Module, ...]
    pool: tuple[int, int, int] | None
    after_pool: tuple[nn.Module, ...]
    after_flatten: tuple[nn.Module, ...]
    reader: BinaryLayer | None
    reads: Operand | None
    copies: int

    @property
    def outputs(self) -> int:
        """Output channels, including copies."""
        return self.copies * len(self.layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The bias that it adds in evaluation, `(O,)`."""
        bias = self.layer.bias
        return None if bias is None else self.layer.binarizer.bias(bias).to(bias.dtype).repeat(self.copies)

    @property
    def gives_reals(self) -> bool:
        """Whether the output is real: logits, real inputs of the next layer, or inputs whose magnitudes give its K."""
        return self.reads is None or self.reads.form == "reals" or self.reads.scale == "K"

    @cached_property
    def scale(self) -> Tensor:
        """The factor of the sums of codes, `(O,)`, computed with evaluation's own arithmetic."""
        binarizer, weight = self.layer.binarizer, self.layer.weight
        codes = binarizer.input_codes(self.layer.weight.new_zeros(1, self.layer.channels))
        if codes.scale.numel() != 1:
            raise UserError(f"{self.name} cannot be packed: its inputs have more than one scale.")
        scale = codes.scale.view(()) * binarizer.weight_codes(weight).scale
        return scale.expand(len(weight)).repeat(self.copies)

    def to_pool(self, sums: Tensor) -> Tensor:
        """The max pool's input for sums of codes, `(M, O)`; without a pool, everything up to a flattening."""
        return self._through(self.before_pool, self._scaled(sums))

    def features(self, sums: Tensor, positions: int, through: int | None = None) -> Tensor:
        """The next layer's input, `(M, O * positions)`, after the pool's largest sums of codes.

        Args:
            sums: One per output channel, `(M, O)`, or one per channel and position.
            positions: Positions of the map that is flattened; 1 if they do not matter.
            through: Through how many of its modules; default: all, which gives the next layer's input.
        """
        channelwise = [*self.before_pool, *self.after_pool]
        through = len(channelwise) + len(self.after_flatten) if through is None else through
        alike = sums.shape[1] != self.outputs * positions
        rows = sums if alike else sums.view(-1, self.outputs, positions).transpose(1, 2).reshape(-1, self.outputs)
        y = self._through(channelwise[:through], self._scaled(rows))
        y = y[:, :, None].expand(-1, -1, positions) if alike else y.view(len(sums), positions, -1).transpose(1, 2)
        y = y.flatten(1)
        for module in self.after_flatten[: max(0, through - len(channelwise))]:
            y = module(y)
        return y

    def bends(self, positions: int, *, to_pool: bool = False) -> Iterator[Bend]:
        """The bends of its activations, in order, for sums `(M, O * positions)`.

        Args:
            positions: As for `features`.
            to_pool: Whether only those before the pool.
        """
        modules = self.before_pool if to_pool else (*self.before_pool, *self.after_pool, *self.after_flatten)
        features = self.outputs * positions
        for i, module in enumerate(modules):
            for at in bends_of(module):
                each = at if at.numel() in (1, features) else at.repeat_interleave(positions)
                yield Bend(partial(self.features, positions=positions, through=i), each)

    def codes(self, sums: Tensor, positions: int) -> Tensor:
        """The codes of the next layer's input, `(M, O * positions)`, as bits: 1 for the sign +1.

        Raises:
            UserError: The next layer makes codes other than those it declares.
        """
        assert self.reader is not None
        assert self.reads is not None
        y = self.features(sums, positions)
        binarizer, y = self.reader.binarizer, y if self.reader.window is None else y[:, :, None, None]
        found = input_signs_or_codes(binarizer, y).reshape(len(y), -1)
        codes = (found + 1) / 2 if self.reads.form == "signs" else found
        whole = torch.equal(codes, codes.round()) and codes.min() >= 0 and codes.max() < 2**self.reads.bits
        refuse(
            not whole, self.name, f"the next layer does not turn its input into {self.reads.bits}-bit {self.reads.form}"
        )
        return codes.to(torch.int64)

    def _scaled(self, sums: Tensor) -> Tensor:
        y = sums * self.scale
        return y if self.bias is None else y + self.bias

    def _shaped(self, y: Tensor) -> Tensor:
        return y if self.layer.window is None else y[:, :, None, None]

    def _through(self, modules: Sequence[nn.Module], y: Tensor) -> Tensor:
        for module in modules:
            y = module(self._shaped(y)).flatten(1)
        return y


def is_chain(trace: Trace) -> bool:
    """Whether each layer reads only the one before it; format version 2 describes such a chain."""
    if not trace.in_line or not trace.steps:
        return False
    layers = [step.module for step in trace.steps if isinstance(step.module, BinaryLayer)]
    if any(layer.shortcut or layer.binarizer.two_valued for layer in layers):
        return False
    if any(getattr(layer, "padding_mode", "zeros") != "zeros" for layer in layers):
        return False
    if any(isinstance(step.module, Conv2d | Linear) for step in trace.steps):
        return False  # Real layers that round once require equal reals, which only nodes give.
    pools = 0
    for step in trace.steps:
        pools = 0 if isinstance(step.module, LAYERS) else pools + isinstance(step.module, nn.MaxPool2d)
        if pools > 1 or isinstance(step.module, (*SMALL, *AVERAGES)):
            return False
    return True


def links(steps: Sequence[Step]) -> list[Link]:
    """The links of a chain, from the pixels to the logits.

    Args:
        steps: Of a traced network.

    Raises:
        UserError: A part of the network has no packed form.
    """
    places = [i for i, step in enumerate(steps) if isinstance(step.module, LAYERS)]
    if not places:
        raise UserError("the network cannot be packed: it has no convolution and no linear layer.")
    refuse(places[0] > 0, steps[0].name, "it stands between the pixels and the first layer")
    layers = {place: as_ours(steps[place]) for place in places}
    operands = {
        place: operand_of(layer, steps[place].name, first=place == places[0]) for place, layer in layers.items()
    }
    found = []
    for place, end in zip(places, [*places[1:], len(steps)], strict=True):
        reads = layers.get(end), operands.get(end)
        found.append(_link(steps[place], layers[place], operands[place], steps[place + 1 : end], *reads))
    return found


def as_ours(step: Step) -> BinaryLayer:
    """The layer as one of ours; a torch layer keeps its weights and gets real operands."""
    name, module = step.name, step.module
    check_finite(module, name)
    if isinstance(module, nn.Conv2d):
        refuse(module.dilation != (1, 1), name, f"dilation is {module.dilation}{step.place}; use 1")
        mode = module.padding_mode
        refuse(mode != "zeros", name, f"padding_mode is {mode!r}{step.place}; use 'zeros'")
        channels = module.in_channels, module.out_channels
        window: tuple[Any, ...] = module.kernel_size, module.stride, module.padding
        layer = BinaryConv2d(*channels, *window, groups=module.groups, binarizer="Float", initialise=lambda _: None)
    elif isinstance(module, nn.Linear):
        layer = BinaryLinear(module.in_features, module.out_features, binarizer="Float", initialise=lambda _: None)
    else:
        assert isinstance(module, BinaryLayer)
        _check_binary(name, module)
        layer = module
    if layer is not module:
        layer.weight = nn.Parameter(module.weight.detach())
        layer.bias = None if module.bias is None else nn.Parameter(module.bias.detach())
    if isinstance(layer, BinaryConv2d):
        uneven = f"padding 'same' is uneven for its kernel{step.place}; use an odd kernel"
        refuse(layer.trailing != (0, 0), name, uneven)
        kernel, stride, padding = layer.window
        refuse_beyond(name, "it", step.place, kernel=kernel, stride=stride, padding=padding)
        wide = any(zeros >= side for zeros, side in zip(padding, kernel, strict=True))
        refuse(wide, name, f"padding {padding} is not smaller than kernel {kernel}{step.place}; use less padding")
    return layer


def _link(
    step: Step,
    layer: BinaryLayer,
    operand: Operand,
    between: Sequence[Step],
    reader: BinaryLayer | None,
    reads: Operand | None,
) -> Link:
    name = step.name
    parts: dict[str, list[nn.Module]] = {"before_pool": [], "after_pool": [], "after_flatten": []}
    at, pool, copies = "before_pool", None, 1
    if layer.post_layer is not None:
        post = layer.post_layer
        parts[at].extend(post if isinstance(post, nn.Sequential) else [post])
    for _, module, place, _ in between:
        if isinstance(module, nn.MaxPool2d):
            refuse(at != "before_pool", name, f"a second max pool, or a max pool after a flattening, follows it{place}")
            pool, at = square_pool(module, name, place), "after_pool"
        elif isinstance(module, nn.Flatten):
            at = "after_flatten"
        elif isinstance(module, DuplicateChannels):
            grouped = getattr(layer, "groups", 1) > 1
            refuse(grouped, name, f"it has groups and its outputs are duplicated{place}; use a network without groups")
            parts = {part: [Halves(module) for module in found] for part, found in parts.items()}
            copies *= 2
        else:
            check_finite(module, name)
            parts[at].append(module)
    modules = {part: tuple(found) for part, found in parts.items()}
    link = Link(name, layer, operand, pool=pool, reader=reader, reads=reads, copies=copies, **modules)
    if reader is not None and link.gives_reals:
        plain = reads_plainly(reader.binarizer, reader.channels, flat=reader.window is None)
        kind = type(reader.binarizer).__name__
        refuse(not plain, name, f"the next layer, {kind}, shifts or scales the reals that it reads")
    return link


def square_pool(pool: nn.MaxPool2d, name: str, place: str) -> tuple[int, int, int]:
    """Side, stride and padding of a max pool."""
    pairs = [(value, value) if isinstance(value, int) else tuple(value) for value in (pool.kernel_size, pool.stride)]
    pairs += [(pool.padding,) * 2 if isinstance(pool.padding, int) else tuple(pool.padding)]
    square = all(len(set(pair)) == 1 for pair in pairs) and pool.dilation in (1, (1, 1))
    refuse(
        not square or pool.ceil_mode,
        name,
        f"its max pool {pool}{place} is not square, or has dilation or ceil_mode; use none",
    )
    kernel, stride, padding = (int(pair[0]) for pair in pairs)
    refuse_beyond(name, "its max pool", place, kernel=[kernel], stride=[stride], padding=[padding])
    return kernel, stride, padding


def _check_binary(name: str, layer: BinaryLayer) -> None:
    kind = type(layer.binarizer).__name__
    why = layer.binarizer.cannot_pack
    refuse(bool(why), name, f"{kind}: {why}")
    changes = f"{kind}.output changes the layer's result, which the engine does not; return it as it is, and put the"
    refuse(not passes_output(layer), name, f"{changes} change into a module of {kind}.post_layer, such as nn.Hardtanh")


def check_finite(module: nn.Module, name: str) -> None:
    """Refuse parameters and statistics that are not finite."""
    for key, values in [*module.named_parameters(), *module.named_buffers()]:
        wrong = values.is_floating_point() and not bool(torch.isfinite(values).all())
        refuse(wrong, name, f"{key} of its {type(module).__name__} is not finite; check the checkpoint")
