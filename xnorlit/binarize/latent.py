"""Compute a formula over latent weights or inputs block by block, in the right dtype."""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 2**20
"""Weights in a block on a CPU: 4 MB in fp32, so that the intermediate tensors of a formula stay in cache.

A new tensor for the 38 M weights of AlexNet's fc6 costs 45 ms, because the system clears its pages; a pass over an
existing tensor costs 6 ms. A formula of five steps would create five new tensors.
"""


def compute_dtype(weight: Tensor) -> torch.dtype:
    """The dtype in which a matrix product reads these weights: autocast's if it is on, else their own.

    Weights in this dtype need no cast by autocast, and neither does their gradient.
    """
    device = weight.device.type
    if weight.dtype == torch.float32 and device != "meta" and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


def by_filters(formula: Callable[..., Tensor], dtype: torch.dtype, weight: Tensor, *operands: Tensor) -> Tensor:
    """`formula(weight, *operands)` in `dtype`; on a CPU, for as many filters at a time as fit in cache.

    Args:
        formula: Computes filter `o` of its result, in the shape of the weights, from filter `o` of its operands.
        dtype: Dtype of the result.
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`; the result has their memory format.
        operands: Further tensors of `O` filters each.
    """
    # On a GPU allocations are cheap and launches are not. A compiler fuses the steps by itself, and comparing sizes
    # would tie an exported network to a batch size.
    if torch.compiler.is_compiling() or weight.device.type != "cpu":
        return formula(weight, *operands).to(dtype)
    filters = max(1, BLOCK // max(1, weight.shape[1:].numel()))
    if len(weight) <= filters:
        return formula(weight, *operands).to(dtype)
    result = torch.empty_like(weight, dtype=dtype)
    for target, *parts in zip(*(tensor.split(filters) for tensor in (result, weight, *operands)), strict=True):
        target.copy_(formula(*parts))
    return result


def by_filters_with(
    formula: Callable[..., tuple[Tensor, ...]], dtype: torch.dtype, weight: Tensor, *operands: Tensor
) -> tuple[Tensor, ...]:
    """`by_filters` for a formula that also returns tensors with numbers per filter, `(O, ...)` each. Returns all.

    Args:
        formula: Computes filter `o` of its result, and of each tensor of numbers.
        dtype: See `by_filters`.
        weight: See `by_filters`.
        operands: See `by_filters`.
    """
    values, parts = _collecting(formula)
    return by_filters(values, dtype, weight, *operands), *map(torch.cat, zip(*parts, strict=True))


def _collecting(
    formula: Callable[..., tuple[Tensor, ...]],
) -> tuple[Callable[..., Tensor], list[tuple[Tensor, ...]]]:
    """The formula without its tensors of numbers, and a list to which it appends those of each block."""
    parts: list[tuple[Tensor, ...]] = []

    def values(*tensors: Tensor) -> Tensor:
        result, *numbers = formula(*tensors)
        parts.append(tuple(numbers))
        return result

    return values, parts


def by_samples(formula: Callable[..., Tensor], x: Tensor, *operands: Tensor) -> Tensor:
    """`formula(x, *operands)` in the dtype of `x`; on a CPU in fp32, for as many samples at a time as fit in cache.

    A CPU converts bf16 to fp32 and back in each step of a formula, so a PReLU, or a sum in fp32, takes several times as
    long as with fp32 inputs. Here only the result is rounded.

    Args:
        formula: Computes sample `n` of its result, in the shape of `x`, from sample `n` of its operands. The operands
            may be in fp32 or in their own dtype; the formula must not write to them.
        x: Inputs `(N, ...)`; the result has their memory format.
        operands: Further tensors of `N` samples each.
    """
    rounded = x.dtype in (torch.bfloat16, torch.float16)
    if not rounded or x.device.type != "cpu" or torch.compiler.is_compiling():
        return by_filters(formula, x.dtype, x, *operands)
    return by_filters(lambda *parts: formula(*(part.float() for part in parts)), x.dtype, x, *operands)


def by_samples_with(formula: Callable[..., tuple[Tensor, ...]], x: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    """`by_samples` for a formula that also returns sums over its samples. Returns the sums over all samples, too.

    Args:
        formula: Computes sample `n` of its result, and sums over the given samples.
        x: See `by_samples`.
        operands: See `by_samples`.
    """
    values, parts = _collecting(formula)
    return by_samples(values, x, *operands), *(torch.stack(part).sum(dim=0) for part in zip(*parts, strict=True))
