"""`binarize_`: replaces the convolutions and linear layers of any module with binary ones."""

import fnmatch
import importlib
import inspect
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized
from typing_extensions import override

from xnorlit.binarize import Binarizer, binarizer_of
from xnorlit.errors import UserError, did_you_mean
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

Activation = Literal["prelu", "hardtanh", "identity", "keep"]
Norm = Literal["pooled", "keep", "missing"]
STEADY: dict[type[nn.Module], type[nn.Module]] = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d}
PINNED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: Conv2d,
    nn.Linear: Linear,
    nn.AdaptiveAvgPool2d: AdaptiveAvgPool2d,
}


@dataclass(frozen=True)
class Change:
    """What `binarize_` did with one module.

    Attributes:
        name: Name of the module, or of the `forward` that calls a function.
        before: What was there before.
        after: What is there now; equal to `before` if unchanged.
        note: The reason.
    """

    name: str
    before: str
    after: str
    note: str = ""


@dataclass(frozen=True)
class Conversion:
    """What `binarize_` did, in the order of the modules; it prints as a table.

    Attributes:
        changes: A row for each layer, norm and activation that changed, and for each layer that was kept.
        untraced: Why torch.fx could not trace the module; empty if it could.
    """

    changes: tuple[Change, ...]
    untraced: str = ""

    @property
    def binarized(self) -> list[str]:
        """Names of the layers that are binary now."""
        return [change.name for change in self.changes if change.after.startswith("Binary")]

    @override
    def __str__(self) -> str:
        rows = [("module", "was", "is", ""), *((c.name, c.before, c.after, c.note) for c in self.changes)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
        untraced = [f"torch.fx could not trace the module: {self.untraced}"] if self.untraced else []
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *untraced])


def binarize_(
    model: nn.Module,
    binarizer: Binarizer | type[Binarizer] | str,
    *,
    skip: str | Iterable[str] = (),
    layers: Mapping[str, Binarizer | type[Binarizer] | str] | None = None,
    activation: Activation = "prelu",
    norm: Norm = "pooled",
) -> Conversion:
    """Replaces every `nn.Conv2d` and `nn.Linear` of a module with a binary layer, in place.

    Weights and biases stay the same parameters with the same names. A binarizer's own parameters are initialised from
    these weights. Every `nn.BatchNorm1d` and `nn.BatchNorm2d` becomes the steady norm of this package. In a network
    with shortcuts or branches, the layers that stay real become `Conv2d`, `Linear` and `AdaptiveAvgPool2d` of this
    package. Their evaluation rounds once, so the packed network can reproduce it.

    After a ReLU every sign is +1. A ReLU that feeds the sign of a binary layer is therefore replaced. torch.fx finds
    it, whether it is a module or a function call in a `forward`. A ReLU module that is used in several places is
    replaced in all of them.

    After a pool nearly every sign is +1, whatever precedes it: the largest of 3 x 3 values is negative once in 512
    times. A binary layer that takes the signs of a pool's output therefore gets a norm directly before it, unless one
    stands between them. With `norm="missing"`, so does each layer without a norm between itself and the layer before.
    After some training batches such a norm gives the input both signs, so a ReLU before it stays.

    Skip the first and the last layer of a network, because binarising them costs much accuracy. Create the optimizer
    afterwards, because activations and norms may add parameters, and call `attach`.

    Args:
        model: The module.
        binarizer: An instance, a class or a name such as `"XNOR"`.
        skip: Layers that stay real, by name or pattern (`"layer1.*"`); a module's name means all layers inside it.
        layers: Binarizers for individual layers, by name or pattern; the last match wins.
        activation: What replaces a ReLU before a sign: `"prelu"` (one slope per channel if the number of channels is
            known, otherwise one slope), `"hardtanh"` or `"identity"`. `"keep"` keeps every ReLU and is refused if a
            sign would then always be +1.
        norm: `"pooled"` puts a norm before each layer that takes the signs of a pool's output; `"missing"`, before each
            binary layer that has none, too. Such a layer becomes a `Sequential` of `norm` and `layer`. `"keep"` adds
            none.

    Returns:
        A row for each module that was changed or kept; print it.

    Raises:
        UserError: A layer cannot be binary (it is used twice, lazy or quantised, or its sign would always be +1), a
            pattern matches nothing, or the module has no such layer. The module then stays unchanged.

    Examples:
        >>> import torchvision
        >>> import xnorlit as xl
        >>> net = torchvision.models.resnet18()
        >>> table = xl.binarize_(net, "XNOR", skip=["conv1", "fc", "*.downsample"])
        >>> len(table.binarized)
        16
        >>> net.layer1[0].relu
        PReLU(num_parameters=64)
        >>> net.layer1[0].conv1.norm  # behind the max pool
        BatchNorm2d(64, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    """
    for name, value, known in (("activation", activation, Activation), ("norm", norm, Norm)):
        if value not in known.__args__:
            choices = ", ".join(map(repr, known.__args__))
            raise UserError(f"binarize_: {name} is {value!r}. Expected one of {choices}.")
    _refuse_whole(model)
    found = _Layers(model)
    chosen = found.choose(binarizer_of(binarizer), [skip] if isinstance(skip, str) else list(skip), layers or {})
    views, untraced = _views(model)
    if not untraced:
        found.leave_uncalled(chosen, {name for view in views for name in view.calls}, layers or {})
    for view in views:
        view.refuse_repeated(chosen)
    signed = [name for name, each in chosen.items() if each.signed_input]
    insert = {name for name in chosen if norm == "missing" and _lacks_norm(name, views)}
    if norm != "keep":
        insert.update(name for name in signed if _reads_pool(name, views))
    rectifiers = _rectifiers([name for name in signed if name not in insert], views, untraced)
    if rectifiers and activation == "keep":
        layer = next(iter(rectifiers.values())).layer
        raise UserError(
            f"{layer}: {type(chosen[layer]).__name__} takes the sign of a ReLU's output, so every code would be +1. "
            "Give activation='prelu', 'hardtanh' or 'identity', norm='missing', or skip the layer."
        )
    for name, each in chosen.items():
        _empty(found.modules[name], each)  # Raises now, before anything has changed.
    rewritten = _rewritten(model, rectifiers, activation)
    if untraced:
        warnings.warn(
            f"binarize_: torch.fx cannot trace {type(model).__name__} ({untraced}). Activations before binary layers "
            "were searched for only within its parts.",
            stacklevel=2,
        )
    changes = [*found.left]
    for name in chosen:
        changes += _replace_layer(model, name, found.modules[name], chosen[name], name in insert)
    changes += _replace_activations(model, rectifiers, rewritten, activation)
    changes += _steady(model)
    if any(view.joins for view in views):
        changes = _pinned(model, changes)
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    changes.sort(key=lambda change: order[change.name.removesuffix("forward").rstrip(".")])
    return Conversion(tuple(changes), untraced)


# --- which layers -----------------------------------------------------------------------------------------------------
def _refuse_whole(model: nn.Module) -> None:
    if isinstance(model, nn.Conv2d | nn.Linear):
        raise UserError(
            f"binarize_ replaces the layers inside a module, but was given one layer, {type(model).__name__}. Wrap "
            "it in nn.Sequential, or create a BinaryConv2d or BinaryLinear."
        )
    kinds = (nn.parallel.DistributedDataParallel, nn.DataParallel, torch.jit.ScriptModule)
    if isinstance(model, kinds):
        raise UserError(f"binarize_ was given a {type(model).__name__}. Binarize the module before you wrap it.")
    for name, module in model.named_modules():
        kind = type(module)
        if ".quantized." in kind.__module__ or kind.__module__.startswith(("torch.ao.", "torchao.")):
            raise UserError(f"binarize_: {name} is already quantised ({kind.__name__}). Give the float network.")


class _Layers:
    """The convolutions and linear layers of a module: those that can be binary, and those that cannot, with reasons."""

    def __init__(self, model: nn.Module) -> None:
        self.modules: dict[str, nn.Conv2d | nn.Linear] = {}
        self.left: list[Change] = []
        self._parameters: dict[int, list[str]] = {}
        self._model = model
        for name, module in model.named_modules(remove_duplicate=False):
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    self._parameters.setdefault(id(parameter), []).append(f"{name}.{key}".lstrip("."))
            if why := self._why_left(name, module):
                self.left.append(Change(name, type(module).__name__, type(module).__name__, why))
            elif isinstance(module, nn.Conv2d | nn.Linear):
                self.modules[name] = module

    def _why_left(self, name: str, module: nn.Module) -> str:
        kind = type(module)
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            return "stays real: transposed convolutions have no binary form"
        if isinstance(module, nn.Conv1d | nn.Conv3d):
            return "stays real: only 2-D convolutions and linear layers become binary"
        if isinstance(module, nn.SyncBatchNorm):
            return "unchanged: it has no steady form"
        if not isinstance(module, nn.Conv2d | nn.Linear) or _unusable(module):
            return ""
        if isinstance(module, nn.Conv2d) and module.dilation != (1, 1):
            return "stays real: it is dilated"
        if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
            return f"stays real: its padding is {module.padding_mode}"
        parent = type(self._model.get_submodule(name.rpartition(".")[0]))
        containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        if parent.__module__.startswith("torch.nn") and parent not in containers:
            return f"stays real: {parent.__name__} reads its weights itself"
        if kind not in (nn.Conv2d, nn.Linear, Conv2d, Linear):
            return f"stays real: {kind.__name__} has a forward of its own"
        return ""

    def choose(
        self, binarizer: Binarizer, skip: list[str], layers: Mapping[str, Binarizer | type[Binarizer] | str]
    ) -> dict[str, Binarizer]:
        """A binarizer for each layer that becomes binary; adds rows for the layers that stay real."""
        if not self.modules:
            raise UserError(f"binarize_: {type(self._model).__name__} has no nn.Conv2d or nn.Linear to make binary.")
        chosen = dict.fromkeys(self.modules, binarizer)
        for pattern, other in layers.items():
            chosen.update(dict.fromkeys(self._matching(pattern, "layers"), binarizer_of(other)))
        skipped = {name for pattern in skip for name in self._matching(pattern, "skip")}
        for name in skipped & chosen.keys():
            del chosen[name]
            kind = type(self.modules[name]).__name__
            self.left.append(Change(name, kind, kind, "skipped"))
        self.left = [change for change in self.left if change.name not in skipped or change.note == "skipped"]
        if not chosen:
            raise UserError("binarize_: skip leaves no layer to make binary. Skip fewer.")
        for name in chosen:
            self._refuse(name)
        return chosen

    def leave_uncalled(self, chosen: dict[str, Binarizer], called: set[str], layers: Iterable[str]) -> None:
        """Removes the layers that no forward calls; their owner reads the weights directly, or nothing does."""
        note = "stays real: no forward calls it, so its weights are read directly or not at all"
        for name in [name for name in chosen if name not in called]:
            kind = type(self.modules.pop(name)).__name__
            self.left.append(Change(name, kind, kind, note))
            del chosen[name]
        for pattern in layers:
            self._matching(pattern, "layers")
        if not chosen:
            raise UserError(f"binarize_: the forward of {type(self._model).__name__} calls none of the layers.")

    def _matching(self, pattern: str, setting: str) -> list[str]:
        names = [*self.modules, *(change.name for change in self.left)]
        found = [name for name in names if any(fnmatch.fnmatchcase(part, pattern) for part in _ancestry(name))]
        if not found:
            near = did_you_mean(pattern, names)
            raise UserError(
                f"binarize_: {pattern!r} in {setting} matches no layer.{near} Layers: {', '.join(names)}; "
                "patterns like 'layer1.*' are understood."
            )
        if setting == "layers" and (left := [change for change in self.left if change.name in found]):
            raise UserError(f"binarize_: layers contains {left[0].name}, but it {left[0].note}.")
        return found

    def _refuse(self, name: str) -> None:
        module = self.modules[name]
        if why := _unusable(module):
            raise UserError(f"binarize_: {name} {why}, or skip it.")
        names = self._parameters[id(module.weight)]
        if len(names) > 1:
            raise UserError(
                f"binarize_: {name} shares its weights ({' and '.join(names)} are one tensor), but a binary layer "
                "cannot. Give each its own copy, or skip both."
            )


def _ancestry(name: str) -> Iterator[str]:
    """The name itself and the names of the modules around it."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _unusable(module: nn.Conv2d | nn.Linear) -> str:
    if isinstance(module, LazyModuleMixin) and any(map(nn.parameter.is_lazy, module.parameters())):
        return "is lazy and has no weights yet. Run the module once"
    if is_parametrized(module) or hasattr(module, "weight_g"):
        return "has a parametrised weight. Remove the parametrisation first (torch.nn.utils.parametrize)"
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return "has hooks, which would be lost. Register them after binarize_"
    if not module.weight.is_floating_point():
        return f"has weights of {module.weight.dtype}. Give the float network"
    return ""


def _empty(module: nn.Conv2d | nn.Linear, binarizer: Binarizer, **given: Any) -> BinaryLayer:
    """A binary layer of the module's shape, without weights unless `given` says otherwise."""
    given = {"bias": module.bias is not None, "device": "meta", "dtype": module.weight.dtype, **given}
    if isinstance(module, nn.Conv2d):
        window: Any = module.kernel_size, module.stride, module.padding
        places = module.in_channels, module.out_channels, *window
        return BinaryConv2d(*places, groups=module.groups, binarizer=binarizer, **given)
    return BinaryLinear(module.in_features, module.out_features, binarizer=binarizer, **given)


# --- what precedes them -----------------------------------------------------------------------------------------
RECTIFIERS = {"relu", "relu_", "relu6", "threshold", "threshold_"}
CLAMPS = {"clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_", "hardtanh", "hardtanh_"}
NEVER_NEGATIVE = {"sigmoid", "hardsigmoid", "softmax", "softplus", "abs", "exp", "square"}
NEVER_NEGATIVE_MODULES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.Softmax2d, nn.Softplus)
POOLS = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "lp_pool2d", "mean", "amax"}
POOL_MODULES = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d)
PASSING = {
    *POOLS,
    *("dropout", "dropout2d", "feature_dropout", "alpha_dropout", "stochastic_depth", "local_response_norm"),
    *("flatten", "reshape", "view", "view_as", "permute", "transpose", "contiguous", "squeeze", "unsqueeze", "clone"),
    *(
        "interpolate",
        "pad",
        "getitem",
        "chunk",
        "split",
        "to",
        "float",
        "half",
        "bfloat16",
        "double",
        "type_as",
        "repeat",
    ),
    *("expand", "unflatten", "pixel_shuffle", "channel_shuffle", "roll"),
}
PASSING_MODULES = (
    *POOL_MODULES,
    *(
        nn.Dropout,
        nn.Dropout2d,
        nn.Flatten,
        nn.Unflatten,
        nn.Identity,
        nn.Upsample,
        nn.ZeroPad2d,
        nn.ReflectionPad2d,
        nn.ReplicationPad2d,
    ),
    *(nn.PixelShuffle, nn.ChannelShuffle, nn.LocalResponseNorm, nn.AlphaDropout),
)
SUMS = {"add", "add_", "iadd", "mul", "mul_", "imul", "truediv", "div", "div_"}
JOINS = {"cat", "concat", "concatenate", "stack"}
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
NORM_CALLS = {"batch_norm", "layer_norm", "group_norm", "instance_norm"}
WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


class _Sign(NamedTuple):
    """Whether a tensor is never negative; `sources` are the calls that make it so, `blocked` is one that must stay.

    `dead` is None if the tensor comes from outside the traced part.
    """

    dead: bool | None = False
    sources: frozenset[fx.Node] = frozenset()
    blocked: str = ""


class _Rectifier(NamedTuple):
    """A call to be replaced, either of a module or of a function in a module's `forward`.

    Attributes:
        layer: A binary layer whose signs it would all make +1.
        channels: Channels of its input, if known.
        uses: Number of its calls in the traced forward.
        call: Its description.
    """

    layer: str
    channels: int | None
    uses: int
    call: str


class _Tracer(fx.Tracer):
    """A tracer that stops at torch's modules and this package's, or at every module."""

    def __init__(self, leaves: bool = False) -> None:
        super().__init__()
        self._leaves = leaves

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = type(m).__module__.partition(".")[0] == "xnorlit" and not isinstance(m, nn.Sequential)
        return (
            own
            or self._leaves
            or isinstance(m, BinaryLayer | _BatchNorm)
            or super().is_leaf_module(m, module_qualified_name)
        )


class _View:
    """The graph of the forward of a module or of a part of it.

    Args:
        module: The traced module.
        prefix: Its name and a dot; empty for the whole module.
        graph: Its graph.
    """

    def __init__(self, module: nn.Module, prefix: str, graph: fx.Graph) -> None:
        self.module, self.prefix, self.graph = module, prefix, graph
        self.calls: dict[str, list[fx.Node]] = {}
        for node in graph.nodes:
            if node.op == "call_module":
                self.calls.setdefault(f"{prefix}{node.target}", []).append(node)
        self._signs: dict[fx.Node, _Sign] = {}
        self._lacks: dict[fx.Node, bool | None] = {}
        self._pooled: dict[fx.Node, bool] = {}

    @property
    def joins(self) -> bool:
        """Whether two values meet somewhere, as in a shortcut or branches."""
        return any(
            _word(n) in SUMS | JOINS and len(n.all_input_nodes) > 1 for n in self.graph.nodes if n.op != "output"
        )

    def refuse_repeated(self, names: Iterable[str]) -> None:
        for name in names:
            if len(self.calls.get(name, ())) > 1:
                raise UserError(
                    f"binarize_: {name} is used {len(self.calls[name])} times in forward, so a binarizer would learn "
                    "from several different inputs. Create a layer for each use, or skip it."
                )

    def sign_of(self, node: Any) -> _Sign:
        """Whether a node's value can be negative, from the calls that lead to it."""
        if not isinstance(node, fx.Node):
            number = isinstance(node, int | float) and node >= 0
            return _Sign(dead=number)
        if node not in self._signs:
            self._signs[node] = self._sign_of(node)
        return self._signs[node]

    def _sign_of(self, node: fx.Node) -> _Sign:
        if node.op == "placeholder":
            return _Sign(dead=None if self.prefix else False)
        module, word = self._called(node)
        if self.rectifies(node):
            return _Sign(True, frozenset({node}))
        if word in NEVER_NEGATIVE or isinstance(module, NEVER_NEGATIVE_MODULES):
            return _Sign(True, blocked=word or type(module).__name__)
        if word in PASSING or isinstance(module, PASSING_MODULES):
            return self.sign_of(_input(node))
        if word in JOINS:
            parts = [self.sign_of(part) for part in node.all_input_nodes]
            dead = [part for part in parts if part.dead]
            sources = frozenset().union(*(part.sources for part in dead))
            blocked = next((part.blocked for part in dead if part.blocked), "")
            unsure = any(part.dead is None for part in parts)
            return _Sign(True if dead else None if unsure else False, sources, blocked)
        if word in SUMS:
            parts = [self.sign_of(part) for part in node.args]
            if any(part.dead is False for part in parts):
                return _Sign()
            if any(part.dead is None for part in parts):
                return _Sign(dead=None)
            sources = frozenset().union(*(part.sources for part in parts))
            return _Sign(True, sources, "" if sources else next((part.blocked for part in parts if part.blocked), ""))
        known = module is None or type(module).__module__.startswith(("torch.nn", "xnorlit"))
        return _Sign(dead=False if known else None)

    def rectifies(self, node: fx.Node) -> bool:
        """Whether a call is of a ReLU or of another function that removes negative values."""
        module, word = self._called(node)
        if isinstance(module, nn.Hardtanh):  # ReLU6 is one.
            return module.min_val >= 0
        if word in CLAMPS:
            least = node.kwargs.get("min", node.kwargs.get("min_val", node.args[1] if len(node.args) > 1 else None))
            return isinstance(least, int | float) and least >= 0
        return word in RECTIFIERS or isinstance(module, nn.ReLU | nn.Threshold)

    def lacks_norm(self, node: Any) -> bool | None:
        """Whether some path from the layer before to this value has no norm; None if that layer is outside."""
        if not isinstance(node, fx.Node):
            return False
        if node not in self._lacks:
            self._lacks[node] = self._lacks_norm(node)
        return self._lacks[node]

    def _lacks_norm(self, node: fx.Node) -> bool | None:
        module, word = self._called(node)
        if word in NORM_CALLS or isinstance(module, NORMS):
            return False
        if node.op == "placeholder":
            return None if self.prefix else True
        if isinstance(module, (*WEIGHTED, BinaryLayer)) or not node.all_input_nodes:
            return True
        answers = [self.lacks_norm(part) for part in node.all_input_nodes]
        return True if True in answers else None if None in answers else False

    def pooled(self, node: Any) -> bool:
        """Whether a pool made a value, with neither a norm nor a layer behind it."""
        if not isinstance(node, fx.Node):
            return False
        if node not in self._pooled:
            self._pooled[node] = self._made_by_pool(node)
        return self._pooled[node]

    def _made_by_pool(self, node: fx.Node) -> bool:
        module, word = self._called(node)
        if word in POOLS or isinstance(module, POOL_MODULES):
            return True
        if word in NORM_CALLS or isinstance(module, (*NORMS, *WEIGHTED, BinaryLayer)):
            return False
        parts = [self.pooled(part) for part in node.all_input_nodes]
        return any(parts) if word in JOINS else bool(parts) and all(parts)

    def channels(self, node: Any) -> int | None:
        """Channels of a map, from the layer or the norm that computed it."""
        if not isinstance(node, fx.Node):
            return None
        module, word = self._called(node)
        if isinstance(module, nn.BatchNorm2d):
            return module.num_features
        if isinstance(module, nn.Conv2d | BinaryConv2d):
            return module.out_channels
        through = word in {"add", "add_", "iadd", "max_pool2d", "avg_pool2d", "dropout"} or isinstance(
            module, nn.MaxPool2d | nn.AvgPool2d | nn.Dropout | nn.Identity
        )
        return self.channels(_input(node)) if through else None

    def owner(self, node: fx.Node) -> tuple[str, str]:
        """Name of the module whose `forward` contains a call, and the number of that forward's run."""
        stack = node.meta.get("nn_module_stack") or {}
        call, name = list(stack.items())[-1] if stack else ("", ("",))
        return (self.prefix + name[0]).rstrip("."), call

    def _called(self, node: fx.Node) -> tuple[nn.Module | None, str]:
        """The module that a node calls, or the name of a function or method."""
        if node.op == "call_module":
            return self.module.get_submodule(str(node.target)), ""
        if node.op in ("call_function", "call_method"):
            return None, _word(node)
        return None, ""


def _word(node: fx.Node) -> str:
    """The name of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _input(node: fx.Node) -> Any:
    """The first tensor that a call reads."""
    return next(iter(node.all_input_nodes), None)


def _trace(module: nn.Module, leaves: bool = False) -> fx.Graph:
    """The graph of a forward; arguments with a default keep it."""
    parameters = inspect.signature(module.forward).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return _Tracer(leaves).trace(module, concrete_args=defaults or None)


def _views(model: nn.Module) -> tuple[list[_View], str]:
    """Graphs of the module in training and in evaluation, or of its traceable parts together with the reason."""
    views: list[_View] = []
    why = ""
    with _left_as_it_was(model):
        for mode in (True, False):
            model.train(mode)
            why = _add_views(views, model, "") or why
    return views, why


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Restores the modes of all modules, and attributes that a forward has set to the trace's proxies."""
    before = {module: module.__dict__.copy() for module in model.modules()}
    try:
        yield
    finally:
        for module, attributes in before.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)


def _add_views(views: list[_View], module: nn.Module, name: str) -> str:
    prefix = f"{name}." if name else ""
    try:
        views.append(_View(module, prefix, _trace(module)))
    except Exception as error:  # A user's forward may do anything with proxy values.
        if type(module) is nn.Sequential:
            views.append(_View(module, prefix, _trace(module, leaves=True)))
        for child, part in module.named_children():
            if any(True for _ in part.children()):
                _add_views(views, part, prefix + child)
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return ""


def _lacks_norm(name: str, views: list[_View]) -> bool:
    """Whether a layer has no known norm before it."""
    answers = {view.lacks_norm(_input(node)) for view in views for node in view.calls.get(name, ())}
    return not answers or False not in answers


def _reads_pool(name: str, views: list[_View]) -> bool:
    """Whether a layer reads what a pool made."""
    return any(view.pooled(_input(node)) for view in views for node in view.calls.get(name, ()))


Key = tuple[str, int]
"""A call's place: a module's name and -1, or a function's owner and its number among the rectifiers of that forward."""


def _rectifiers(names: list[str], views: list[_View], untraced: str) -> dict[Key, _Rectifier]:
    """The calls that would make every sign of a layer +1."""
    found: dict[Key, _Rectifier] = {}
    for name in names:
        signs = [(view, view.sign_of(_input(node))) for view in views for node in view.calls.get(name, ())]
        if untraced and all(sign.dead is None for _, sign in signs):
            raise UserError(
                f"binarize_: {name} takes signs, but what precedes it is unknown: torch.fx cannot trace the module "
                f"({untraced}). After a ReLU every sign would be +1. Put it into an nn.Sequential with what precedes "
                "it, make forward traceable, give norm='missing', or skip the layer."
            )
        for view, sign in signs:
            if sign.dead and sign.blocked:
                raise UserError(
                    f"binarize_: {name} would take the sign of the output of {sign.blocked}, which is never negative, "
                    "so every code would be +1. Give norm='missing', or skip the layer."
                )
            for node in [each for each in view.graph.nodes if sign.dead and each in sign.sources]:
                for key, rectifier in _describe(view, node, name):
                    before = found.get(key)
                    same = before is None or before.channels == rectifier.channels
                    found[key] = rectifier if same else rectifier._replace(channels=None)
    return found


def _describe(view: _View, node: fx.Node, layer: str) -> Iterator[tuple[Key, _Rectifier]]:
    if node.op == "call_module":
        name = f"{view.prefix}{node.target}"
        calls = view.calls[name]
        widths = {view.channels(_input(call)) for call in calls}
        width = widths.pop() if len(widths) == 1 else None
        module = view.module.get_submodule(str(node.target))
        yield (name, -1), _Rectifier(layer, width, len(calls), type(module).__name__)
        return
    owner = view.owner(node)
    alike = [each for each in view.graph.nodes if each.op != "call_module" and view.owner(each) == owner]
    place = [each for each in alike if view.rectifies(each)].index(node)
    yield (owner[0], place), _Rectifier(layer, view.channels(_input(node)), 1, f"{_word(node)}()")


# --- changing the module ----------------------------------------------------------------------------------------------
def _replacement(rectifier: _Rectifier, activation: Activation, like: Tensor) -> nn.Module:
    if activation == "prelu":
        return nn.PReLU(rectifier.channels or 1, device=like.device, dtype=like.dtype)
    return nn.Hardtanh() if activation == "hardtanh" else nn.Identity()


def _parent(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    outer, _, last = name.rpartition(".")
    return model.get_submodule(outer), last


def _replace_layer(
    model: nn.Module, name: str, module: nn.Conv2d | nn.Linear, binarizer: Binarizer, norm: bool
) -> Iterator[Change]:
    def keep(layer: Any) -> None:
        layer.weight, layer.bias = module.weight, module.bias

    given = {"device": module.weight.device, "initialise": keep}
    layer = _empty(module, binarizer, **given)
    layer.binarizer.fit(layer.weight)
    layer.train(module.training)
    parent, last = _parent(model, name)
    note = type(layer.binarizer).__name__
    if norm:
        kind = BatchNorm2d if isinstance(layer, BinaryConv2d) else BatchNorm1d
        batch_norm = kind(layer.channels, device=layer.weight.device, dtype=layer.weight.dtype).train(module.training)
        setattr(parent, last, nn.Sequential(OrderedDict(norm=batch_norm, layer=layer)).train(module.training))
        note += f"; with a norm before it, {name}.norm"
    else:
        setattr(parent, last, layer)
    yield Change(name, type(module).__name__, type(layer).__name__, note)


def _replace_activations(
    model: nn.Module, rectifiers: Mapping[Key, _Rectifier], rewritten: Mapping[str, "_Forward"], activation: Activation
) -> Iterator[Change]:
    like = next(module for module in model.modules() if isinstance(module, BinaryLayer)).weight
    for (name, place), rectifier in rectifiers.items():
        new = _replacement(rectifier, activation, like)
        note = f"a ReLU before {rectifier.layer} would make every sign +1"
        if place < 0:
            old = model.get_submodule(name)
            new.train(old.training)
            for other, module in list(model.named_modules(remove_duplicate=False)):
                if module is old:
                    parent, last = _parent(model, other)
                    setattr(parent, last, new)
            note += f"; used {rectifier.uses} times" if rectifier.uses > 1 else ""
        else:
            owner = model.get_submodule(name)
            owner.add_module(rewritten[name].names[place], new.train(owner.training))
        where = name if place < 0 else f"{name}.forward".lstrip(".")
        yield Change(where, rectifier.call, type(new).__name__, note)
    for name, forward in rewritten.items():
        forward.install(model.get_submodule(name))


def _steady(model: nn.Module) -> Iterator[Change]:
    for name, module in model.named_modules():
        if steady := STEADY.get(type(module)):
            before = type(module).__name__
            module.__class__ = steady  # Only its evaluation differs; state, hooks and references stay.
            yield Change(name, before, before, "steady: a constant channel gives beta in evaluation")


def _pinned(model: nn.Module, changes: list[Change]) -> list[Change]:
    """Makes the layers that stay real round once in evaluation; returns the rows with these changes."""
    said, done = "sums in fp64 in evaluation", {}
    for name, module in model.named_modules():
        if kind := PINNED.get(type(module)):
            done[name] = Change(name, type(module).__name__, type(module).__name__, said)
            module.__class__ = kind
    left = {change.name for change in changes if change.name in done}
    rows = [replace(c, note=f"{c.note}; {said}") if c.name in left else c for c in changes]
    return [*rows, *(change for name, change in done.items() if name not in left)]


@dataclass
class _Forward:
    """A module's `forward` as source, with calls of submodules in place of function calls.

    Attributes:
        source: Source of a function `forward`.
        globals: Objects that it refers to, as (True, module name) or (False, object).
        names: Names of the submodules, by the number of the call among the forward's rectifiers.
    """

    source: str
    globals: dict[str, tuple[bool, Any]]
    names: dict[int, str] = field(default_factory=dict)

    def install(self, module: nn.Module) -> None:
        """Gives a module this forward, by changing its class to a new subclass."""
        kind = type(module)
        module.__class__ = _with_forward(getattr(kind, "_rewritten_from", kind), self.source, self.globals)


def _with_forward(kind: type[nn.Module], source: str, names: dict[str, tuple[bool, Any]]) -> type[nn.Module]:
    space = {key: importlib.import_module(value) if is_module else value for key, (is_module, value) in names.items()}
    exec(source, space)  # torch.fx wrote the source; its own GraphModule executes it likewise.

    def reduce(self: nn.Module, protocol: int) -> tuple[Any, ...]:
        return _revived, (kind, source, names), self.__dict__.copy()

    body = {
        "forward": space["forward"],
        "__reduce_ex__": reduce,
        "__module__": kind.__module__,
        "_rewritten_from": kind,
    }
    return type(kind.__name__, (kind,), body)


def _revived(kind: type[nn.Module], source: str, names: dict[str, tuple[bool, Any]]) -> nn.Module:
    """An empty module of a class that `_with_forward` makes, for unpickling and copying."""
    made = _with_forward(kind, source, names)
    return made.__new__(made)


def _rewritten(model: nn.Module, rectifiers: Mapping[Key, _Rectifier], activation: Activation) -> dict[str, _Forward]:
    """The rewritten forward of each module that calls a function to be replaced."""
    places: dict[str, list[int]] = {}
    for name, place in rectifiers:
        if place >= 0:
            places.setdefault(name, []).append(place)
    return {name: _rewrite(model.get_submodule(name), name, found, activation) for name, found in places.items()}


def _rewrite(owner: nn.Module, name: str, places: list[int], activation: Activation) -> _Forward:
    sources = []
    for mode in (not owner.training, owner.training):
        with _left_as_it_was(owner):
            owner.training = mode
            graph = _trace(owner, leaves=True)
        view = _View(owner, "", graph)
        calls = [node for node in graph.nodes if node.op != "call_module" and view.rectifies(node)]
        names = {}
        for place in places:
            node = calls[place]
            if _word(node).endswith("_") or True in (node.kwargs.get("inplace"), *node.args[1:]):
                _refuse_in_place(node, name)
            attribute = f"activation{place}"
            while hasattr(owner, attribute):
                attribute += "_"
            names[place] = attribute
            with graph.inserting_before(node):
                new = graph.create_node("call_module", attribute, (_input(node),))
            node.replace_all_uses_with(new)
            graph.erase_node(node)
        code = graph.python_code("self")
        # Modules are stored by name, so that they can be pickled.
        found = {
            key: (True, each.__name__) if inspect.ismodule(each) else (False, each)
            for key, each in code.globals.items()
        }
        sources.append(_Forward(code.src, found, names))
    if sources[0].source != sources[1].source:
        raise UserError(
            f"binarize_: the forward of {name or type(owner).__name__} calls a ReLU as a function before a binary "
            "layer and differs between training and evaluation, so it cannot be rewritten. Make that ReLU a module "
            "(self.relu = nn.ReLU()), give norm='missing', or skip the layer."
        )
    return sources[1]


def _refuse_in_place(node: fx.Node, name: str) -> None:
    if len(_input(node).users) > 1:
        raise UserError(
            f"binarize_: {name or 'forward'} has an in-place ReLU on a value that is also used elsewhere. "
            "Make it a module (self.relu = nn.ReLU()), or skip the layer after it."
        )
