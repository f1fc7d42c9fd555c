"""The modules that a module's evaluation runs through and the values between them, found by torch.fx.

Every module that the engine knows is a leaf of the trace. Functions become equivalent modules. Shapes come from a
forward pass. What has no packed form is refused by name, with the line of the user's file that calls it.
"""

import inspect
import math
import os
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.errors import UserError
from xnorlit.export.functions import Call, Form, Moving, average_pool, form_of, known
from xnorlit.export.nodes import (
    Add,
    Affine,
    AveragePool,
    Clip,
    Concat,
    GlobalAverage,
    Shift,
    Subsample,
    TwoSlope,
    nodes_of,
    registered,
)
from xnorlit.export.operands import refuse
from xnorlit.layers import (
    AdaptiveAvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    BinaryConv2d,
    BinaryLayer,
    BinaryLinear,
    Conv2d,
    Linear,
)
from xnorlit.models.builder import AlexNet
from xnorlit.models.built import DuplicateChannels, Normalize, WholeNorm

BATCH = 3  # images of the forward pass; more than one, so that the batch shows in the shapes
PIXELS = 256  # values of a pixel

# What the engine knows. These are the leaves of a trace, as is the post layer of each binary layer.
LAYERS = (BinaryConv2d, BinaryLinear, nn.Conv2d, nn.Linear, Conv2d, Linear)
NORMS = (BatchNorm1d, BatchNorm2d, nn.BatchNorm1d, nn.BatchNorm2d, WholeNorm)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.Hardtanh, RPReLU, Maxout)
WITHOUT_EFFECT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Identity)
AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, AdaptiveAvgPool2d)
POOLS = (nn.MaxPool2d, *AVERAGES)
SHAPING = (nn.Flatten, DuplicateChannels, Normalize)
JOINS = (Add, Concat)
SMALL = (Affine, Shift, TwoSlope, Clip, Subsample, AveragePool, GlobalAverage, *JOINS)
KNOWN: tuple[type[nn.Module], ...] = (*LAYERS, *NORMS, *ACTIVATIONS, *WITHOUT_EFFECT, *POOLS, *SHAPING, *SMALL)
IMAGES = "pixels"  # the name of the normalised images among the values

REMEDIES = (
    ("softmax", "leave it out: a packed network gives logits"),
    ("avg|average|mean", "use a square average pool (nn.AvgPool2d), nn.AdaptiveAvgPool2d(1), or a max pool"),
    ("batch_?norm", "use nn.BatchNorm2d, or nn.BatchNorm1d after a flattening"),
    ("norm", "use nn.BatchNorm2d"),
    ("conv|linear|matmul|addmm", "use nn.Conv2d, nn.Linear, or the binary ones"),
    ("pad", "pad channels with zeros, or give the layer or the pool a padding"),
    ("getitem|chunk|split|narrow", "slice by a stride alone (x[:, :, ::2, ::2]), or use a convolution"),
    ("add|cat|stack", "combine whole maps of one shape, or add constants of one number per channel"),
    ("sub|mul|div", "leave scales to the layers and the norms, and normalise pixels by the mean and std of pack"),
    ("clamp|clip|threshold", "use nn.ReLU or nn.Hardtanh"),
    ("prelu", "use nn.PReLU"),
    ("sigmoid|tanh|gelu|elu|silu|mish|swish|soft|abs|sign|exp|square|sqrt|pow", "use nn.ReLU, nn.PReLU or nn.Hardtanh"),
    ("drop", "drop only in training (training=self.training)"),
    ("view|reshape|flatten|squeeze|permute|transpose", "flatten the whole map with torch.flatten(x, 1)"),
)
_FOREIGN = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parents[1]}{os.sep}")
_FRAME = re.compile(r'File "(.+?)", line (\d+)')


class Step(NamedTuple):
    """A module that values pass through.

    Attributes:
        name: Its dotted name in the model, or the name of a function's node; also the name of its value.
        module: The module, or the one equivalent to a function.
        place: ` (FILE:LINE)` of the user's code that calls it; empty if unknown.
        inputs: Names of the values that it reads.
    """

    name: str
    module: nn.Module
    place: str
    inputs: tuple[str, ...] = (IMAGES,)


class Trace(NamedTuple):
    """The trace of a module's evaluation.

    Attributes:
        steps: Steps, each after those it reads; the last one makes the logits.
        normalize: Maps uint8 pixels to the images that the first steps read.
        outputs: Number of logits.
        shapes: Shape of each value for one image, by name.
    """

    steps: tuple[Step, ...]
    normalize: Normalize
    outputs: int
    shapes: dict[str, tuple[int, ...]]

    @property
    def in_line(self) -> bool:
        """Whether each step reads only the one before it."""
        names = [IMAGES, *(step.name for step in self.steps)]
        return all(step.inputs == (before,) for before, step in zip(names, self.steps, strict=False))

    def until(self, pixels: Tensor, end: str = "") -> Tensor:
        """What a step reads first, or the logits.

        Args:
            pixels: uint8 `(N, 3, S, S)`.
            end: Name of the step; default: return the logits.
        """
        values = {IMAGES: self.normalize(pixels)}
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            if step.name == end:
                return inputs[0]
            # Another step may read what a module would change in place.
            values[step.name] = step.module(
                *(x.clone() if getattr(step.module, "inplace", False) else x for x in inputs)
            )
        return values[self.steps[-1].name] if self.steps else values[IMAGES]


@torch.no_grad()
def traced(
    model: nn.Module, image_size: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Trace:
    """The trace of a module's evaluation.

    Args:
        model: The module, in fp32 on the CPU and in evaluation mode.
        image_size: Side of the square images, pixels.
        mean: Mean of each channel, 0 to 255, if the module reads normalised images.
        std: Standard deviation, likewise.

    Raises:
        UserError: The module has parts that the engine does not know, or cannot process images of this size.
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
    found = _Values(model, graph, image_size).of(images.clone())  # a copy, because a step may change it in place
    named = model.layers() if isinstance(model, AlexNet) else ()
    steps, shapes = _Steps(graph, modules, found, own, {layer: name for name, layer in named}).walked()
    trace = Trace(tuple(steps), normalize, shapes[steps[-1].name if steps else IMAGES][0], shapes)
    if not torch.allclose(trace.until(pixels), model(images), rtol=1e-4, atol=1e-4, equal_nan=True):
        raise UserError(
            f"{type(model).__name__} cannot be packed: its forward gives other logits than the modules that it calls. "
            "Look for what the trace cannot see: global hooks, values changed in place, unused results."
        )
    return trace


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
    """Whether a module is of one of these classes and has not overridden its forward."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def _leaves(model: nn.Module) -> tuple[type[nn.Module], ...]:
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    behind = {type(layer.binarizer.post_layer(len(layer.weight))) for layer in layers}
    return (*KNOWN, *registered(), *(kind for kind in behind if issubclass(kind, nn.Module)))


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
    except Exception as error:  # a user's forward may do anything with proxy values
        place = _users_line([(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)])
        raise UserError(
            f"{type(model).__name__} cannot be packed: its forward cannot be traced{place} ({error}). Control flow "
            "must not depend on the values of a tensor; it may depend on the mode and on settings."
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
            f"{kind}{place} has no running statistics, so an image's result depends on its batch; use "
            "track_running_stats=True",
        )


def _no_form(kind: str, what: str) -> str:
    return f"{what} has no packed form; {_remedy(kind)}"


def _remedy(kind: str) -> str:
    known = (remedy for pattern, remedy in REMEDIES if re.search(pattern, kind, re.IGNORECASE))
    return next(known, "leave it out, or use a layer, a norm, an activation or a max pool that has one")


class _Values(fx.Interpreter):
    """Runs a graph once and records the value of each node.

    A tensor that depends on the images is recorded as `Moving`. Other tensors and plain Python values are recorded
    themselves, anything else as `...`.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, image_size: int) -> None:
        super().__init__(model, graph=graph)
        self.extra_traceback = False
        self.image_size = image_size
        self.found: dict[fx.Node, Any] = {}

    def of(self, images: Tensor) -> dict[fx.Node, Any]:
        """The value of each node for some images."""
        self.run(images, enable_io_processing=False)
        return self.found

    @override
    def run_node(self, n: fx.Node) -> Any:
        try:
            value = super().run_node(n)
        except Exception as error:  # a layer may raise anything for a map that does not fit it
            side = self.image_size
            raise UserError(
                f"{n.target if n.op == 'call_module' else n.name} cannot be packed: an image of {side} x {side} pixels "
                f"and 3 channels does not get through it{_place(n.stack_trace)} ({_first_line(error)}). Give the "
                "image_size that the network was trained with."
            ) from error
        self.found[n] = self._noted(n, value)
        return value

    def _noted(self, n: fx.Node, value: Any) -> Any:
        if isinstance(value, Tensor):
            # A tensor expanded to an image's shape does not depend on the images.
            inputs = n.all_input_nodes[:1] if n.target in ("expand_as", "expand", "view_as") else n.all_input_nodes
            given = [self.found[one] for one in inputs]
            if n.op == "placeholder" or any(isinstance(one, Moving) or one is ... for one in given):
                return Moving(n, tuple(value.shape))
            return value[:1] if n.target in ("expand_as", "expand") else value
        numbers = isinstance(value, tuple) and all(isinstance(each, int) for each in value)
        plain = int | float | bool | str | torch.dtype | torch.device | None
        return value if numbers or isinstance(value, plain) else ...


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _kind(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)


def _called(node: fx.Node) -> str:
    """How a message that begins with the node's name mentions its function."""
    kind = _kind(node)
    return f"{'it' if kind == node.name else kind}{_place(node.stack_trace)}"


# --- from nodes to steps ----------------------------------------------------------------------------------------------
class _Steps:
    """The steps that lead from the images to the logits.

    Args:
        graph: Graph of the whole module.
        modules: Modules by name.
        found: Value of each node.
        own: The network's own normalisation of the pixels, if any.
        names: Names of layers that differ from their modules' names.
    """

    def __init__(
        self,
        graph: fx.Graph,
        modules: dict[str, nn.Module],
        found: dict[fx.Node, Any],
        own: Normalize | None,
        names: dict[nn.Module, str],
    ) -> None:
        self.graph, self.modules, self.found, self.own, self.names = graph, modules, found, own, names
        self.steps: list[Step] = []
        self.values: dict[fx.Node, str] = {}  # name of each node's value
        self.shapes: dict[str, tuple[int, ...]] = {}

    def walked(self) -> tuple[list[Step], dict[str, tuple[int, ...]]]:
        """The steps, and the shapes of their values."""
        last = next(node for node in self.graph.nodes if node.op == "output").args[0]
        result = self.found.get(last) if isinstance(last, fx.Node) else None
        shape = result.shape if isinstance(result, Moving | Tensor) else ()
        if len(shape) != 2:
            given = f"a tensor of shape {tuple(shape)}" if isinstance(result, Moving | Tensor) else "something else"
            raise UserError(
                f"the network cannot be packed: it returns {given}. Expected one tensor of logits, (N, classes)."
            )
        assert isinstance(last, fx.Node)
        if not isinstance(result, Moving):
            refuse(True, last.name, f"it does not depend on the images{_place(last.stack_trace)}")
        needed = self._leading_to(last)
        for node in self.graph.nodes:
            if node in needed:
                self._step(node)
        return self.steps, self.shapes

    def _leading_to(self, last: fx.Node) -> set[fx.Node]:
        needed, waiting = set(), [last]
        while waiting:
            node = waiting.pop()
            if node not in needed and (isinstance(self.found[node], Moving) or self.found[node] is ...):
                needed.add(node)
                waiting += node.all_input_nodes
        return needed

    def _step(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.values[node] = IMAGES
            self.shapes[IMAGES] = self.found[node].shape[1:]
            return
        form = self._module_called(node) if node.op == "call_module" else self._function_called(node)
        inputs = tuple(self.values[each.source] for each in form.inputs)
        if isinstance(form.module, nn.Identity) or form.module is self.own:
            self.values[node] = inputs[0]
            return
        name = str(node.target) if node.op == "call_module" else node.name
        refuse(isinstance(form.module, Normalize), name, "it does not read the images; use a batch norm")
        name = self.names.get(form.module, name)
        if isinstance(form.module, LAYERS):
            again = f"it is called a second time{_place(node.stack_trace)}, and its weights would be packed twice"
            refuse(name in self.shapes, name, f"{again}; make a layer for each call")
        name = node.name if name in self.shapes else name
        while name in self.shapes:
            name += "_"
        self.values[node], self.shapes[name] = name, self.found[node].shape[1:]
        self.steps.append(Step(name, form.module, _place(node.stack_trace), inputs))

    def _call(self, node: fx.Node) -> Call:
        args, kwargs = (fx.map_arg(given, lambda one: self.found[one]) for given in (node.args, node.kwargs))
        found = self.found[node]
        return Call(args, kwargs, found.shape if isinstance(found, Moving) else ())  # type: ignore[arg-type]

    def _module_called(self, node: fx.Node) -> Form:
        name, place, call = str(node.target), _place(node.stack_trace), self._call(node)
        module, kind = self.modules[name], type(self.modules[name]).__name__
        inputs, given = call.moving, call.moving[0].shape if call.moving else ()
        several = len(inputs) != 1 and not isinstance(module, JOINS)
        refuse(several, name, f"{kind}{place} reads {len(inputs)} values that depend on the images; let it read one")
        if isinstance(module, WITHOUT_EFFECT):
            refuse(module.training, name, f"{kind}{place} is in training mode though the network is not")
            return Form(nn.Identity(), inputs)
        return Form(self._fitting(module, name, given, call.found, place), inputs)

    def _fitting(self, module: nn.Module, name: str, given: tuple, found: tuple, place: str) -> nn.Module:
        """The module in a form that the engine knows, for its input and output shapes."""
        if isinstance(module, nn.AdaptiveAvgPool2d | nn.Flatten) and found == given:
            return nn.Identity()
        if type(module) in registered():
            return nn.Sequential(*nodes_of(module, name, given))
        if isinstance(module, nn.AdaptiveAvgPool2d):
            sides = (" x ".join(map(str, shape[-2:])) for shape in (given, found))
            whole = found[-2:] == (1, 1)
            refuse(
                not whole, name, f"an average pool of {' to '.join(sides)}{place} has no packed form; use a max pool"
            )
            return module
        if isinstance(module, nn.AvgPool2d):
            form = average_pool(
                module.kernel_size,
                module.stride,
                module.padding,
                module.ceil_mode,
                module.count_include_pad,
                module.divisor_override,
            )
            refuse(form is None, name, f"its average pool {module}{place} is not square, or has ceil_mode or a divisor")
            assert form is not None
            return form
        if isinstance(module, nn.Flatten):
            refuse(found != (given[0], torch.Size(given[1:]).numel()), name, _no_form("flatten", f"it{place}"))
        flat = isinstance(module, nn.Linear | BinaryLinear) and len(given) != 2
        refuse(flat, name, f"it reads a map of shape {given[1:]}{place}; flatten it, torch.flatten(x, 1)")
        return module

    def _function_called(self, node: fx.Node) -> Form:
        kind, what, call = _kind(node), _called(node), self._call(node)
        form = form_of(node.target, call) if isinstance(self.found[node], Moving) else None
        if form is None:
            inputs = [one for one in node.all_input_nodes if isinstance(self.found[one], Tensor)]
            own = [str(one.target) for one in inputs if one.op == "get_attr"]
            refuse(bool(own), node.name, f"{what} reads {' and '.join(own)}, which no layer owns; {_remedy(kind)}")
            refuse(not known(node.target), node.name, _no_form(kind, what))
            refuse(True, node.name, f"{what} has no packed form with these arguments; {_remedy(kind)}")
        assert form is not None
        place = _place(node.stack_trace)
        given = form.inputs[0].shape
        return Form(self._fitting(form.module, node.name, given, call.found, place), form.inputs)


# --- pixels -----------------------------------------------------------------------------------------------------------
def _own_normalization(graph: fx.Graph, modules: dict[str, nn.Module]) -> Normalize | None:
    """The `Normalize` module that reads the images, if there is one."""
    images = next(node for node in graph.nodes if node.op == "placeholder")
    readers = [modules[node.target] for node in images.users if node.op == "call_module"]
    return next((module for module in readers if isinstance(module, Normalize)), None)


def _normalization(mean: Sequence[float] | None, std: Sequence[float] | None, own: Normalize | None) -> Normalize:
    if own is not None:
        if mean is not None or std is not None:
            raise UserError("mean and std were given, but the network itself normalises the pixels. Omit them.")
        return own
    centre, width = _three("mean", mean), _three("std", std)
    if min(width) <= 0 or (max(width) < 1 and max(centre) <= 1):
        raise UserError(
            f"mean is {centre} and std is {width}. Expected the unit of the pixels, 0 to 255, and std above 0: "
            "multiply values for images from 0 to 1 by 255."
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
    """` (FILE:LINE)` of the innermost frame in the user's code."""
    begin = max((i + 1 for i, (file, _) in enumerate(frames) if file == __file__), default=0)
    users = [f"{file}:{line}" for file, line in frames[begin:] if not file.startswith(_FOREIGN) and Path(file).exists()]
    return f" ({users[-1]})" if users else ""
