"""Modules that replace the functions a forward calls."""

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xnorlit.export.nodes import Add, Affine, AveragePool, Concat, GlobalAverage, Shift, Subsample
from xnorlit.models.built import DuplicateChannels

Shape = tuple[int, ...]


class Moving(NamedTuple):
    """An argument of a call that depends on the images.

    Attributes:
        source: The node that computes it.
        shape: Its shape in the traced pass.
    """

    source: Any
    shape: Shape


class Call(NamedTuple):
    """A call of a function.

    Attributes:
        args: Its arguments: `Moving`, or Python values and tensors.
        kwargs: Likewise, by name.
        found: Shape of the result.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    found: Shape

    @property
    def moving(self) -> list[Moving]:
        """The arguments that depend on the images, in order."""
        return list(_moving([*self.args, *self.kwargs.values()]))


class Form(NamedTuple):
    """The module form of a call.

    Attributes:
        module: The module that computes the same.
        inputs: What it reads.
    """

    module: nn.Module
    inputs: list[Moving]


def _moving(values: Any) -> Iterator[Moving]:
    for value in values:
        if isinstance(value, Moving):
            yield value
        elif isinstance(value, list | tuple):
            yield from _moving(value)


def form_of(target: Any, call: Call) -> Form | None:
    """The module form of a call; None if a packed network has none for these arguments.

    Args:
        target: The function, or the name of a method.
        call: Its arguments.
    """
    make = FUNCTIONS.get(target)
    try:
        made = make(call) if make else None
    # Arguments that the table does not know, or that torch's function takes and its module does not.
    except (TypeError, ValueError, AttributeError, AssertionError):
        made = None
    if made is None:
        return None
    return made if isinstance(made, Form) else Form(made.eval(), call.moving[:1])


def known(target: Any) -> bool:
    """Whether some calls of a function have a packed form."""
    return target in FUNCTIONS


def elementwise(make: Callable[..., nn.Module | None]) -> Callable[[Call], nn.Module | None]:
    """A maker for calls whose first argument alone depends on the images; `make` receives the other arguments."""

    def of(call: Call) -> nn.Module | None:
        rest = {key: value for key, value in call.kwargs.items() if key not in ("input", "self")}
        return make(*call.args[1:], **rest) if len(call.moving) == 1 else None

    return of


# --- arithmetic -------------------------------------------------------------------------------------------------------
def _numbers(value: Any, shape: Shape) -> Tensor | None:
    """A constant as one number per channel, for a value of that shape."""
    if isinstance(value, int | float):
        return torch.full((shape[1],), float(value))
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    if value.numel() == 1:
        return value.detach().reshape(1).expand(shape[1])
    sizes = (1,) * (len(shape) - value.ndim) + tuple(value.shape)
    if len(sizes) != len(shape) or sizes != (1, shape[1], *(1,) * (len(shape) - 2)):
        return None
    return value.detach().flatten()


def _pair(call: Call) -> tuple[Any, Any] | None:
    """The two operands of a call without other arguments."""
    rest = dict(call.kwargs)
    given = [*call.args, *(rest.pop(key) for key in ("input", "other") if key in rest)]
    return (given[0], given[1]) if len(given) == 2 and all(value == 1 for value in rest.values()) else None


def _sum(call: Call) -> Form | nn.Module | None:
    a, b = _pair(call) or (None, None)
    if isinstance(a, Moving) and isinstance(b, Moving):
        return Form(Add(), [a, b]) if a.shape == b.shape else None
    shift, _ = _constant(call)
    return None if shift is None else Shift(shift)


def _difference(call: Call) -> nn.Module | None:
    numbers, first = _constant(call)
    if numbers is None:
        return None
    return Affine(-torch.ones_like(numbers), numbers) if first else Shift(-numbers)


def _product(call: Call) -> nn.Module | None:
    scale, _ = _constant(call)
    return None if scale is None else Affine(scale)


def _constant(call: Call) -> tuple[Tensor | None, bool]:
    """The one operand that does not depend on the images, in numbers per channel, and whether it comes first."""
    a, b = _pair(call) or (None, None)
    if isinstance(a, Moving) == isinstance(b, Moving):
        return None, False
    return (_numbers(b, a.shape), False) if isinstance(a, Moving) else (_numbers(a, b.shape), True)  # type: ignore


# --- maps -------------------------------------------------------------------------------------------------------------
def _cat(call: Call) -> Form | None:
    rest = dict(call.kwargs)
    given = [*call.args, *(rest.pop(key) for key in ("tensors",) if key in rest)]
    tensors, dim = given[0], given[1] if len(given) > 1 else rest.pop("dim", rest.pop("axis", 0))
    moving = list(_moving(tensors))
    if rest or len(moving) != len(tensors) or dim not in (1, 1 - len(call.found)) or any(0 in m.shape for m in moving):
        return None
    if len(moving) == 2 and moving[0].source is moving[1].source:
        return Form(DuplicateChannels(), moving[:1])
    return Form(Concat(), moving) if len(moving) > 1 else Form(nn.Identity(), moving)


def _pad(pad: Any, mode: str = "constant", value: float | None = None) -> nn.Module | None:
    pad = [int(side) for side in pad]
    if mode != "constant" or value or min(pad) < 0 or any(pad[:4]) or len(pad) > 6:
        return None
    return nn.Identity() if not any(pad) else Subsample(1, pad[4], pad[5])


def _sliced(call: Call) -> nn.Module | None:
    (_, index), whole = call.args, slice(None)
    index = [*index] if isinstance(index, tuple) else [index]
    if ... in index:
        at = index.index(...)
        index[at : at + 1] = [whole] * (len(call.moving[0].shape) - len(index) + 1)
    index += [whole] * (len(call.moving[0].shape) - len(index))
    if all(part == whole for part in index):
        return nn.Identity()
    if len(index) != 4 or any(part != whole for part in index[:2]) or len(call.moving) > 1:
        return None
    steps = {part.step or 1 for part in index[2:] if part.start in (None, 0) and part.stop is None}
    sliced = all(part.start in (None, 0) and part.stop is None for part in index[2:])
    step = max(steps, default=0)
    return Subsample(step) if sliced and steps == {step} and step > 0 else None


def _mean(call: Call) -> nn.Module | None:
    rest = dict(call.kwargs)
    dims = call.args[1] if len(call.args) > 1 else rest.pop("dim", rest.pop("axis", None))
    keep = call.args[2] if len(call.args) > 2 else rest.pop("keepdim", False)
    if rest or len(call.moving[0].shape) != 4 or sorted(dim % 4 for dim in dims) != [2, 3]:
        return None
    return GlobalAverage(keepdim=bool(keep))


def average_pool(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> nn.Module | None:
    """Torch's average pool as a node; None if it is not square or divides by another number of pixels."""
    sides = [square(kernel_size), square(kernel_size if stride in (None, (), []) else stride), square(padding)]
    odd = ceil_mode or divisor_override is not None or (sides[2] != 0 and not count_include_pad)
    return None if odd or None in sides else AveragePool(*(int(side) for side in sides if side is not None))


def square(value: Any) -> int | None:
    """One number from an argument that may be one or two; None if the two differ."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value,)
    return int(next(iter(pair))) if len(set(pair)) == 1 and len(pair) <= 2 else None


def _max_pool(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, **more: Any
) -> nn.Module:
    return nn.MaxPool2d(kernel_size, stride or None, padding, dilation, ceil_mode=ceil_mode, **more)


# --- activations ------------------------------------------------------------------------------------------------------
def _clamp(min: float | None = None, max: float | None = None) -> nn.Module | None:
    if not isinstance(min, int | float):
        return None
    return nn.Hardtanh(min, max) if max is not None else nn.ReLU() if min == 0 else None


def _prelu(call: Call) -> nn.Module | None:
    weight = call.args[1] if len(call.args) > 1 else call.kwargs.get("weight")
    if not isinstance(weight, Tensor):
        return None
    module = nn.PReLU(weight.numel())
    module.weight.data = weight.detach().flatten()
    return module


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module | None:
    return None if training else nn.Identity()


def _functions() -> Iterator[tuple[tuple[Any, ...], Callable[[Call], Form | nn.Module | None]]]:
    one = elementwise
    yield (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), one(lambda inplace=False: nn.ReLU())
    yield (F.relu6,), one(lambda inplace=False: nn.ReLU6())
    hard = one(lambda min_val=-1.0, max_val=1.0, inplace=False: nn.Hardtanh(min_val, max_val))
    yield (F.hardtanh, F.hardtanh_), hard
    leaky = one(lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope))
    yield (F.leaky_relu, F.leaky_relu_), leaky
    yield (F.prelu, torch.prelu, "prelu"), _prelu
    yield (torch.clamp, torch.clamp_, torch.clip, torch.clip_, "clamp", "clamp_", "clip", "clip_"), one(_clamp)
    yield (F.max_pool2d, torch.max_pool2d), one(_max_pool)
    yield (F.avg_pool2d,), one(average_pool)
    yield (F.adaptive_avg_pool2d,), one(nn.AdaptiveAvgPool2d)
    yield (torch.mean, "mean"), _mean
    yield (F.dropout, F.dropout1d, F.dropout2d, F.alpha_dropout, F.feature_alpha_dropout), one(_dropout)
    yield (torch.flatten, torch.reshape, "flatten", "view", "reshape", torch.squeeze, "squeeze"), lambda _: nn.Flatten()
    yield (torch.cat, torch.concat, torch.concatenate), _cat
    yield (torch.add, operator.add, operator.iadd, "add", "add_"), _sum
    yield (torch.sub, operator.sub, operator.isub, "sub", "sub_"), _difference
    yield (torch.mul, operator.mul, operator.imul, "mul", "mul_"), _product
    yield (operator.neg, torch.neg, "neg"), lambda call: Affine(-torch.ones(call.found[1]))
    yield (F.pad,), one(_pad)
    yield (operator.getitem,), _sliced
    yield (torch.clone, "clone", "contiguous", "float", "detach"), lambda _: nn.Identity()


FUNCTIONS = {function: make for functions, make in _functions() for function in functions}
