"""A network as links: a layer, what lies between it and the next layer, and what the next layer makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from xnorlit.errors import UserError
from xnorlit.export.maps import Halves
from xnorlit.export.operands import operand_of, reads_plainly, refuse
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryLayer
from xnorlit.models import AlexNet
from xnorlit.models.builder import DuplicateChannels
from xnorlit.packed.graph import Operand

# All are one value in, one value out.
ELEMENTWISE = (BatchNorm1d, BatchNorm2d, nn.ReLU, nn.PReLU, nn.Hardtanh)


@dataclass(frozen=True)
class Link:
    """One layer and its way to the next.

    Attributes:
        name: Name of the layer's block.
        layer: The layer.
        operand: What its sums take in.
        before_pool: Elementwise modules between the layer and the max pool, or the next layer where there is no pool.
        pool: The max pool, if any.
        after_pool: Elementwise modules behind the pool, before a flattening.
        after_flatten: Elementwise modules behind a flattening.
        averaged: Extents that an average pool leaves, which has to find them.
        reader: The next layer; `None` behind the last one.
        reads: What that one's sums take in.
        copies: How often its output channels follow each other in what leaves: the packed layer has them all.
    """

    name: str
    layer: BinaryLayer
    operand: Operand
    before_pool: tuple[nn.Module, ...]
    pool: nn.MaxPool2d | None
    after_pool: tuple[nn.Module, ...]
    after_flatten: tuple[nn.Module, ...]
    averaged: tuple[int, int] | None
    reader: BinaryLayer | None
    reads: Operand | None
    copies: int

    @property
    def outputs(self) -> int:
        """Output channels, every copy of them."""
        return self.copies * len(self.layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """Its bias, `(O,)`."""
        return None if self.layer.bias is None else self.layer.bias.repeat(self.copies)

    @property
    def gives_reals(self) -> bool:
        """Whether what leaves is real: the logits, the next layer's inputs, or those whose magnitudes make its K."""
        return self.reads is None or self.reads.form == "reals" or self.reads.scale == "K"

    @cached_property
    def scale(self) -> Tensor:
        """What the evaluation forward multiplies the sums of codes by, `(O,)`, in its own arithmetic."""
        binarizer, weight = self.layer.binarizer, self.layer.weight
        codes = binarizer.input_codes(self.layer.weight.new_zeros(1, self.layer.channels))
        if codes.scale.numel() != 1:
            raise UserError(f"{self.name} cannot be packed: its inputs have more than one scale.")
        scale = codes.scale.view(()) * binarizer.weight_codes(weight).scale
        return scale.expand(len(weight)).repeat(self.copies)

    def to_pool(self, sums: Tensor) -> Tensor:
        """What the max pool sees of sums of codes, `(M, O)`; all up to a flattening where there is no pool."""
        y = sums * self.scale
        y = y if self.bias is None else y + self.bias
        return self._through(self.before_pool, self.layer.binarizer.output(self._shaped(y)).flatten(1))

    def features(self, sums: Tensor, positions: int) -> Tensor:
        """What the next layer reads, `(M, O * positions)`, behind the pool's largest sums of codes.

        Args:
            sums: One for each output channel, `(M, O)`, or for each channel and position.
            positions: Positions of the map that a flattening would lay side by side; 1 where none matters.
        """
        alike = sums.shape[1] != self.outputs * positions
        rows = sums if alike else sums.view(-1, self.outputs, positions).transpose(1, 2).reshape(-1, self.outputs)
        y = self._through(self.after_pool, self.to_pool(rows))
        y = y[:, :, None].expand(-1, -1, positions) if alike else y.view(len(sums), positions, -1).transpose(1, 2)
        y = y.flatten(1)
        for module in self.after_flatten:
            y = module(y)
        return y

    def codes(self, sums: Tensor, positions: int) -> Tensor:
        """The codes of what the next layer reads, `(M, O * positions)`, as bits: 1 for the sign +1.

        Raises:
            UserError: The next layer makes other codes than it says.
        """
        assert self.reader is not None
        assert self.reads is not None
        y = self.features(sums, positions)
        values = self.reader.binarizer.input_codes(y if self.reader.window is None else y[:, :, None, None]).values
        found = values.reshape(y.shape)
        codes = (found + 1) / 2 if self.reads.form == "signs" else found
        whole = torch.equal(codes, codes.round()) and codes.min() >= 0 and codes.max() < 2**self.reads.bits
        refuse(
            not whole, self.name, f"the next layer makes no {self.reads.bits}-bit {self.reads.form} of what it reads"
        )
        return codes.to(torch.int64)

    def _shaped(self, y: Tensor) -> Tensor:
        return y if self.layer.window is None else y[:, :, None, None]

    def _through(self, modules: Sequence[nn.Module], y: Tensor) -> Tensor:
        for module in modules:
            y = module(self._shaped(y)).flatten(1)
        return y


def links(model: AlexNet) -> list[Link]:
    """The links of a network, from the pixels to the logits.

    Raises:
        UserError: Something in the network has no packed form.
    """
    steps = [(name, module) for name, block in model.named_children() if name != "normalize" for module in block]
    places = [i for i, (_, module) in enumerate(steps) if isinstance(module, BinaryLayer)]
    refuse(places[0] > 0, steps[0][0], "something stands between the pixels and the first layer")
    for place in places:
        _check(*steps[place])
    operands = {place: operand_of(steps[place][1], steps[place][0], first=place == places[0]) for place in places}
    found = []
    for place, end in zip(places, [*places[1:], len(steps)], strict=True):
        reader = steps[end][1] if end < len(steps) else None
        between = [module for _, module in steps[place + 1 : end]]
        found.append(_link(*steps[place], operands[place], between, reader, operands.get(end)))
    return found


def _link(
    name: str,
    layer: BinaryLayer,
    operand: Operand,
    between: Sequence[nn.Module],
    reader: BinaryLayer | None,
    reads: Operand | None,
) -> Link:
    parts: dict[str, list[nn.Module]] = {"before_pool": [], "after_pool": [], "after_flatten": []}
    at, pool, averaged, copies = "before_pool", None, None, 1
    known = (*ELEMENTWISE, type(layer.binarizer.post_layer(len(layer.weight))))
    for module in between:
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            continue  # nothing in evaluation
        if isinstance(module, nn.MaxPool2d):
            refuse(at != "before_pool", name, "a second max pool, or one behind a flattening, follows it")
            plain = isinstance(module.kernel_size, int) and module.dilation == 1 and not module.ceil_mode
            refuse(not plain or not isinstance(module.padding, int), name, f"its max pool {module} is not square")
            pool, at = module, "after_pool"
        elif isinstance(module, nn.Flatten):
            at = "after_flatten"
        elif isinstance(module, DuplicateChannels):
            refuse(getattr(layer, "groups", 1) > 1, name, "its channels are copied, and it has groups")
            parts = {part: [Halves(module) for module in found] for part, found in parts.items()}
            copies *= 2
        elif isinstance(module, nn.AdaptiveAvgPool2d) and at != "after_flatten":
            averaged = (module.output_size,) * 2 if isinstance(module.output_size, int) else module.output_size
        elif isinstance(module, known):
            _check_finite(module, name)
            parts[at].append(module)
        else:
            remedy = "; use a max pool" if "Pool" in type(module).__name__ else ""
            refuse(True, name, f"{type(module).__name__} follows it, which has no packed form{remedy}")
    modules = {part: tuple(found) for part, found in parts.items()}
    others = {"averaged": averaged, "reader": reader, "reads": reads, "copies": copies}
    link = Link(name, layer, operand, pool=pool, **others, **modules)
    if reader is not None and link.gives_reals:
        plain = reads_plainly(reader.binarizer, reader.channels, flat=reader.window is None)
        kind = type(reader.binarizer).__name__
        refuse(not plain, name, f"the next layer, {kind}, shifts or scales the reals that it reads")
    return link


def _check(name: str, layer: BinaryLayer) -> None:
    kind = type(layer.binarizer).__name__
    why = layer.binarizer.cannot_pack
    refuse(bool(why), name, f"{kind}: {why}")
    refuse(layer.shortcut, name, f"{kind} adds its real input to its output; use a method without shortcuts")
    _check_finite(layer, name)


def _check_finite(module: nn.Module, name: str) -> None:
    for key, values in [*module.named_parameters(), *module.named_buffers()]:
        wrong = values.is_floating_point() and not bool(torch.isfinite(values).all())
        refuse(wrong, name, f"{key} of its {type(module).__name__} is not finite; check the checkpoint")
