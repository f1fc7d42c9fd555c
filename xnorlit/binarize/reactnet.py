"""ReActNet: a learned threshold of the sign, and a learned non-linearity after the layer."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Codes, PostLayer
from xnorlit.binarize.bireal import BiReal
from xnorlit.binarize.channels import over_channels, per_channel
from xnorlit.binarize.latent import by_samples, by_samples_with

SLOPE = 0.25  # torch's initial slope of a PReLU


def shifted_signs(x: Tensor, shift: Tensor) -> Tensor:
    """`sign(x + shift_c)`, computed as `+1 where x >= -shift_c` without the sum; bit for bit the same."""
    ones = torch.ge(x, -over_channels(shift, x), out=torch.empty_like(x))
    return torch.add(-torch.ones((), dtype=x.dtype, device=x.device), ones, alpha=2, out=ones)


class _ShiftedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, shift)
        return shifted_signs(x, shift)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, shift = ctx.saved_tensors

        def formula(x: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
            slope = torch.add(x, over_channels(shift, x)).abs_()
            inner = torch.sub(slope.new_tensor(2), slope, alpha=2, out=slope).clamp_min_(0).mul_(outer)
            return inner, per_channel(inner, shift.dtype)

        of_x, of_shift = by_samples_with(formula, x, outer)
        return of_x, of_shift


def shifted_sign(x: Tensor, shift: Tensor) -> Tensor:
    """`sign(z)`, `z = x + shift_c`, with the gradient `dx = g * max(0, 2 - 2|z|)` and `dshift_c = sum of dx over c`.

    Args:
        x: `(N, C, ...)`.
        shift: `(C,)`.
    """
    return _ShiftedSign.apply(x, shift)


class _RPReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, before: Tensor, after: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope, before)

        def formula(x: Tensor) -> Tensor:
            return F.prelu(torch.add(x, over_channels(before, x)), slope.to(x.dtype)).add_(over_channels(after, x))

        return by_samples(formula, x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        x, slope, before = ctx.saved_tensors

        def formula(x: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
            z = torch.add(x, over_channels(before, x)).clamp_max_(0)
            negative = torch.lt(z, 0, out=torch.empty_like(z)).mul_(outer)
            terms = (z.mul_(outer), negative, outer)
            sums = torch.stack([per_channel(term, slope.dtype) for term in terms])
            return torch.addcmul(outer, negative, over_channels(slope - 1, x)), sums

        of_x, (of_slope, of_negative, of_all) = by_samples_with(formula, x, outer)
        return of_x, of_slope, of_all + (slope - 1) * of_negative, of_all


class RPReLU(PostLayer):
    """`max(0, z) + slope_c * min(0, z) + after_c`, `z = x + before_c`: a PReLU with a learned corner.

    Args:
        channels: C of the inputs `(N, C, H, W)` or `(N, C)`.
        keep_slopes_positive: Whether each step clamps the slopes to 0 or more.
    """

    keep_slopes_positive = False  # What a pickle of an earlier version has.

    def __init__(self, channels: int, keep_slopes_positive: bool = False) -> None:
        super().__init__()
        self.keep_slopes_positive = keep_slopes_positive
        self.slope = nn.Parameter(torch.full((channels,), SLOPE))
        self.before = nn.Parameter(torch.zeros(channels))
        self.after = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The result, in the shape of `x`."""
        return _RPReLU.apply(x, self.slope, self.before, self.after)

    @override
    @torch.no_grad()
    def after_step(self) -> None:
        if self.keep_slopes_positive:
            self.slope.clamp_(min=0)


class ReActNet(BiReal):
    """`y = RPReLU((sign(x + b) (*) sign(W)) * alpha_o + x)`, with learned b per input channel and RPReLU per output.

    Weights, shortcut and the sign's gradient `g * max(0, 2 - 2|x + b|)` are as in `BiReal`; `db` is the sum of `dx`
    over its channel. b starts at 0. RPReLU starts as a PReLU of slope 0.25 without shifts. The release has a batch norm
    between the layer and RPReLU. A norm after RPReLU, as in AlexNet-XNOR, cancels its last shift.

    The paper trains in two stages (`TwoStages`), with `TeacherCrossEntropy` as the only loss.

    Source: Liu et al. 2020, arXiv 2003.03488, section 4; liuzechun/ReActNet, mobilenet/2_step2/reactnet.py.

    Args:
        weight_gradient: `plain` as in the release, or `magnitude`, see `BiReal`.
        shortcut: Whether the real input is added to the output if both have the same shape.
        rprelu: Whether RPReLU follows the layer.
        keep_slopes_positive: Whether each step clamps RPReLU's slopes to 0 or more; the release does not. With a
            decreasing part, the function and the next layer's sign are not one threshold, so a chain cannot be packed.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.ReActNet().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[-1.,  1.,  1.,  1.]]), scale=tensor(1.))
    """

    def __init__(
        self,
        weight_gradient: Literal["plain", "magnitude"] = "plain",
        shortcut: bool = True,
        rprelu: bool = True,
        keep_slopes_positive: bool = True,
    ) -> None:
        super().__init__(weight_gradient, shortcut)
        self.rprelu = rprelu
        self.keep_slopes_positive = keep_slopes_positive

    @override
    def setup(self, weight: Tensor) -> None:
        self.shift = nn.Parameter(weight.new_zeros(self.channels))

    @override
    def post_layer(self, outputs: int) -> nn.Module | None:
        return RPReLU(outputs, self.keep_slopes_positive) if self.rprelu else None

    @override
    def input(self, x: Tensor) -> Tensor:
        return shifted_sign(self._by_channel(x), self.shift).view_as(x)

    @override
    def input_codes(self, x: Tensor) -> Codes:
        signs = shifted_signs(self._by_channel(x), self.shift.detach())
        return Codes(signs.view_as(x), x.new_ones(()))

    def _by_channel(self, x: Tensor) -> Tensor:
        """A flattened map `(N, C * positions)` as `(N, C, positions)`."""
        return x if x.shape[1] == self.channels else x.unflatten(1, (self.channels, -1))

    @property
    @override
    def tends(self) -> bool:
        return self.rprelu and self.keep_slopes_positive
