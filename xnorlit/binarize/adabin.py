"""AdaBin: the two values of a bit are learned or computed, and need not be symmetric about zero."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes, TwoValues
from xnorlit.binarize.channels import over_channels, per_channel
from xnorlit.binarize.ede import ede_curve, ede_height, temperature
from xnorlit.binarize.latent import by_filters, by_filters_with, by_samples, by_samples_with, compute_dtype
from xnorlit.binarize.standard import filter_dims
from xnorlit.binarize.straight_through import sign
from xnorlit.errors import UserError

Centre = Literal["added", "scaled"]

SMALLEST = 1e-4
"""Smallest a of an input's values `b - a` and `b + a` after an optimizer step, because inputs are divided by a."""


def _two_values(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`(a sign(W - b) + b, a, b)`, with the mean b and the deviation a of each filter, `(O, 1, ...)`."""
    dims = filter_dims(weight)
    centre = weight.mean(dims, keepdim=True)
    values = weight - centre
    # torch's own variance takes twenty times as long on a CPU.
    distance = torch.linalg.vector_norm(values, dim=dims, keepdim=True).div_(math.sqrt(weight[0].numel()))
    return sign(values).mul_(distance).add_(centre), distance, centre


class _AdaptiveWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, t: Tensor) -> Tensor:
        result, *numbers = by_filters_with(_two_values, compute_dtype(weight), weight)
        ctx.save_for_backward(weight, t.clone(), *numbers)
        return result

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight, t, distances, centres = ctx.saved_tensors
        t = t.to(weight.dtype)
        height = ede_height(t)

        def formula(weight: Tensor, distance: Tensor, centre: Tensor, outer: Tensor) -> Tensor:
            outer = outer.to(weight.dtype)
            values = weight - centre
            unit = 1 / distance.clamp_min(1e-6)  # In a constant filter all values are 0, and so is z.
            inner = ede_curve(outer, values, t * unit).mul_(height)

            def mean(terms: Tensor) -> Tensor:
                return terms.mean(filter_dims(weight), keepdim=True)

            # The gradient through z, then through a and b themselves. The factors 1/a and a cancel.
            along = mean(sign(values).mul_(outer)) - mean(inner * values) * unit
            level = mean(outer) - mean(inner)
            return inner.addcmul_(values, along * unit).add_(level)

        return by_filters(formula, weight.dtype, weight, distances, centres, outer), None


def adaptive_weight(weight: Tensor, t: Tensor) -> Tensor:
    """`a_o sign(z) + b_o`, `z = (W - b_o) / a_o`, with the mean b and the deviation a of each filter's weights.

    The gradient of the sign is `g k t (1 - tanh^2(t z))`, `k = max(1/t, 1)`. Gradients also pass through a and b.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        t: The estimator's temperature, one number.
    """
    return _AdaptiveWeight.apply(weight, t)


class _AdaptiveInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, distance: Tensor, centre: Tensor, form: Centre) -> Tensor:
        ctx.save_for_backward(x, distance, centre)
        ctx.form = form
        middle = centre if form == "added" else distance * centre
        return torch.ge(x, centre, out=torch.empty_like(x)).mul_(2 * distance).add_(middle - distance)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, distance, centre = ctx.saved_tensors
        threshold = centre.to(x.dtype)  # as the forward pass compares

        def formula(x: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
            z = torch.sub(x, centre).div_(distance)
            inner = torch.sub(z.new_tensor(2), z.abs(), alpha=2).clamp_min_(0).mul_(outer)
            # Multiplying by a boolean takes twenty times as long.
            upper = torch.ge(x, threshold, out=torch.empty_like(x)).mul_(outer)
            return inner, torch.stack([v.sum(dtype=distance.dtype) for v in (outer, upper, inner, z.mul_(inner))])

        inner, sums = by_samples_with(formula, x, outer)
        whole, above, in_all, along = sums
        of_distance, of_centre = 2 * above - whole - along, -in_all
        if ctx.form == "added":
            return inner, of_distance, of_centre + whole, None
        return inner, of_distance + centre * whole, of_centre + distance * whole, None


def adaptive_input(x: Tensor, distance: Tensor, centre: Tensor, form: Centre = "added") -> Tensor:
    """`a sign(z) + b` (`added`) or `a (sign(z) + b)` (`scaled`), with `z = (x - b) / a` and learned a and b.

    The gradient of the sign is `max(0, 2 - 2|z|)`, so `dx = g max(0, 2 - 2|z|)`. The gradients of a and b sum over both
    of their occurrences.

    Args:
        x: Inputs, any shape.
        distance: a, one number above zero.
        centre: b, one number.
        form: `added` or `scaled`.
    """
    return _AdaptiveInput.apply(x, distance, centre, form)


class _Maxout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        ctx.save_for_backward(x, positive, negative)

        def formula(x: Tensor) -> Tensor:
            up, bend = over_channels(positive, x), over_channels(negative - positive, x)
            return torch.clamp_max(x, 0).mul_(bend).addcmul_(x, up)

        return by_samples(formula, x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        x, positive, negative = ctx.saved_tensors

        def formula(x: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
            up, bend = over_channels(positive, x), over_channels(negative - positive, x)
            terms = (x * outer, torch.clamp_max(x, 0).mul_(outer))
            sums = torch.stack([per_channel(term, positive.dtype) for term in terms])
            return torch.lt(x, 0, out=torch.empty_like(x)).mul_(bend).add_(up).mul_(outer), sums

        of_x, (all_of_it, below) = by_samples_with(formula, x, outer)
        return of_x, all_of_it - below, below


class Maxout(nn.Module):
    """`p_c max(0, x) + m_c min(0, x)` with two learned slopes, which AdaBin calls Maxout.

    Args:
        channels: C of the inputs `(N, C, H, W)` or `(N, C)`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.positive = nn.Parameter(torch.ones(channels))
        self.negative = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """The result, in the shape of `x`."""
        if self.training:
            return _Maxout.apply(x, self.positive, self.negative)
        # A single product, so that every engine rounds alike.
        return x * torch.where(x > 0, over_channels(self.positive, x), over_channels(self.negative, x))


class AdaBin(Binarizer):
    """`weight(W) = a_o sign((W - b_o)/a_o) + b_o`, `input(x) = a sign((x - b)/a) + b`, then a slope for each sign.

    a_o and b_o are the deviation and the mean of a filter. The layer learns a and b, which start at 1 and 0. The sign
    of the weights has the gradient of `IRNet`'s estimator, whose temperature rises with the epochs. The sign of the
    inputs has the gradient `max(0, 2 - 2|z|)`, as in `BiReal`. Gradients pass through all four of a_o, b_o, a and b.
    After each step, a is at least 1e-4.

    Source: Tu et al. 2022, arXiv 2208.08084, section 3; huawei-noah/Efficient-Computing, BinaryNetworks/AdaBin.

    Args:
        centre: `added` for `a sign(z) + b`, as in the paper; `scaled` for `a (sign(z) + b)`, as in the released code,
            which its authors call a mistake (issue 57 there). Both agree while a is 1.
        maxout: Whether the learned slopes (`Maxout`) follow the layer.
        t_min: Temperature in the first epoch, as in the released code.
        t_max: Temperature after the last epoch.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.AdaBin().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 0.6404, -0.3904,  0.6404, -0.3904]]), scale=tensor(1.))
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True
    two_valued = True
    cannot_pack_weights = (
        "its weights have two values around a centre, but a packed sum of real inputs has only a scale; use BWN"
    )
    t: Tensor

    def __init__(self, centre: Centre = "added", maxout: bool = True, t_min: float = 1e-3, t_max: float = 1e1) -> None:
        super().__init__()
        if not 0 < t_min <= t_max:
            raise UserError(f"AdaBin's t_min is {t_min} and t_max {t_max}. Expected 0 < t_min <= t_max.")
        self.form: Centre = centre
        self.maxout = maxout
        self.t_min, self.t_max = t_min, t_max

    @override
    def setup(self, weight: Tensor) -> None:
        self.distance = nn.Parameter(weight.new_ones(()))
        self.centre = nn.Parameter(weight.new_zeros(()))
        self.register_buffer("t", weight.new_tensor(self.t_min))

    @override
    def post_layer(self, outputs: int) -> nn.Module | None:
        return Maxout(outputs) if self.maxout else None

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return adaptive_weight(weight, self.t)

    @override
    def input(self, x: Tensor) -> Tensor:
        return adaptive_input(x, self.distance, self.centre, self.form)

    @override
    @torch.no_grad()
    def weight_codes(self, weight: Tensor) -> Codes:
        # Real values, as for the inputs: values with a centre are not multiples of integers.
        return Codes(adaptive_weight(weight, self.t), weight.new_ones(()))

    @override
    @torch.no_grad()
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(self.input(x), x.new_ones(()))

    @override
    @torch.no_grad()
    def weight_values(self, weight: Tensor) -> TwoValues:
        _, distance, centre = by_filters_with(_two_values, weight.dtype, weight)
        return TwoValues(sign(weight - centre), distance.flatten(), centre.flatten())

    @override
    @torch.no_grad()
    def input_values(self, x: Tensor) -> TwoValues:
        centre = self.centre if self.form == "added" else self.distance * self.centre
        return TwoValues(torch.ge(x, self.centre, out=torch.empty_like(x)).mul_(2).sub_(1), self.distance, centre)

    @property
    @override
    def exact(self) -> bool:
        return False

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        self.distance.clamp_(min=SMALLEST)

    @override
    def on_epoch(self, epoch: int, epochs: int) -> None:
        self.t.fill_(temperature(epoch, epochs, self.t_min, self.t_max))
