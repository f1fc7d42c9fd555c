"""Which layers of a module can be binary, which stay real, and why."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from xnorlit.binarize import Binarizer, binarizer_of
from xnorlit.errors import UserError, did_you_mean
from xnorlit.layers import BinaryConv2d, BinaryLayer, BinaryLinear, Conv2d, Linear
from xnorlit.layers.layer import expect_module


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


def refuse_whole(model: nn.Module) -> None:
    """Refuse what `binarize_` cannot change as a whole: a single layer, a wrapper, a quantised network."""
    expect_module("binarize_", model)
    if isinstance(model, nn.Conv2d | nn.Linear):
        raise UserError(
            f"binarize_ replaces the layers inside a module, but was given one layer, {type(model).__name__}. Wrap "
            "it in nn.Sequential, or create a BinaryConv2d or BinaryLinear."
        )
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel, torch.jit.ScriptModule)
    for name, module in model.named_modules():
        kind = type(module)
        given = f"binarize_: {name} is a {kind.__name__}" if name else f"binarize_ was given a {kind.__name__}"
        if isinstance(module, wrappers):
            raise UserError(f"{given}. Binarize the module before you wrap it.")
        if "_orig_mod" in module._modules:  # of torch.compile
            raise UserError(f"{given}. Binarize the module before you compile it.")
        if ".quantized." in kind.__module__ or kind.__module__.startswith(("torch.ao.", "torchao.")):
            raise UserError(f"binarize_: {name} is already quantised ({kind.__name__}). Give the float network.")


class Candidates:
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
        self, binarizer: Binarizer, skip: Sequence[str], layers: Mapping[str, Binarizer | type[Binarizer] | str]
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
        """Remove the layers that no forward calls; their owner reads the weights directly, or nothing does."""
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


def binary_form(module: nn.Conv2d | nn.Linear, binarizer: Binarizer, **given: Any) -> BinaryLayer:
    """A binary layer of the module's shape, without weights unless `given` says otherwise."""
    given = {"bias": module.bias is not None, "device": "meta", "dtype": module.weight.dtype, **given}
    if isinstance(module, nn.Conv2d):
        window: Any = module.kernel_size, module.stride, module.padding
        places = module.in_channels, module.out_channels, *window
        return BinaryConv2d(*places, groups=module.groups, binarizer=binarizer, **given)
    return BinaryLinear(module.in_features, module.out_features, binarizer=binarizer, **given)
