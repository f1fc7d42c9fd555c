"""Low-precision multiplications: every number of a layer in fixed point or half precision, forward and backward."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bits import REAL, checked
from xnorlit.binarize.fixed_point import codes, fixed_point, move, overflow, range_of
from xnorlit.binarize.processes import agreed
from xnorlit.errors import UserError

GROUPS = ("z", "y", "W", "b", "dz", "dy", "dW", "db", "update W", "update b")
"""The kinds of number in a layer, each with its own range: output, input, weights, bias, their gradients, updates."""

Round = Callable[[Tensor, str], Tensor]


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: str, rounded: Round) -> Tensor:
        ctx.group, ctx.rounded = f"d{group}", rounded
        return rounded(x, group)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return ctx.rounded(outer, ctx.group), None, None


class LowPrecision(Binarizer):
    """`y = Q(Q(x) (*) Q(W) + Q(b))`, `Q(v) = clip(round(v 2^(B-I)), -(2^B - 1), 2^B - 1) / 2^(B-I)`.

    Q's gradient is the identity. The gradients of output, input, weights and bias are rounded too. The optimizer's step
    and the updated parameters are rounded with more bits. B does not count the sign. Only products have low precision;
    sums do not. A layer has ten kinds of number, each with its own range I. A `dynamic` range moves by one bit every
    `every` steps: up if too many values overflow, down if few would overflow in half the range.

    Autocast would round operands to eight bits, so train with `--trainer.precision 32-true`.

    Source: Courbariaux et al. 2014, arXiv 1412.7024; MatthieuCourbariaux/deep-learning-multipliers, format.py and
    layer.py.

    Args:
        format: `fixed` or `dynamic` for fixed point with a fixed or moving range, or `half` for half precision.
        propagation_bits: Bits of all numbers except the stored parameters, including the sign: 2 to 24, or 32 for real
            numbers. The release's examples use 10 for `dynamic` and 20 for `fixed`.
        update_bits: Bits of the stored parameters, including the sign.
        integer_bits: Initial I of all ranges (5 in the release's examples), or `data`: the smallest range in which no
            value of the first batch overflows. The release finds the ranges in two epochs with 31 bits, then restarts
            training. The first batch gives a range within one or two bits of that.
        every: Steps between two changes of the dynamic ranges.
        overflow: Share of values that may overflow before a range moves up.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.LowPrecision().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 256., -128.,  384., -256.]]), scale=tensor(0.0020))
    """

    cannot_pack = "it rounds its sums, but the engine keeps them exact; use DoReFa with up to 8 bits"
    cannot_pack_weights = cannot_pack
    ranges: Tensor
    started: Tensor
    rates: Tensor
    steps: Tensor

    def __init__(
        self,
        format: Literal["fixed", "dynamic", "half"] = "dynamic",
        propagation_bits: int = 10,
        update_bits: int = 12,
        integer_bits: int | Literal["data"] = "data",
        every: int = 100,
        overflow: float = 1e-4,
    ) -> None:
        super().__init__()
        if every < 1 or not 0 <= overflow < 1:
            raise UserError(
                f"LowPrecision's every is {every} and overflow {overflow}. Expected every >= 1 and 0 <= overflow < 1."
            )
        self.format = format
        self.propagation_bits = checked("propagation_bits", propagation_bits, most=24, least=2)
        self.update_bits = checked("update_bits", update_bits, most=24, least=2)
        bits = 16 if format == "half" else self.propagation_bits
        self.weight_bits = self.input_bits = self.gradient_bits = bits
        self.integer_bits: int | Literal["data"] = integer_bits
        self.every = every
        self.overflow = overflow
        self._before: dict[str, Tensor] = {}

    @override
    def setup(self, weight: Tensor) -> None:
        known = self.integer_bits != "data"
        start = float(self.integer_bits) if known else 0.0
        self.register_buffer("ranges", weight.new_full((len(GROUPS),), start))
        self.register_buffer("started", torch.full((len(GROUPS),), known, device=weight.device))
        self.register_buffer("rates", weight.new_zeros(3, len(GROUPS)))  # two sums of rates, and their counts
        self.register_buffer("steps", weight.new_zeros(()))

    # --- rounding ---------------------------------------------------------------------------------------------------
    def _rounded(self, x: Tensor, group: str) -> Tensor:
        """Q with the group's range. In training, initialise the range or count overflows."""
        bits = self.update_bits if group in ("W kept", "b kept") else self.propagation_bits
        if self.format == "half":
            return x.half().to(x.dtype)
        if bits == REAL:
            return x.clone()
        index = GROUPS.index(group.removesuffix(" kept"))
        values = fixed_point(x, self._range(x, index), bits - 1)
        counted = group not in ("W", "b")  # The stored parameters determine the range of W and b.
        if self.training and self.format == "dynamic" and counted:
            self.rates[:2, index] += overflow(values, self.ranges[index], bits - 1)
            self.rates[2, index] += 1
        return values

    def _range(self, x: Tensor, index: int) -> Tensor:
        if self.integer_bits != "data":
            return self.ranges[index]
        found = torch.where(self.started[index], self.ranges[index], range_of(x).to(self.ranges.dtype))
        if self.training:
            self.ranges[index] = found
            self.started[index] |= x.any()
        return found

    def _passed(self, x: Tensor, group: str) -> Tensor:
        return _Rounded.apply(x, group, self._rounded)

    # --- both forms -------------------------------------------------------------------------------------------------
    @override
    def weight(self, weight: Tensor) -> Tensor:
        self._before["W"] = weight.detach().clone()
        return self._passed(weight, "W")

    @override
    def input(self, x: Tensor) -> Tensor:
        return self._passed(super().input(x), "y")

    @override
    def bias(self, bias: Tensor) -> Tensor:
        if self.training:
            self._before["b"] = bias.detach().clone()
        return self._passed(bias, "b")

    @override
    def output(self, y: Tensor) -> Tensor:
        return self._passed(y, "z")

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return self._codes(weight.detach(), "W")

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return self._codes(super().input(x), "y")

    def _codes(self, x: Tensor, group: str) -> Codes:
        if not self.exact:
            return Codes(self._rounded(x, group), x.new_ones(()))
        bits, integer_bits = self.propagation_bits - 1, self._range(x, GROUPS.index(group))
        return Codes(codes(x, integer_bits, bits), torch.exp2(integer_bits - bits).to(x.dtype))

    @property
    @override
    def exact(self) -> bool:
        return self.format != "half" and self.propagation_bits < REAL

    # --- steps ------------------------------------------------------------------------------------------------------
    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        self._step(weight, "W")
        self._agree()
        if self.format == "dynamic":
            self.steps += 1
            due = self.steps >= self.every
            sums, counts = self.rates[:2], self.rates[2]
            moves = move(sums / counts.clamp_min(1), self.overflow) * (self.started & (counts > 0))
            self.ranges += torch.where(due, moves, 0)
            self.rates *= ~due
            self.steps *= ~due

    def _agree(self) -> None:
        """Take the largest initial range over all processes, and the mean of their counts."""
        started = agreed(self.started.to(self.ranges.dtype), "max") > 0
        ranges = agreed(torch.where(self.started, self.ranges, -torch.inf), "max")
        self.ranges.copy_(torch.where(started, ranges, self.ranges))
        self.started.copy_(started)
        self.rates.copy_(agreed(self.rates, "mean"))

    @override
    @torch.no_grad()
    def after_bias_step(self, bias: Tensor) -> None:
        self._step(bias, "b")

    def _step(self, parameter: Tensor, group: str) -> None:
        """`Q_update(p + Q(u))`, where u is the optimizer's step from p."""
        before = self._before.pop(group, None)
        if before is not None:
            before = before.view_as(parameter)
            parameter.copy_(before + self._rounded(parameter - before, f"update {group}"))
        parameter.copy_(self._rounded(parameter, f"{group} kept"))
