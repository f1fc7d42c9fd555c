"""The modules that a module's evaluation runs through and the values between them, found by torch.fx.

Every module that the engine knows is a leaf of the trace. Functions become equivalent modules. Shapes come from a
forward pass. What has no packed form is refused by name, with the line of the user's file that calls it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from xnorlit.errors import UserError
from xnorlit.export.functions import Call, Form, Moving, average_pool, form_of, known
from xnorlit.export.known import JOINS, LAYERS, WITHOUT_EFFECT, no_form, remedy_for
from xnorlit.export.operands import refuse
from xnorlit.export.registry import parts_of, registered
from xnorlit.export.tracer import Values, check_statistics, function_of, graph_of, name_of, place_of
from xnorlit.layers import BinaryLinear
from xnorlit.models.builder import AlexNet
from xnorlit.models.built import Normalize

BATCH = 3  # images of the forward pass; more than one, so that the batch shows in the shapes
PIXELS = 256  # values of a pixel
LEAST = 1e-6  # of a standard deviation; its inverse is the most of a mean

IMAGES = "pixels"  # the name of the normalised images among the values


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
    graph, modules = graph_of(model), dict(model.named_modules())
    own = _own_normalization(graph, modules)
    normalize = _normalization(mean, std, own)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(PIXELS, (BATCH, 3, image_size, image_size), dtype=torch.uint8, generator=draw)
    images = pixels if own else normalize(pixels)
    found = Values(model, graph, image_size).of(images.clone())  # a copy, because a step may change it in place
    named = model.layers() if isinstance(model, AlexNet) else ()
    steps, shapes = _Steps(graph, modules, found, own, {layer: name for name, layer in named}).walked()
    trace = Trace(tuple(steps), normalize, shapes[steps[-1].name if steps else IMAGES][0], shapes)
    if not torch.allclose(trace.until(pixels), model(images), rtol=1e-4, atol=1e-4, equal_nan=True):
        raise UserError(
            f"{type(model).__name__} cannot be packed: its forward gives other logits than the modules that it calls. "
            "Look for what the trace cannot see: global hooks, values changed in place, unused results."
        )
    return trace


def _called(node: fx.Node) -> str:
    """How a message that begins with the node's name mentions its function."""
    kind = function_of(node)
    return f"{'it' if name_of(node).rpartition('.')[2] == kind else kind}{place_of(node.stack_trace)}"


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
        self.packed: set[str] = set()  # names of the modules whose weights some step has

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
            refuse(True, name_of(last), f"it does not depend on the images{place_of(last.stack_trace)}")
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
        if node.op == "call_module" and type(self.modules[str(node.target)]) in registered():
            self._registered_called(node)
            return
        form = self._module_called(node) if node.op == "call_module" else self._function_called(node)
        inputs = tuple(self.values[each.source] for each in form.inputs)
        if isinstance(form.module, nn.Identity) or form.module is self.own:
            self.values[node] = inputs[0]
            return
        name = str(node.target) if node.op == "call_module" else node.name
        refuse(isinstance(form.module, Normalize), name, "it does not read the images; use a batch norm")
        name = self._unused(self.names.get(form.module, name), node, isinstance(form.module, LAYERS))
        self.values[node], self.shapes[name] = name, self.found[node].shape[1:]
        self.steps.append(Step(name, form.module, place_of(node.stack_trace), inputs))

    def _registered_called(self, node: fx.Node) -> None:
        """Adds a step for each module that a layer of a registered class is registered as."""
        name, place, call = str(node.target), place_of(node.stack_trace), self._call(node)
        self._check_inputs(self.modules[name], name, call.moving, place)
        steps = []
        for part in parts_of(self.modules[name], name, call.moving[0].shape):
            check_statistics(part.module, name, place)
            module = self._fitting(part.module, name, part.given, part.found, place)
            if not isinstance(module, nn.Identity):
                steps.append((module, part.found[1:]))
        value = self.values[call.moving[0].source]
        name = self._unused(name, node, any(isinstance(module, LAYERS) for module, _ in steps))
        for i, (module, shape) in enumerate(steps):
            made = name if i == len(steps) - 1 else f"{name}.{i}"
            self.steps.append(Step(made, module, place, (value,)))
            self.shapes[made] = torch.Size(shape)
            value = made
        self.values[node] = value

    def _unused(self, name: str, node: fx.Node, has_layer: bool) -> str:
        """A name that no value has; a layer with weights has one call."""
        if has_layer:
            again = f"it is called a second time{place_of(node.stack_trace)}, and its weights would be packed twice"
            refuse(str(node.target) in self.packed, name, f"{again}; make a layer for each call")
            self.packed.add(str(node.target))
        name = node.name if name in self.shapes else name
        while name in self.shapes:
            name += "_"
        return name

    def _call(self, node: fx.Node) -> Call:
        args, kwargs = (fx.map_arg(given, lambda one: self.found[one]) for given in (node.args, node.kwargs))
        found = self.found[node]
        return Call(args, kwargs, found.shape if isinstance(found, Moving) else ())  # type: ignore[arg-type]

    def _module_called(self, node: fx.Node) -> Form:
        name, place, call = str(node.target), place_of(node.stack_trace), self._call(node)
        module, kind = self.modules[name], type(self.modules[name]).__name__
        inputs, given = call.moving, call.moving[0].shape if call.moving else ()
        if not isinstance(module, JOINS):
            self._check_inputs(module, name, inputs, place)
        several = not isinstance(self.found[node], Moving)
        refuse(several, name, f"{kind}{place} does not return one tensor; use it without return_indices")
        if isinstance(module, WITHOUT_EFFECT):
            refuse(module.training, name, f"{kind}{place} is in training mode though the network is not")
            return Form(nn.Identity(), inputs)
        return Form(self._fitting(module, name, given, call.found, place), inputs)

    def _check_inputs(self, module: nn.Module, name: str, inputs: Sequence[Moving], place: str) -> None:
        kind, count = type(module).__name__, len(inputs)
        refuse(count != 1, name, f"{kind}{place} reads {count} values that depend on the images; let it read one")

    def _fitting(self, module: nn.Module, name: str, given: tuple, found: tuple, place: str) -> nn.Module:
        """The module in a form that the engine knows, for its input and output shapes."""
        if isinstance(module, nn.AdaptiveAvgPool2d | nn.Flatten) and found == given:
            return nn.Identity()
        if isinstance(module, nn.AdaptiveAvgPool2d):
            sides = (" x ".join(map(str, shape[-2:])) for shape in (given, found))
            remedy = "give larger images" if found[-2:] > given[-2:] else "use a max pool"
            refuse(
                found[-2:] != (1, 1),
                name,
                f"an average pool of {' to '.join(sides)}{place} has no packed form; {remedy}",
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
            refuse(found != (given[0], torch.Size(given[1:]).numel()), name, no_form("flatten", f"it{place}"))
        flat = isinstance(module, nn.Linear | BinaryLinear) and len(given) != 2
        refuse(flat, name, f"it reads a map of shape {given[1:]}{place}; flatten it, torch.flatten(x, 1)")
        return module

    def _function_called(self, node: fx.Node) -> Form:
        kind, what, call = function_of(node), _called(node), self._call(node)
        name = name_of(node)
        form = form_of(node.target, call) if isinstance(self.found[node], Moving) else None
        if form is None:
            inputs = [one for one in node.all_input_nodes if isinstance(self.found[one], Tensor)]
            own = [str(one.target) for one in inputs if one.op == "get_attr"]
            refuse(bool(own), name, f"{what} reads {' and '.join(own)}, which no layer owns; {remedy_for(kind)}")
            refuse(not known(node.target), name, no_form(kind, what))
            refuse(True, name, f"{what} has no packed form with these arguments; {remedy_for(kind)}")
        assert form is not None
        place = place_of(node.stack_trace)
        given = form.inputs[0].shape
        return Form(self._fitting(form.module, name, given, call.found, place), form.inputs)


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
    extreme = min(width) < LEAST or max(map(abs, (*centre, *width))) > 1 / LEAST
    if extreme or (max(width) < 1 and max(centre) <= 1):
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
