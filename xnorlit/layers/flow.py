"""The values that reach each layer of a module, traced by torch.fx: whether their signs can differ, and why not."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xnorlit.errors import UserError
from xnorlit.layers import BinaryConv2d, BinaryLayer
from xnorlit.layers.tracing import first_input, trace, unchanged, word_of

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
    *("interpolate", "pad", "getitem", "chunk", "split", "repeat"),
    *("to", "float", "half", "bfloat16", "double", "type_as"),
    *("expand", "unflatten", "pixel_shuffle", "channel_shuffle", "roll"),
}
PASSING_MODULES = (
    *POOL_MODULES,
    *(nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.Flatten, nn.Unflatten, nn.Identity, nn.Upsample),
    *(nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d),
    *(nn.PixelShuffle, nn.ChannelShuffle, nn.LocalResponseNorm),
)
SUMS = {"add", "add_", "iadd", "mul", "mul_", "imul", "truediv", "div", "div_"}
JOINS = {"cat", "concat", "concatenate", "stack"}
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
NORM_CALLS = {"batch_norm", "layer_norm", "group_norm", "instance_norm"}
WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


class Sign(NamedTuple):
    """Whether a tensor is never negative; `sources` are the calls that make it so, `blocked` is one that must stay.

    `dead` is None if the tensor comes from outside the traced part.
    """

    dead: bool | None = False
    sources: frozenset[fx.Node] = frozenset()
    blocked: str = ""


class Rectifier(NamedTuple):
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


class View:
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
        self._signs: dict[fx.Node, Sign] = {}
        self._lacks: dict[fx.Node, bool | None] = {}
        self._pooled: dict[fx.Node, bool] = {}

    @property
    def joins(self) -> bool:
        """Whether two values meet somewhere, as in a shortcut or branches."""
        return any(
            word_of(n) in SUMS | JOINS and len(n.all_input_nodes) > 1 for n in self.graph.nodes if n.op != "output"
        )

    def refuse_repeated(self, names: Iterable[str]) -> None:
        """Refuse a layer that is called more than once."""
        for name in names:
            if len(self.calls.get(name, ())) > 1:
                raise UserError(
                    f"binarize_: {name} is used {len(self.calls[name])} times in forward, so a binarizer would learn "
                    "from several different inputs. Create a layer for each use, or skip it."
                )

    def sign_of(self, node: Any) -> Sign:
        """Whether a node's value can be negative, from the calls that lead to it."""
        if not isinstance(node, fx.Node):
            number = isinstance(node, int | float) and node >= 0
            return Sign(dead=number)
        if node not in self._signs:
            self._signs[node] = self._sign_of(node)
        return self._signs[node]

    def _sign_of(self, node: fx.Node) -> Sign:
        if node.op == "placeholder":
            return Sign(dead=None if self.prefix else False)
        module, word = self._called(node)
        if self.rectifies(node):
            return Sign(True, frozenset({node}))
        if word in NEVER_NEGATIVE or isinstance(module, NEVER_NEGATIVE_MODULES):
            return Sign(True, blocked=word or type(module).__name__)
        if word in PASSING or isinstance(module, PASSING_MODULES):
            return self.sign_of(first_input(node))
        if word in JOINS:
            parts = [self.sign_of(part) for part in node.all_input_nodes]
            dead = [part for part in parts if part.dead]
            sources = frozenset().union(*(part.sources for part in dead))
            blocked = next((part.blocked for part in dead if part.blocked), "")
            unsure = any(part.dead is None for part in parts)
            return Sign(True if dead else None if unsure else False, sources, blocked)
        if word in SUMS:
            parts = [self.sign_of(part) for part in node.args]
            if any(part.dead is False for part in parts):
                return Sign()
            if any(part.dead is None for part in parts):
                return Sign(dead=None)
            sources = frozenset().union(*(part.sources for part in parts))
            return Sign(True, sources, "" if sources else next((part.blocked for part in parts if part.blocked), ""))
        known = module is None or type(module).__module__.startswith(("torch.nn", "xnorlit"))
        return Sign(dead=False if known else None)

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
        return self.channels(first_input(node)) if through else None

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
            return None, word_of(node)
        return None, ""


def views_of(model: nn.Module) -> tuple[list[View], str]:
    """Graphs of the module in training and in evaluation, or of its traceable parts together with the reason."""
    views: list[View] = []
    why = ""
    with unchanged(model):
        for mode in (True, False):
            model.train(mode)
            why = _add_views(views, model, "") or why
    return views, why


def _add_views(views: list[View], module: nn.Module, name: str) -> str:
    prefix = f"{name}." if name else ""
    try:
        views.append(View(module, prefix, trace(module)))
    except Exception as error:  # A user's forward may do anything with proxy values.
        if type(module) is nn.Sequential:
            views.append(View(module, prefix, trace(module, leaves=True)))
        for child, part in module.named_children():
            if any(True for _ in part.children()):
                _add_views(views, part, prefix + child)
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return ""


def lacks_norm(name: str, views: list[View]) -> bool:
    """Whether a layer has no known norm before it."""
    answers = {view.lacks_norm(first_input(node)) for view in views for node in view.calls.get(name, ())}
    return not answers or False not in answers


def reads_pool(name: str, views: list[View]) -> bool:
    """Whether a layer reads what a pool made."""
    return any(view.pooled(first_input(node)) for view in views for node in view.calls.get(name, ()))


Key = tuple[str, int]
"""A call's place: a module's name and -1, or a function's owner and its number among the rectifiers of that forward."""


def rectifiers_of(names: list[str], views: list[View], untraced: str) -> dict[Key, Rectifier]:
    """The calls that would make every sign of a layer +1."""
    found: dict[Key, Rectifier] = {}
    for name in names:
        signs = [(view, view.sign_of(first_input(node))) for view in views for node in view.calls.get(name, ())]
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
                    before = found.setdefault(key, rectifier)
                    if before.channels != rectifier.channels:
                        found[key] = before._replace(channels=None)
    return found


def _describe(view: View, node: fx.Node, layer: str) -> Iterator[tuple[Key, Rectifier]]:
    if node.op == "call_module":
        name = f"{view.prefix}{node.target}"
        calls = view.calls[name]
        widths = {view.channels(first_input(call)) for call in calls}
        width = widths.pop() if len(widths) == 1 else None
        module = view.module.get_submodule(str(node.target))
        yield (name, -1), Rectifier(layer, width, len(calls), type(module).__name__)
        return
    owner = view.owner(node)
    alike = [each for each in view.graph.nodes if each.op != "call_module" and view.owner(each) == owner]
    place = [each for each in alike if view.rectifies(each)].index(node)
    yield (owner[0], place), Rectifier(layer, view.channels(first_input(node)), 1, f"{word_of(node)}()")
