"""A module as the chain of modules that its evaluation runs through, found by torch.fx.

Every module that the engine knows is a leaf of the trace, functions become the modules that do the same, and shapes are
those of a forward pass. What has no packed form is refused by its name, with the line of the user's file that calls it.
"""

import inspect
import math
import os
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.errors import UserError
from xnorlit.export.operands import refuse
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLayer, BinaryLinear
from xnorlit.models.builder import AlexNet, DuplicateChannels, Normalize

BATCH = 3  # images of the pass that finds shapes: enough to tell a batch from one image
PIXELS = 256  # values of one

# What the engine knows. The leaves of a trace are these and, of each binary layer, the module that stands behind it.
LAYERS = (BinaryConv2d, BinaryLinear, nn.Conv2d, nn.Linear)
NORMS = (BatchNorm1d, BatchNorm2d, nn.BatchNorm1d, nn.BatchNorm2d)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.Hardtanh)
WITHOUT_EFFECT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Identity)
SHAPING = (nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, DuplicateChannels, Normalize)
KNOWN: tuple[type[nn.Module], ...] = (*LAYERS, *NORMS, *ACTIVATIONS, *WITHOUT_EFFECT, *SHAPING)

REMEDIES = (
    ("softmax", "leave it out: a packed network gives logits"),
    ("avg|average|mean", "use a max pool"),
    ("batch_?norm", "use nn.BatchNorm2d, or nn.BatchNorm1d behind a flattening"),
    ("norm", "use nn.BatchNorm2d"),
    ("conv|linear|matmul|addmm", "use nn.Conv2d, nn.Linear, or the binary ones"),
    ("add|cat|stack|chunk|split", "leave shortcuts and branches out: a packed network is a chain of layers"),
    ("sub|mul|div", "leave scales to the layers and the norms, and normalise pixels by the mean and std of pack"),
    ("clamp|clip|threshold", "use nn.ReLU or nn.Hardtanh"),
    ("prelu", "use nn.PReLU"),
    ("sigmoid|tanh|gelu|elu|silu|mish|swish|soft|abs|sign|exp|square|sqrt|pow", "use nn.ReLU, nn.PReLU or nn.Hardtanh"),
    ("drop", "drop only where the module trains (training=self.training)"),
    ("view|reshape|flatten|squeeze|permute|transpose", "flatten a map whole, by torch.flatten(x, 1)"),
)
_FOREIGN = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parents[1]}{os.sep}")
_FRAME = re.compile(r'File "(.+?)", line (\d+)')


class Step(NamedTuple):
    """A module that the values pass.

    Attributes:
        name: Its dotted name in the model, or the name of a function's node.
        module: The module, or the one that does what a function does.
        place: ` (FILE:LINE)` of the user's code that calls it; empty where that is not known.
    """

    name: str
    module: nn.Module
    place: str


class Chain(NamedTuple):
    """What a module's evaluation runs through.

    Attributes:
        steps: One behind the other, from the normalised pixels to the logits.
        normalize: From uint8 pixels to what the first step reads.
        outputs: How many logits there are.
    """

    steps: tuple[Step, ...]
    normalize: Normalize
    outputs: int

    def until(self, pixels: Tensor, end: str = "") -> Tensor:
        """What a step reads, or the logits.

        Args:
            pixels: uint8 `(N, 3, S, S)`.
            end: Name of the step; the logits are returned unless given.
        """
        x = self.normalize(pixels)
        for step in self.steps:
            if step.name == end:
                break
            x = step.module(x)
        return x


@torch.no_grad()
def traced(
    model: nn.Module, image_size: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Chain:
    """The chain of a module in evaluation.

    Args:
        model: The module, in fp32 on the CPU and in evaluation mode.
        image_size: Side of the square images, pixels.
        mean: Of each channel, 0 to 255, where the module reads normalised images.
        std: Likewise.

    Raises:
        UserError: The module is no chain of what the engine knows, or does not take images of this size.
    """
    leaves, modules = _leaves(model), dict(model.named_modules())
    graph = _graph(model, leaves)
    for node in graph.nodes:
        if node.op == "call_module":
            _check_known(modules[node.target], node, leaves)
    own = _own_normalization(graph, modules)
    normalize = _normalization(mean, std, own)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(PIXELS, (BATCH, 3, image_size, image_size), dtype=torch.uint8, generator=draw)
    images = pixels if own else normalize(pixels)
    shapes = _Shapes(model, graph, image_size).of(images.clone())  # which a step may change in place
    named = model.layers() if isinstance(model, AlexNet) else ()
    names: dict[nn.Module, str] = {layer: name for name, layer in named}
    steps, used, path = [], set(), _path(graph, shapes)
    for before, node in pairwise(path):
        module = _module(node, modules, shapes[before], shapes[node])
        if module is None or module is own:
            continue
        refuse(isinstance(module, Normalize), str(node.target), "it does not read the images; use a batch norm")
        # A layer that is called twice is two layers of the packed network.
        name = names.get(module, str(node.target) if node.op == "call_module" else node.name)
        steps.append(Step(node.name if name in used else name, module, _place(node.stack_trace)))
        used.add(name)
    chain = Chain(tuple(steps), normalize, shapes[path[-1]][1])
    if not torch.allclose(chain.until(pixels), model(images), rtol=1e-4, atol=1e-4, equal_nan=True):
        raise UserError(
            f"{type(model).__name__} cannot be packed: its forward gives other logits than the modules that it calls. "
            "Look for what the trace cannot see: global hooks, values changed in place, results that are thrown away."
        )
    return chain


# --- the graph --------------------------------------------------------------------------------------------------------
class _Tracer(fx.Tracer):
    record_stack_traces = True

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.leaves = leaves

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            isinstance(m, BinaryLayer) or _is_one_of(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)
        )


def _is_one_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of a kind and computes what that does: a subclass may have a forward of its own."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def _leaves(model: nn.Module) -> tuple[type[nn.Module], ...]:
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    behind = {type(layer.binarizer.post_layer(len(layer.weight))) for layer in layers}
    return (*KNOWN, *(kind for kind in behind if issubclass(kind, nn.Module)))


def _graph(model: nn.Module, leaves: tuple[type[nn.Module], ...]) -> fx.Graph:
    parameters = list(inspect.signature(model.forward).parameters.values())
    plain = {p.name: p.default for p in parameters[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    missing = [name for name, default in plain.items() if default is inspect.Parameter.empty]
    if not parameters or missing:
        raise UserError(
            f"{type(model).__name__} cannot be packed: its forward takes {', '.join(missing) or 'nothing'}"
            f"{' besides the images' if missing else ''}. Give a module whose forward takes images alone."
        )
    try:
        return _Tracer(leaves).trace(model, plain or None)
    except Exception as error:  # whatever a user's forward may do with values that it cannot look at
        place = _users_line([(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)])
        raise UserError(
            f"{type(model).__name__} cannot be packed: its forward cannot be traced{place} ({error}). Let nothing "
            "depend on the values of a tensor; what depends on the mode or on settings may stay."
        ) from error


def _check_known(module: nn.Module, node: fx.Node, leaves: tuple[type[nn.Module], ...]) -> None:
    name, place, kind = str(node.target), _place(node.stack_trace), type(module).__name__
    known = _is_one_of(module, leaves)
    own = isinstance(module, BinaryLayer) and not known
    refuse(own, name, f"{kind}{place} has a forward of its own, which the engine does not know; use BinaryConv2d")
    refuse(not known, name, _no_form(kind, f"{kind}{place}"))
    if isinstance(module, _BatchNorm):
        refuse(
            module.running_mean is None,
            name,
            f"{kind}{place} has no running statistics, so that an image's result depends on its batch; use "
            "track_running_stats=True",
        )


def _no_form(kind: str, what: str) -> str:
    return f"{what} has no packed form; {_remedy(kind)}"


def _remedy(kind: str) -> str:
    known = (remedy for pattern, remedy in REMEDIES if re.search(pattern, kind, re.IGNORECASE))
    return next(known, "leave it out, or use a layer, a norm, an activation or a max pool that has one")


class _Shapes(fx.Interpreter):
    """Runs a graph once and notes the shape of each tensor, and of what is no tensor whether it is plain Python."""

    def __init__(self, model: nn.Module, graph: fx.Graph, image_size: int) -> None:
        super().__init__(model, graph=graph)
        self.extra_traceback = False
        self.image_size = image_size
        self.found: dict[fx.Node, Any] = {}

    def of(self, images: Tensor) -> dict[fx.Node, Any]:
        """By node: the shape of a tensor, None of a number or a shape, `...` of anything else."""
        self.run(images, enable_io_processing=False)
        return self.found

    @override
    def run_node(self, n: fx.Node) -> Any:
        try:
            value = super().run_node(n)
        except Exception as error:  # whatever a layer says of a map that does not suit it
            side = self.image_size
            raise UserError(
                f"{n.target if n.op == 'call_module' else n.name} cannot be packed: an image of {side} x {side} pixels "
                f"and 3 channels does not get through it{_place(n.stack_trace)} ({_first_line(error)}). Give the "
                "image_size that the network was trained with."
            ) from error
        plain = isinstance(value, int | float | bool | str | torch.Size | torch.dtype | torch.device | None)
        self.found[n] = tuple(value.shape) if isinstance(value, Tensor) else None if plain else ...
        return value


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _path(graph: fx.Graph, shapes: dict[fx.Node, Any]) -> list[fx.Node]:
    """The nodes that the images pass on their way to the logits, the images first."""
    last = next(node for node in graph.nodes if node.op == "output").args[0]
    shape = shapes[last] if isinstance(last, fx.Node) else None
    if not isinstance(shape, tuple) or len(shape) != 2:
        given = f"a tensor of shape {shape}" if isinstance(shape, tuple) else "something else"
        raise UserError(f"the network cannot be packed: it returns {given}. Expected logits, one tensor (N, classes).")
    found = [last]
    while found[-1].op != "placeholder":
        values = _values(found[-1], shapes)
        if len(values) != 1:
            # The first one of the forward says more than the last.
            calls = [node for node in graph.nodes if node.op.startswith("call") and shapes.get(node) is not None]
            _refuse_join(next((node for node in calls if len(_values(node, shapes)) != 1), found[-1]), shapes)
        found.append(values[0])
    return found[::-1]


def _values(node: fx.Node, shapes: dict[fx.Node, Any]) -> list[fx.Node]:
    """What a node takes in besides numbers and shapes."""
    return [value for value in node.all_input_nodes if shapes[value] is not None]


def _refuse_join(node: fx.Node, shapes: dict[fx.Node, Any]) -> None:
    kind, what = _kind(node), _called(node)
    own = [str(value.target) for value in _values(node, shapes) if value.op == "get_attr"]
    refuse(bool(own), node.name, f"{what} takes in {' and '.join(own)}, which no layer holds; {_remedy(kind)}")
    refuse(True, node.name, _no_form(kind, what))


def _kind(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)


def _called(node: fx.Node) -> str:
    """A function in a message that begins with its node's name."""
    kind = _kind(node)
    return f"{'it' if kind == node.name else kind}{_place(node.stack_trace)}"


# --- one node ---------------------------------------------------------------------------------------------------------
def _module(node: fx.Node, modules: dict[str, nn.Module], given: tuple, found: tuple) -> nn.Module | None:
    """The module of a node; None where the values pass unchanged."""
    name, place = str(node.target) if node.op == "call_module" else node.name, _place(node.stack_trace)
    module = modules[name] if node.op == "call_module" else _of_function(node, given, found)
    if isinstance(module, WITHOUT_EFFECT):
        refuse(module.training, name, f"{type(module).__name__}{place} is in training mode though the network is not")
        return None
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.Flatten) and found == given:
        return None
    if isinstance(module, nn.AdaptiveAvgPool2d):
        sides = (" x ".join(map(str, shape[-2:])) for shape in (given, found))
        refuse(True, name, f"an average pool of {' to '.join(sides)}{place} has no packed form; use a max pool")
    if isinstance(module, nn.Flatten):
        refuse(found != (given[0], torch.Size(given[1:]).numel()), name, _no_form("flatten", f"it{place}"))
    flat = isinstance(module, nn.Linear | BinaryLinear)
    refuse(
        flat and len(given) != 2, name, f"it reads a map of shape {given[1:]}{place}; flatten it, torch.flatten(x, 1)"
    )
    return module


def _of_function(node: fx.Node, given: tuple, found: tuple) -> nn.Module:
    kind, what = _kind(node), _called(node)
    make = FUNCTIONS.get(node.target)
    refuse(make is None, node.name, _no_form(kind, what))
    assert make is not None
    rest = {key: value for key, value in node.kwargs.items() if key not in ("input", "self", "tensors")}
    if make is nn.Flatten:
        return nn.Flatten()
    if make is DuplicateChannels:
        tensors = node.args[0] if node.args else node.kwargs.get("tensors")
        doubled = tuple(found) == (given[0], 2 * given[1], *given[2:]) and len(tensors) == 2  # type: ignore[arg-type]
        refuse(not doubled, node.name, _no_form(kind, what))
        return DuplicateChannels()
    try:
        module = make(*node.args[1:], **rest)
    except TypeError:
        module = None
    refuse(module is None, node.name, f"{what} has no packed form with these arguments; {_remedy(kind)}")
    assert module is not None
    return module.eval()


def _clamp(min: float | None = None, max: float | None = None) -> nn.Module | None:
    if min is None or isinstance(min, fx.Node) or isinstance(max, fx.Node):
        return None
    return nn.Hardtanh(min, max) if max is not None else nn.ReLU() if min == 0 else None


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module | None:
    return None if training else nn.Identity()


def _max_pool(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, **more: Any
) -> nn.Module:
    return nn.MaxPool2d(kernel_size, stride or None, padding, dilation, ceil_mode=ceil_mode, **more)


def _functions() -> Iterator[tuple[tuple[Any, ...], Callable[..., nn.Module | None]]]:
    yield (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), lambda inplace=False: nn.ReLU()
    yield (F.relu6,), lambda inplace=False: nn.ReLU6()
    yield (F.hardtanh, F.hardtanh_), lambda min_val=-1.0, max_val=1.0, inplace=False: nn.Hardtanh(min_val, max_val)
    yield (F.leaky_relu, F.leaky_relu_), lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope)
    yield (torch.clamp, torch.clamp_, torch.clip, torch.clip_, "clamp", "clamp_", "clip", "clip_"), _clamp
    yield (F.max_pool2d, torch.max_pool2d), _max_pool
    yield (F.adaptive_avg_pool2d,), nn.AdaptiveAvgPool2d
    yield (F.dropout, F.dropout1d, F.dropout2d, F.alpha_dropout, F.feature_alpha_dropout), _dropout
    yield (torch.flatten, torch.reshape, "flatten", "view", "reshape"), nn.Flatten
    yield (torch.cat, torch.concat), DuplicateChannels
    yield (torch.clone, "clone", "contiguous", "float", "detach"), lambda **_: nn.Identity()


FUNCTIONS = {function: make for functions, make in _functions() for function in functions}


# --- pixels -----------------------------------------------------------------------------------------------------------
def _own_normalization(graph: fx.Graph, modules: dict[str, nn.Module]) -> Normalize | None:
    """The module of ours that reads the images, where one does."""
    images = next(node for node in graph.nodes if node.op == "placeholder")
    readers = [modules[node.target] for node in images.users if node.op == "call_module"]
    return next((module for module in readers if isinstance(module, Normalize)), None)


def _normalization(mean: Sequence[float] | None, std: Sequence[float] | None, own: Normalize | None) -> Normalize:
    if own is not None:
        if mean is not None or std is not None:
            raise UserError("mean and std were given, and the network normalises pixels itself. Leave them out.")
        return own
    centre, width = _three("mean", mean), _three("std", std)
    if min(width) <= 0 or (max(width) < 1 and max(centre) <= 1):
        raise UserError(
            f"mean is {centre} and std is {width}. Expected the unit of the pixels, 0 to 255, and std above 0: "
            "multiply what goes with images from 0 to 1 by 255."
        )
    return Normalize(centre, width)


def _three(name: str, values: Sequence[float] | None) -> list[float]:
    try:
        found = [float(value) for value in (() if values is None else values)]
    except (TypeError, ValueError):
        found = []
    if len(found) != 3 or not all(map(math.isfinite, found)):
        raise UserError(
            f"{name} is {values}. Expected three numbers in the unit of the pixels, 0 to 255: the packed network reads "
            "uint8 images and computes model((pixels - mean) / std)."
        )
    return found


# --- the user's line --------------------------------------------------------------------------------------------------
def _place(stack: str | None) -> str:
    return _users_line([(file, int(line)) for file, line in _FRAME.findall(stack or "")])


def _users_line(frames: Sequence[tuple[str, int]]) -> str:
    """` (FILE:LINE)` of the innermost frame of the user's, among those of the trace."""
    begin = max((i + 1 for i, (file, _) in enumerate(frames) if file == __file__), default=0)
    users = [f"{file}:{line}" for file, line in frames[begin:] if not file.startswith(_FOREIGN) and Path(file).exists()]
    return f" ({users[-1]})" if users else ""
