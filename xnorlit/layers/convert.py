"""`binarize_`: replaces the convolutions and linear layers of any module with binary ones."""

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize import Binarizer, binarizer_of
from xnorlit.errors import UserError
from xnorlit.layers import AdaptiveAvgPool2d, BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLayer, Conv2d, Linear
from xnorlit.layers.added import added
from xnorlit.layers.candidates import Candidates, Change, binary_form, refuse_whole
from xnorlit.layers.flow import Key, Rectifier, lacks_norm, reads_pool, rectifiers_of, views_of
from xnorlit.layers.norms import RowNorm
from xnorlit.layers.rewrite import Forward, revived, rewritten_forwards

Activation = Literal["prelu", "hardtanh", "identity", "keep"]
Norm = Literal["pooled", "keep", "missing"]
STEADY: dict[type[nn.Module], type[nn.Module]] = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d}
PINNED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: Conv2d,
    nn.Linear: Linear,
    nn.AdaptiveAvgPool2d: AdaptiveAvgPool2d,
}
_revived = revived  # pickles of earlier versions name it here


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

    __repr__ = __str__  # so that a notebook shows the table


def binarize_(
    model: nn.Module,
    binarizer: Binarizer | type[Binarizer] | str,
    *,
    skip: str | Iterable[str] = (),
    layers: Mapping[str, Binarizer | type[Binarizer] | str] | None = None,
    activation: Activation = "prelu",
    norm: Norm = "pooled",
) -> Conversion:
    """Replace every `nn.Conv2d` and `nn.Linear` of a module with a binary layer, in place.

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
        >>> type(net.layer1[0].conv1.norm).__name__  # behind the max pool
        'BatchNorm2d'
    """
    for name, value, known in (("activation", activation, Activation), ("norm", norm, Norm)):
        if value not in known.__args__:
            choices = ", ".join(map(repr, known.__args__))
            raise UserError(f"binarize_: {name} is {value!r}. Expected one of {choices}.")
    refuse_whole(model)
    skipped = [skip] if isinstance(skip, str) else list(skip) if isinstance(skip, Iterable) else [skip]
    if wrong := [each for each in skipped if not isinstance(each, str)]:
        raise UserError(f"binarize_: skip contains {wrong[0]!r}. Expected names or patterns, such as ['conv1', '0'].")
    if not isinstance(layers, Mapping | None):
        raise UserError(f"binarize_: layers is {layers!r}. Expected binarizers by name, such as {{'conv1': 'BNN'}}.")
    found = Candidates(model)
    chosen = found.choose(binarizer_of(binarizer), skipped, layers or {})
    views, untraced = views_of(model)
    if not untraced:
        found.leave_uncalled(chosen, {name for view in views for name in view.calls}, layers or {})
    for view in views:
        view.refuse_repeated(chosen)
    signed = [name for name, each in chosen.items() if each.signed_input]
    insert = {name for name in chosen if norm == "missing" and lacks_norm(name, views)}
    if norm != "keep":
        insert.update(name for name in signed if reads_pool(name, views))
    rectifiers = rectifiers_of([name for name in signed if name not in insert], views, untraced)
    if rectifiers and activation == "keep":
        layer = next(iter(rectifiers.values())).layer
        raise UserError(
            f"{layer}: {type(chosen[layer]).__name__} takes the sign of a ReLU's output, so every code would be +1. "
            "Give activation='prelu', 'hardtanh' or 'identity', norm='missing', or skip the layer."
        )
    for name, each in chosen.items():
        binary_form(found.modules[name], each)  # Raises now, before anything has changed.
    rewritten = rewritten_forwards(model, rectifiers)
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
    order = {name: place for place, (name, _) in enumerate(model.named_modules(remove_duplicate=False))}
    # A change within a forward is named by it: `block.forward`, or `forward` of the whole model.
    forwards = {f"{name}.forward".lstrip("."): place for name, place in order.items()}
    changes.sort(key=lambda change: (forwards | order)[change.name])
    return Conversion(tuple(changes), untraced)


def _replacement(rectifier: Rectifier, activation: Activation, like: Tensor) -> nn.Module:
    if activation == "prelu":
        return added(nn.PReLU(rectifier.channels or 1, device=like.device, dtype=like.dtype))
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
    layer = binary_form(module, binarizer, **given)
    layer.binarizer.fit(layer.weight)
    layer.train(module.training)
    parent, last = _parent(model, name)
    note = type(layer.binarizer).__name__
    if norm:
        kind = BatchNorm2d if isinstance(layer, BinaryConv2d) else RowNorm
        batch_norm = kind(layer.channels, device=layer.weight.device, dtype=layer.weight.dtype).train(module.training)
        within: OrderedDict[str, nn.Module] = OrderedDict(norm=added(batch_norm), layer=layer)
        setattr(parent, last, nn.Sequential(within).train(module.training))
        note += f"; with a norm before it, {name}.norm"
    else:
        setattr(parent, last, layer)
    yield Change(name, type(module).__name__, type(layer).__name__, note)


def _replace_activations(
    model: nn.Module, rectifiers: Mapping[Key, Rectifier], rewritten: Mapping[str, Forward], activation: Activation
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
    """Make the layers that stay real round once in evaluation; return the rows with these changes."""
    said, done = "sums in fp64 in evaluation", {}
    for name, module in model.named_modules():
        if kind := PINNED.get(type(module)):
            done[name] = Change(name, type(module).__name__, type(module).__name__, said)
            module.__class__ = kind
    left = {change.name for change in changes if change.name in done}
    rows = [replace(c, note=f"{c.note}; {said}") if c.name in left else c for c in changes]
    return [*rows, *(change for name, change in done.items() if name not in left)]
