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
    if weight.dtype == torch.float32 and torch.is_autocast_enabled(device):
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


def by_samples(formula: Callable[..., Tensor], x: Tensor, *operands: Tensor) -> Tensor:
    """`formula(x, *operands)` in the dtype of `x`, on a CPU in fp32 and for as many samples at a time as fit the cache.

    A CPU computes bf16 by way of fp32, in every step of a formula anew; a PReLU, or a sum with fp32's digits, thereby
    takes several times as long as in fp32. Here the result is rounded once.

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
