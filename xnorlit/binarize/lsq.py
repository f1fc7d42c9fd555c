"""Learned step size quantization: weights and inputs of a few bits with a learned step between levels."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bits import REAL, checked
from xnorlit.binarize.channels import over_filters
from xnorlit.binarize.latent import by_filters, by_filters_with, compute_dtype
from xnorlit.binarize.nearest import nearest_scale
from xnorlit.binarize.processes import agreed
from xnorlit.binarize.standard import filter_dims
from xnorlit.errors import UserError

Scope = Literal["layer", "filter"]

SMALLEST = 1e-5
"""Smallest quantisation step after an optimizer step. Inputs are divided by it, so it must stay positive."""

FITS = 30
"""Iterations of the fit to trained weights, more than it needs to converge."""


def levels(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """`round(clip(x / step, low, high))`, integers in the dtype of `x`; ties round to even."""
    return torch.div(x, step).clamp_(low, high).round_()


class _LearnedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int, share: float, dtype: torch.dtype) -> Tensor:
        steps = over_filters(step, x).expand(len(x), *(1,) * (x.ndim - 1))
        ctx.save_for_backward(x, steps)
        ctx.low, ctx.high, ctx.share, ctx.shape = low, high, share, step.shape

        def formula(x: Tensor, step: Tensor) -> Tensor:
            return levels(x, step, low, high).mul_(step)

        return by_filters(formula, dtype, x, steps)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, steps = ctx.saved_tensors

        def formula(x: Tensor, step: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
            outer = outer.to(x.dtype)
            v = torch.div(x, step)
            inner = torch.ops.aten.hardtanh_backward(outer, v, ctx.low, ctx.high)
            # g * level - inner * v: g * (round(v) - v) inside, g * low or g * high outside.
            terms = v.clamp(ctx.low, ctx.high).round_().mul_(outer).addcmul_(v, inner, value=-1)
            return inner, terms.sum(dim=filter_dims(x), dtype=step.dtype)

        of_x, of_step = by_filters_with(formula, x.dtype, x, steps, outer)
        of_step.mul_(ctx.share)
        return of_x, of_step if ctx.shape else of_step.sum(), None, None, None, None


def learned_step(
    x: Tensor, step: Tensor, low: int, high: int, share: float = 1.0, dtype: torch.dtype | None = None
) -> Tensor:
    """`s * round(clip(x / s, low, high))` with a learned step `s`.

    With `v = x / s` and `g` the gradient of the loss by this function's output:

    - `dx = g * 1[low < v < high]`
    - `ds = share * sum of g * (round(v) - v  where low < v < high, low where v <= low, high where v >= high)`

    Args:
        x: Latent weights `(O, ...)` or inputs `(N, ...)`.
        step: One number, or one for each filter, `(O,)`.
        low: The lowest level.
        high: The highest level.
        share: Factor on the gradient of the step.
        dtype: Dtype of the result (default: that of `x`).
    """
    return _LearnedStep.apply(x, step, low, high, share, dtype or x.dtype)


def first_step(x: Tensor, high: int) -> Tensor:
    """`2 mean|x| / sqrt(high)`, the initial step for these values; one number."""
    return (2 / math.sqrt(high) * x.abs().mean()).clamp(min=SMALLEST)


class LSQ(Binarizer):
    """`weight(W) = s_w round(clip(W / s_w, -2^(k-1), 2^(k-1) - 1))`, `input(x) = s_x round(clip(x / s_x, 0, 2^k - 1))`.

    The steps s_w and s_x are learned. Their gradients are those of `learned_step` times `1 / sqrt(n q)`, for `n` values
    with the largest level `q`. They start at `2 mean|v| / sqrt(q)` over the latent weights, and over the first training
    batch after a ReLU (the lowest level, 0, acts as one). After each optimizer step they are at least 1e-5.

    Source: Esser et al. 2020, arXiv 1902.08153, sections 2.1 and 2.2; zhutmost/lsq-net, quan/quantizer/lsq.py.

    Args:
        weight_bits: 2 to 8, or 32 for real weights. One signed bit would have the levels -1 and 0, and the formulas
            divide by the largest level.
        input_bits: 1 to 8, or 32 for real inputs (rectified, see `Float`).
        scope: One s_w for the `layer`, as in the paper, or for each `filter`, the port's default.
        count: What `n` counts for inputs: the values of one `sample`, as in the paper, or of the whole `batch`, as in
            the port. With `sample` the gradient does not depend on the batch size.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.LSQ().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[0., -0., 1., -0.]]), scale=tensor(1.))
    """

    started: Tensor

    def __init__(
        self,
        weight_bits: int = 2,
        input_bits: int = 2,
        scope: Scope = "layer",
        count: Literal["sample", "batch"] = "sample",
    ) -> None:
        super().__init__()
        if weight_bits == 1:
            raise UserError(
                "LSQ's weight_bits is 1, but LSQ divides by the largest code, which is 0 for one signed bit. "
                f"Expected 2 to 8, or {REAL} for real weights; for one bit use XNOR."
            )
        self.weight_bits = checked("weight_bits", weight_bits)
        self.input_bits = checked("input_bits", input_bits)
        self.scope: Scope = scope
        self.count = count
        self._may_start = True  # Avoids waiting for a GPU to read `started` at every step but the first.

    @property
    def _weight_range(self) -> tuple[int, int]:
        return -(2 ** (self.weight_bits - 1)), 2 ** (self.weight_bits - 1) - 1

    @property
    def _input_range(self) -> tuple[int, int]:
        return 0, 2**self.input_bits - 1

    @override
    def setup(self, weight: Tensor) -> None:
        if self.weight_bits < REAL:
            parts = weight.detach() if self.scope == "filter" else [weight.detach()]
            steps = torch.stack([first_step(part, self._weight_range[1]) for part in parts])
            self.weight_step = nn.Parameter(steps if self.scope == "filter" else steps[0])
        if self.input_bits < REAL:
            self.input_step = nn.Parameter(weight.new_ones(()))
            self.register_buffer("started", torch.tensor(False, device=weight.device))

    @override
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._may_start = True  # The state may be from before the first batch, as when folds begin alike.

    # --- weights ----------------------------------------------------------------------------------------------------
    @override
    def weight(self, weight: Tensor) -> Tensor:
        if self.weight_bits == REAL:
            return weight
        share = 1 / math.sqrt(weight.numel() * self._weight_range[1])
        return learned_step(weight, self.weight_step, *self._weight_range, share, compute_dtype(weight))

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        if self.weight_bits == REAL:
            return super().weight_codes(weight)
        steps = self.weight_step.detach()
        column = over_filters(steps, weight) if steps.ndim else steps
        return Codes(levels(weight.detach(), column, *self._weight_range), steps)

    # --- inputs -----------------------------------------------------------------------------------------------------
    @override
    def input(self, x: Tensor) -> Tensor:
        if self.input_bits == REAL:
            return super().input(x)
        if self._may_start:
            self._start(x.detach())
        share = 1 / math.sqrt((x.shape[1:] if self.count == "sample" else x.shape).numel() * self._input_range[1])
        return learned_step(x, self.input_step, *self._input_range, share)

    @override
    def input_codes(self, x: Tensor) -> Codes:
        if self.input_bits == REAL:
            return super().input_codes(x)
        # A graph and the meta device cannot branch on a number, and the compiler fuses the passes.
        if torch.compiler.is_compiling() or self.started.is_meta:
            step = torch.where(self.started, self.input_step.detach(), self._first_input_step(x))
        else:
            step = self.input_step.detach() if self.started else self._first_input_step(x)
        return Codes(levels(x, step, *self._input_range), step)

    def _first_input_step(self, x: Tensor) -> Tensor:
        return first_step(x.float().clamp(min=0), self._input_range[1])

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        self._may_start = False
        step = agreed(self._first_input_step(x), "mean")
        self.input_step.copy_(torch.where(self.started, self.input_step, step))  # True in a resumed run.
        self.started.fill_(True)

    # --- hooks ------------------------------------------------------------------------------------------------------
    @property
    @override
    def cannot_pack(self) -> str:  # type: ignore[override]
        # On the meta device nothing has a value; what is described there is the method, which has a packed form.
        if self.input_bits < REAL and not self.started.is_meta and not self.started:
            return "the first training batch sets the step of its inputs, but it was not trained; train it first"
        return ""

    @override
    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        if self.weight_bits == REAL:
            return
        by_filter = self.scope == "filter"
        parts = weight if by_filter else [weight]
        self.weight_step.copy_(
            torch.stack([first_step(part, self._weight_range[1]) for part in parts]).view_as(self.weight_step)
        )
        for _ in range(FITS):  # Alternate: levels from the step, then the step from the levels.
            codes = self.weight_codes(weight).values
            self.weight_step.copy_(nearest_scale(weight, codes, by_filter=by_filter).clamp(min=SMALLEST))

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        for step in self.parameters():
            step.clamp_(min=SMALLEST)
