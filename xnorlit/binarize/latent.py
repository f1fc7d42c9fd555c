"""How a formula over latent weights or inputs is computed: in which dtype, and how much of them at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 2**20
"""Weights that a formula takes at once on a CPU: 4 MB in fp32, so that what it leaves between its steps stays in cache.

A new tensor for the 38 M weights of AlexNet's fc6 costs 45 ms, for the system hands out cleared pages, and a pass over
one that exists 6 ms; a formula of five steps would make five.
"""


def compute_dtype(weight: Tensor) -> torch.dtype:
    """The dtype in which a matrix product reads these weights: autocast's, where it is on.

    Weights that are written in it need no cast by autocast, nor does their gradient.
    """
    device = weight.device.type
    if weight.dtype == torch.float32 and device != "meta" and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


def by_filters(formula: Callable[..., Tensor], dtype: torch.dtype, weight: Tensor, *operands: Tensor) -> Tensor:
    """`formula(weight, *operands)` in `dtype`, on a CPU for as many filters at a time as fit the cache.

    Args:
        formula: Computes filter `o` of its result, in the shape of the weights, from filter `o` of its operands.
        dtype: What the result is rounded to.
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`; the result has their memory format.
        operands: Further tensors of `O` filters each.
    """
    filters = max(1, BLOCK // weight[0].numel())
    # A GPU hides its allocations and pays for every launch; a compiler fuses the steps by itself.
    if len(weight) <= filters or weight.device.type != "cpu" or torch.compiler.is_compiling():
        return formula(weight, *operands).to(dtype)
    result = torch.empty_like(weight, dtype=dtype)
    for target, *parts in zip(*(tensor.split(filters) for tensor in (result, weight, *operands)), strict=True):
        target.copy_(formula(*parts))
    return result


def by_filters_with(
    formula: Callable[..., tuple[Tensor, ...]], dtype: torch.dtype, weight: Tensor, *operands: Tensor
) -> tuple[Tensor, ...]:
    """`by_filters` of a formula that returns numbers of its filters besides, `(O, ...)` each: all of them.

    Args:
        formula: Computes filter `o` of its result and of each tensor of numbers.
        dtype: As for `by_filters`.
        weight: As for `by_filters`.
        operands: As for `by_filters`.
    """
    values, parts = _collecting(formula)
    return by_filters(values, dtype, weight, *operands), *map(torch.cat, zip(*parts, strict=True))


def _collecting(
    formula: Callable[..., tuple[Tensor, ...]],
) -> tuple[Callable[..., Tensor], list[tuple[Tensor, ...]]]:
    """The formula without the numbers besides, and a list that it puts those of each block into."""
    parts: list[tuple[Tensor, ...]] = []

    def values(*tensors: Tensor) -> Tensor:
        result, *numbers = formula(*tensors)
        parts.append(tuple(numbers))
        return result

    return values, parts


def by_samples(formula: Callable[..., Tensor], x: Tensor, *operands: Tensor) -> Tensor:
    """`formula(x, *operands)` in the dtype of `x`, on a CPU in fp32 and for as many samples at a time as fit the cache.

    A CPU converts bf16 to fp32 and back in each step of a formula, so a PReLU, or a sum with fp32's digits, takes
    several times as long as in fp32. Here the result is rounded once.

    Args:
        formula: Computes sample `n` of its result, in the shape of `x`, from sample `n` of its operands. They may come
            in fp32 or as they are, and it must not write to them.
        x: Inputs `(N, ...)`; the result has their memory format.
        operands: Further tensors of `N` samples each.
    """
    rounded = x.dtype in (torch.bfloat16, torch.float16)
    if not rounded or x.device.type != "cpu" or torch.compiler.is_compiling():
        return by_filters(formula, x.dtype, x, *operands)
    return by_filters(lambda *parts: formula(*(part.float() for part in parts)), x.dtype, x, *operands)


def by_samples_with(formula: Callable[..., tuple[Tensor, ...]], x: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    """`by_samples` of a formula that returns sums over its samples besides: those over all samples.

    Args:
        formula: Computes sample `n` of its result, and sums over the samples that it was given.
        x: As for `by_samples`.
        operands: As for `by_samples`.
    """
    values, parts = _collecting(formula)
    return by_samples(values, x, *operands), *(torch.stack(part).sum(dim=0) for part in zip(*parts, strict=True))
