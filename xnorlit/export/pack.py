"""Pack a trained module into a file: weights become bits, and everything between two signs becomes thresholds."""

import builtins
import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel
from typing_extensions import override

from xnorlit.edge import atomic
from xnorlit.edge.fields import FieldError
from xnorlit.errors import UserError, did_you_mean
from xnorlit.export.chain import Link, as_ours, is_chain, links
from xnorlit.export.graph import packed_nodes
from xnorlit.export.int8 import int8_conv, int8_linear
from xnorlit.export.layers import packed_layer
from xnorlit.export.operands import first_line, refuse
from xnorlit.export.trace import Step, Trace, traced
from xnorlit.export.weight import Weight, weigh
from xnorlit.layers import BinaryLayer
from xnorlit.layers.layer import expect_module
from xnorlit.packed.document import check, document, parse, written
from xnorlit.packed.engine import load
from xnorlit.packed.graph import Graph, Node
from xnorlit.packed.layer import LARGEST_SIDE, Layer, Map
from xnorlit.packed.origin import Source
from xnorlit.packed.tensorfile import METADATA

AT_ONCE = 32  # calibration images per forward
LEAST_CROP = 1e-6
# What to do about a fault that only the whole file shows, by the words of its message.
REMEDIES = (
    ("not finite", "Check the checkpoint."),
    ("slope|above|below", "Check the checkpoint, and the settings of the activation there."),
    ("values for one image|bytes for one image", "Give a smaller image_size, or use fewer channels."),
    ("take more memory", "Use fewer groups, or a smaller kernel."),
    ("products of bytes", "Use ends='float', or fewer inputs."),
    ("products may exceed", "Use fewer bits, or fewer inputs."),
    ("inputs: ", "Join fewer values at a time."),
    ("expected a list of 1 to", "Use fewer layers."),
    ("^image", "Correct the network's own normalisation of the pixels."),
    ("^source", "Correct the source given to pack."),
)
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


class Packed(NamedTuple):
    """A packed network in memory; printing it shows its size.

    Attributes:
        graph: Preprocessing, class names, layers, source.
        tensors: Tensors by name.
    """

    graph: Graph
    tensors: dict[str, np.ndarray]

    @property
    def weight(self) -> Weight:
        """The size of its few-bit layers, packed and in fp32."""
        return weigh(self.graph, self.tensors)

    @property
    def bytes(self) -> int:
        """The size of its file."""
        return len(self.content)

    @property
    def content(self) -> "builtins.bytes":
        """The bytes of its file."""
        return save(self.tensors, {METADATA: written(self.graph)})

    @override
    def __str__(self) -> str:
        few = self.weight
        if not few.layers:
            return f"{self.bytes / 2**20:.3g} MiB; no layer of few-bit weights"
        layers = f"{few.layers} {few.kind} layer{'s' if few.layers > 1 else ''}"
        return (
            f"{self.bytes / 2**20:.3g} MiB; its {layers} {few.packed / 2**20:.3g} MiB, "
            f"{few.ratio:.1f} times smaller than in fp32 ({few.float32 / 2**20:.3g} MiB)"
        )

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.graph.network}: {self}>"


def pack(
    model: nn.Module,
    file: Path | str | None = None,
    *,
    image_size: int,
    classes: Sequence[str],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    ends: Literal["float", "int8"] = "float",
    calibration: np.ndarray | None = None,
    crop: float = 1.0,
    squash: bool = False,
    source: Source | None = None,
) -> Packed:
    """Pack a network into bits, for an engine that needs neither PyTorch nor the network's classes.

    `packed(pixels) = model((pixels - mean) / std)` in evaluation: the integers of each binary layer are equal for equal
    inputs, and reals agree up to fp32 rounding.

    torch.fx traces the module. It may be any network of convolutions and linear layers, binary or torch's own. Between
    them it may have batch norms, ReLU, PReLU, LeakyReLU, Hardtanh, max and average pools, dropout, flattening, sums,
    concatenations and shortcuts, as modules or as functions. `register_node` adds your own layer class. In a network
    that is not a chain, reals are equal too if its real layers and norms are those of this package (`Conv2d`,
    `BatchNorm2d`). Signs after a shortcut are then equal for any image.

    Args:
        model: The network; it is not changed.
        file: Output file; an existing file is replaced, missing folders are created.
        image_size: Side of the square images, pixels.
        classes: Names of the classes, in the order of the logits.
        mean: Mean of each channel, 0 to 255; omit it if the network itself normalises the pixels.
        std: Standard deviation, likewise. Multiply values for images from 0 to 1 by 255.
        ends: Whether the first and the last layer compute in fp32 (`float`), or in 8 bits with some loss (`int8`). In
            a network that is not a chain, `int8` also concerns real layers in between: linear ones, and convolutions
            without padding and groups, such as 1 x 1 shortcuts.
        calibration: For 8 bits, uint8 images `[N, S, S, 3]` for calibrating the input range of these layers.
        crop: Side of validation's central crop over the image's shorter side; `xnorlit classify` crops pictures
            likewise.
        squash: Whether `crop` is a share of each side instead.
        source: Origin of the network; default: trained weights, no run.

    Raises:
        UserError: A part of the network cannot be packed. The message names it, the line of code that calls it, and
            what to use instead.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 16, 3, padding=1),
        ...     torch.nn.BatchNorm2d(16),
        ...     xl.BinaryConv2d(16, 32, 3, padding=1, binarizer="XNOR"),
        ...     torch.nn.MaxPool2d(4),
        ...     torch.nn.Flatten(),
        ...     torch.nn.Linear(512, 2),
        ... )
        >>> packed = xl.pack(net, image_size=16, classes=["cat", "dog"], mean=[125, 123, 114], std=[63, 62, 67])
        >>> packed.weight.layers, packed.weight.ratio > 20
        (1, True)
    """
    model = _ready(model)
    if type(image_size) is not int or not 1 <= image_size <= LARGEST_SIDE:
        raise UserError(
            f"image_size is {image_size!r}. Expected the side of the images in pixels, a whole number of 1 to "
            f"{LARGEST_SIDE}."
        )
    if isinstance(crop, bool) or not isinstance(crop, int | float) or not LEAST_CROP <= crop <= 1:
        raise UserError(f"crop is {crop!r}. Expected a share of the image's side, above 0 and at most 1.")
    if not isinstance(squash, bool):
        raise UserError(f"squash is {squash!r}. Expected True or False.")
    if ends not in ("float", "int8"):
        raise UserError(f"ends is {ends!r}. Expected 'float' or 'int8'.{did_you_mean(str(ends), ('float', 'int8'))}")
    if calibration is not None:
        calibration = np.asarray(calibration)
        if calibration.dtype != np.uint8 or calibration.shape[1:] != (image_size, image_size, 3):
            raise UserError(
                f"calibration is an array of {calibration.dtype} of shape {calibration.shape}. Expected uint8 images, "
                f"[N, {image_size}, {image_size}, 3]."
            )
    if not isinstance(source, Source | None):
        raise UserError(f"source is {source!r}. Expected a xnorlit.packed.origin.Source, or nothing.")
    own = getattr(model, "name", None)
    name = own if isinstance(own, str) and own else type(model).__name__
    trace = traced(model, image_size, mean, std)
    names = list(classes) if isinstance(classes, Iterable) and not isinstance(classes, str) else None
    if names is None or len(names) != trace.outputs:
        given = repr(classes) if names is None else f"{len(names)} names"
        raise UserError(
            f"classes: {given} for {trace.outputs} outputs of the network. Expected a list with a name for each."
        )
    if odd := [each for each in names if not isinstance(each, str)]:
        raise UserError(f"classes: {odd[0]!r} is not text. Expected the name of each class.")
    nodes: tuple[Node, ...] = ()
    layers: tuple[Layer, ...] = ()
    if is_chain(trace):
        layers, tensors = _packed(trace, image_size, ends, calibration)
    else:
        nodes, tensors = packed_nodes(trace, ends, lambda step: _range(trace, step, calibration))
    graph = Graph(
        network=name,
        image_size=image_size,
        mean=tuple(trace.normalize.mean.flatten().tolist()),
        std=tuple(trace.normalize.std.flatten().tolist()),
        crop=crop,
        squash=squash,
        classes=tuple(names),
        layers=layers,
        source=source or Source("trained", xnorlit=version("xnorlit")),
        nodes=nodes,
    )
    try:
        check(graph, tensors)
    except FieldError as error:
        raise UserError(f"{name} cannot be packed: {_told(str(error), graph, trace)}") from None
    packed = Packed(parse(document(graph)), tensors)
    if file is not None:
        _save(file, packed)
    return packed


def _told(fault: str, graph: Graph, trace: Trace) -> str:
    """A fault of the whole file with the names and lines that the network's owner knows, and a remedy."""
    places = {step.name: step.place for step in trace.steps}
    found = re.match(r"(?:layers|nodes)\[(\d+)\]", fault)
    place = places.get(graph.steps[int(found[1])].name, "") if found else ""
    remedies = (remedy for words, remedy in REMEDIES if re.search(words, fault))
    remedy = next(remedies, "Change this part of the network.")
    named = re.sub(r"(layers|nodes)\[(\d+)\]", lambda each: graph.steps[int(each[2])].name, fault)
    return f"{named}{place}. {remedy}"


def _ready(model: nn.Module) -> nn.Module:
    """A copy of the network for tracing: in fp32 on the CPU, in evaluation mode."""
    expect_module("pack", model)
    model = _unwrapped(model)
    for name, module in model.named_modules():
        kind, name = type(module).__name__, name or type(module).__name__
        for values in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            refuse(is_lazy(values), name, f"{kind} has no weights yet; call the network once on a batch of images")
            refuse(values.is_meta, name, f"{kind} is on the meta device and has no values; load its weights")
        scripted = isinstance(module, torch.jit.ScriptModule)
        refuse(scripted, name, f"{kind} is TorchScript, which torch.fx cannot trace; give the module itself")
        hooked = bool(module._forward_hooks or module._forward_pre_hooks)
        how = "remove it (register_forward_hook returns what has .remove(); prune.remove, remove_weight_norm)"
        refuse(hooked, name, f"{kind} has a forward hook, which may change its values; {how}")
        home = type(module).__module__
        quantised = "quantized" in home or "torchao" in home
        refuse(quantised, name, f"{kind} is quantised by PyTorch; give the float module")
    return _copied(model).cpu().float().eval()


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy of the network; a value that a forward has kept with its gradient has none."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # an attribute may be anything
        for name, module in model.named_modules():
            for key, value in [*vars(module).items(), *module.named_buffers(recurse=False)]:
                if key in ("_modules", "_parameters", "_buffers") or _copies(value):
                    continue
                kept = f"its attribute {key} ({type(value).__name__}) has no copy ({first_line(error)})"
                remedy = "delete it first, or keep a tensor detached (x.detach())"
                refuse(True, name or type(model).__name__, f"{kept}; {remedy}")
        raise UserError(
            f"{type(model).__name__} cannot be packed: it has no copy ({first_line(error)}). Give a module that "
            "copy.deepcopy copies."
        ) from error


def _copies(value: object) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:  # as above
        return False
    return True


def _unwrapped(model: nn.Module) -> nn.Module:
    """The module inside wrappers of torch.compile, of parallel training and of averaged weights."""
    while True:
        if "_orig_mod" in model._modules:  # of torch.compile
            model = model.get_submodule("_orig_mod")
        elif isinstance(model, WRAPPERS):
            model = model.module
        else:
            return model


def _packed(
    trace: Trace, image_size: int, ends: str, calibration: np.ndarray | None
) -> tuple[tuple[Layer, ...], dict[str, np.ndarray]]:
    """The layers of a chain and their tensors."""
    mean, std = (values.flatten().tolist() for values in (trace.normalize.mean, trace.normalize.std))
    at, layers, tensors = Map(image_size, image_size, 3), [], {}
    for link in links(trace.steps):
        layer, found = packed_layer(link, at)
        if ends == "int8" and layer.operand.form == "pixels" and layer.weights.form == "float":
            layer, found = int8_conv(layer, found, mean, std)
        elif ends == "int8" and link.reader is None and layer.operand.form == "reals" and layer.weights.form == "float":
            layer, found = int8_linear(layer, found, _inputs(trace, link, calibration))
        layers.append(layer)
        tensors |= {f"{layer.name}.{name}": values for name, values in found.items()}
        at = layer.output(at)
    return tuple(layers), tensors


def _inputs(trace: Trace, link: Link, images: np.ndarray | None) -> np.ndarray:
    """What a layer reads on some images, after its binarizer."""
    return torch.cat(list(_read(trace, link.name, link.layer, images))).numpy()


def _range(trace: Trace, step: Step, images: np.ndarray | None) -> tuple[float, float]:
    """The least and the largest of what a layer reads on some images."""
    seen = [(float(x.min()), float(x.max())) for x in _read(trace, step.name, as_ours(step), images)]
    return min(low for low, _ in seen), max(high for _, high in seen)


@torch.no_grad()
def _read(trace: Trace, name: str, layer: BinaryLayer, images: np.ndarray | None) -> Iterator[Tensor]:
    if images is None or not len(images):
        raise UserError(f"{name} needs calibration images to be packed in int8. Give some of the training images.")
    for i in range(0, len(images), AT_ONCE):
        pixels = torch.from_numpy(np.ascontiguousarray(images[i : i + AT_ONCE])).permute(0, 3, 1, 2)
        yield layer.binarizer.input_codes(trace.until(pixels, name)).values


def opened(file: Path) -> Packed:
    """Read a packed file back as the result of `pack`.

    Args:
        file: The file.

    Raises:
        UserError: The file is not a packed network.
    """
    network = load(file)
    return Packed(network.graph, network.tensors)


def write(file: Path | str, graph: Graph, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a packed network as one safetensors file, first under a temporary name.

    Args:
        file: Output file; an existing file is replaced, missing folders are created.
        graph: Stored in the metadata as JSON.
        tensors: Tensors by name.

    Raises:
        FieldError: The graph does not fit the tensors; nothing is written.
    """
    check(graph, tensors)
    _save(file, Packed(graph, dict(tensors)))


def _save(file: Path | str, packed: Packed) -> None:
    with atomic.path(file) as unfinished:
        # Not with save_file: only the owner could read that file, and a full disk would not raise an OSError.
        unfinished.write_bytes(packed.content)
