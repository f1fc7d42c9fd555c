"""Bits, multiply-adds and memory of a network, by layer."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize import Binarizer
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer
from xnorlit.models.builder import AlexNet
from xnorlit.models.built import BuiltNetwork, DuplicateChannels

if TYPE_CHECKING:
    from xnorlit.models.cost import Cycles

LAYERS = (BinaryLayer, nn.modules.conv._ConvNd, nn.Linear)
REAL = 32  # bits of an fp32 number, and of an operand that a binarizer keeps real


@dataclass(frozen=True)
class LayerSummary:
    """One convolution or linear layer, with everything up to the next one.

    Attributes:
        name: Name of its block.
        weight: Shape of the weights, `(O, I, kh, kw)` or `(O, I)`.
        output: Shape of the output for one image, `(O, H', W')` or `(O,)`.
        weight_bits: Bits of a weight code, 32 for a real weight.
        input_bits: Bits of an input code.
        macs: Multiply-adds for one image.
        parameters: Trained numbers of the layer and of the norms and other modules up to the next layer.
        packed_bits: Bits of the same parameters in a packed file, see `Summary.packed_bits`.
        inputs: Numbers that it reads for one image.
    """

    name: str
    weight: tuple[int, ...]
    output: tuple[int, ...]
    weight_bits: int
    input_bits: int
    macs: int
    parameters: int
    packed_bits: int
    inputs: int

    @property
    def weights(self) -> int:
        """Number of weights, without the bias."""
        return torch.Size(self.weight).numel()

    @property
    def few_bit_macs(self) -> int:
        """Multiply-adds of codes with codes, which a packed engine computes on bits."""
        return self.macs if max(self.weight_bits, self.input_bits) < REAL else 0

    @property
    def bops(self) -> int:
        """Multiply-adds of signs with signs for one image."""
        return self.macs if self.weight_bits == self.input_bits == 1 else 0

    @property
    def ace(self) -> int:
        """Multiply-adds for one image, times the bits of weight and input."""
        return self.macs * self.weight_bits * self.input_bits

    @property
    def activation_bits(self) -> int:
        """Bits of what it reads for one image."""
        return self.inputs * self.input_bits

    @property
    def float_bits(self) -> int:
        """Bits of its trained parameters in fp32."""
        return REAL * self.parameters


@dataclass(frozen=True)
class Summary:
    """The summary of a network; it prints as a table.

    Attributes:
        layers: Convolutions and linear layers, from the pixels to the logits.
        folded: Whether packed sizes fold everything between two layers, as a packed file does, or count it in fp32.
    """

    layers: tuple[LayerSummary, ...]
    folded: bool = True

    @override
    def __str__(self) -> str:
        return table(self)

    @property
    def parameters(self) -> int:
        """Number of all trained values."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def binary_weights(self) -> int:
        """Number of weights whose code has one bit."""
        return sum(layer.weights for layer in self.layers if layer.weight_bits == 1)

    @property
    def float_bits(self) -> int:
        """Bits of all trained parameters in fp32."""
        return REAL * self.parameters

    @property
    def bops(self) -> int:
        """Binary operations for one image: multiply-adds of signs with signs, each counted once.

        Source: ReActNet, arXiv 2003.03488, where OPs = BOPs / 64 + FLOPs.
        """
        return sum(layer.bops for layer in self.layers)

    @property
    def ace(self) -> int:
        """Arithmetic computation effort for one image: multiply-adds times the bits of weight and input.

        Reals count with 32 bits. Source: PokeBNN, arXiv 2112.00133.
        """
        return sum(layer.ace for layer in self.layers)

    @property
    def weight_bits(self) -> int:
        """Bits of all weights in their codes."""
        return sum(layer.weight_bits * layer.weights for layer in self.layers)

    @property
    def largest_activation(self) -> LayerSummary:
        """The layer that reads the most bits for one image, `activation_bits`."""
        return max(self.layers, key=lambda layer: layer.activation_bits)

    @property
    def packed_bits(self) -> int:
        """Bits of the network in a packed file.

        - Each weight takes the bits of its code; twice if the outputs are duplicated (BinaryDuo's decoupled networks).
        - If the next layer reads codes, everything before it (alpha, bias, norm, ReLU) is folded into a 32-bit
          threshold between each code and the next. Codes of k bits add k bits for the first code and for each
          threshold. This holds per channel, and per position if a norm after a flattening distinguishes them.
        - If a layer leads to real numbers, everything is folded into a scale and a shift in fp32, with one more of each
          for a norm after a ReLU.
        - Real weights are in fp32.

        For a network without codes, which has no packed file, it is the size of the trained parameters.
        """
        return sum(layer.packed_bits for layer in self.layers)

    @property
    def binary_packed_bits(self) -> int:
        """The part of `packed_bits` in layers with one-bit weights, including everything up to the next layer."""
        return sum(layer.packed_bits for layer in self.layers if layer.weight_bits == 1)

    def cycles(self, *, unfolding: int = 1, copies: int = 1, clock: float | None = None) -> "Cycles":
        """The cycles on an FPGA where every layer has its own hardware; see `xnorlit.models.cost`.

        Args:
            unfolding: Products of one output that each layer computes at once; a layer with fewer takes all of its own.
            copies: Outputs that each layer computes at once, likewise.
            clock: In MHz.
        """
        from xnorlit.models.cost import cycles  # Imported here, because it imports this module.

        return cycles(self, unfolding=unfolding, copies=copies, clock=clock)

    def to_json(self) -> dict[str, Any]:
        """The layers and the totals; sizes in bits."""
        return {
            "layers": [
                {
                    "name": layer.name,
                    "weight_shape": layer.weight,
                    "output_shape": layer.output,
                    "weight_bits": layer.weight_bits,
                    "input_bits": layer.input_bits,
                    **_figures(layer),
                }
                for layer in self.layers
            ],
            "total": _totals(self) | {"largest_activation_bits": self.largest_activation.activation_bits},
        }


def summarize(model: BuiltNetwork) -> Summary:
    """Summarises a network, which may be on torch's `meta` device.

    For a table nothing is computed, and packed sizes are those of a packed file. A design's forward runs once, and
    parameters without codes count in fp32 (see `summary`). The same holds for a table whose binarizer adds shortcuts
    or centres.

    Args:
        model: The network.
    """
    if not isinstance(model, AlexNet):
        return _run(model, (3, model.image_size, model.image_size))
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
    if isinstance(model, AlexNet) or (isinstance(model, BuiltNetwork) and input_shape is None):
        return summarize(model)
    if input_shape is None:
        raise UserError(
            f"summary: {type(model).__name__} does not state the shape of its input. Give it, such as "
            "summary(net, (3, 224, 224))."
        )
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


# --- as text ----------------------------------------------------------------------------------------------------------
COUNTS, SIZES = ("parameters", "few-bit MACs", "float MACs"), ("codes", "as fp32", "packed")
HEADER = ("layer", "weights", "output", "W / A", *COUNTS, *SIZES)
LEFT = 4  # columns that begin at their left edge
NOTE = """bits of W(eights) and A(ctivations, the layer's inputs), 32 for real ones; MACs for one image
parameters: trained numbers of the layer and of what follows it up to the next one; KiB = 1,024 bytes
BOPs: multiply-adds of signs with signs; ACE: all multiply-adds, each times the bits of W and of A
codes: the weights in their bits; packed: with """
FOLDED = """what the packed file holds besides, alpha, bias and norms folded into
thresholds where codes follow, into scale and shift where real numbers do"""
UNFOLDED = "all other trained numbers in fp32"


def table(summary: Summary) -> str:
    """The table, a line per layer and one of totals, then what its columns mean.

    Args:
        summary: The network's.
    """
    rows = [HEADER, *map(_row, summary.layers), ("total", "", "", "", *_cells(_totals(summary)))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(_padded(row, widths)).rstrip() for row in rows]
    rule = "-" * len(lines[0])
    ratio = summary.float_bits / summary.packed_bits
    before, after = _mebibytes(summary.float_bits), _mebibytes(summary.packed_bits)
    size = f"{before} as trained in fp32, {after} packed: {ratio:.1f} x smaller"
    widest = summary.largest_activation
    cost = (
        f"{summary.bops:,} BOPs, {summary.ace:,} ACE; {summary.weight_bits:,} bits of weights; "
        f"the largest activation has {widest.activation_bits:,} bits ({widest.name} reads it)"
    )
    note = NOTE + (FOLDED if summary.folded else UNFOLDED)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", size, cost, "", note])


def _figures(layer: LayerSummary) -> dict[str, int]:
    return {
        "weights": layer.weights,
        "parameters": layer.parameters,
        "few_bit_macs": layer.few_bit_macs,
        "float_macs": layer.macs - layer.few_bit_macs,
        "bops": layer.bops,
        "ace": layer.ace,
        "code_bits": layer.weight_bits * layer.weights,
        "fp32_bits": layer.float_bits,
        "packed_bits": layer.packed_bits,
    }


def _row(layer: LayerSummary) -> tuple[str, ...]:
    shapes = ("x".join(map(str, shape)) for shape in (layer.weight, layer.output))
    return layer.name, *shapes, f"{layer.weight_bits} / {layer.input_bits}", *_cells(_figures(layer))


def _totals(summary: Summary) -> dict[str, int]:
    figures = [_figures(layer) for layer in summary.layers]
    return {key: sum(each[key] for each in figures) for key in figures[0]}


def _cells(figures: dict[str, int]) -> Sequence[str]:
    counts = (f"{figures[key]:,}" for key in ("parameters", "few_bit_macs", "float_macs"))
    sizes = (f"{figures[key] / 8192:,.1f} KiB" for key in ("code_bits", "fp32_bits", "packed_bits"))
    return *counts, *sizes


def _padded(row: Sequence[str], widths: Sequence[int]) -> Sequence[str]:
    return [
        cell.ljust(width) if column < LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _mebibytes(bits: int) -> str:
    return f"{bits / 2**23:.3g} MiB"
