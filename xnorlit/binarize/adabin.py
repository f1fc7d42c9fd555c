"""AdaBin: both values of a bit are adapted, so that neither operand is symmetric about zero."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.ede import ede_gradient, temperature
from xnorlit.binarize.latent import by_filters, compute_dtype
from xnorlit.binarize.sign import sign
from xnorlit.errors import UserError

Centre = Literal["added", "scaled"]

SMALLEST = 1e-4
"""What a step of the optimizer leaves of an input's distance at least; the sign is taken of inputs divided by it."""


def _standard(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`z = (W - b) / a` with the mean b and the deviation a of each filter; of a constant filter z is 0."""
    dims = tuple(range(1, weight.ndim))
    centre = weight.mean(dims, keepdim=True)
    values = weight - centre
    # torch's own variance is several times slower on a CPU.
    distance = (values * values).mean(dims, keepdim=True).sqrt_()
    return values.div_(distance.clamp_min(torch.finfo(weight.dtype).tiny)), distance, centre


def _two_values(weight: Tensor) -> Tensor:
    values, distance, centre = _standard(weight)
    return sign(values).mul_(distance).add_(centre)


class _AdaptiveWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, t: Tensor) -> Tensor:
        ctx.save_for_backward(weight, t.clone())
        return by_filters(_two_values, compute_dtype(weight), weight)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight, t = ctx.saved_tensors
        t = t.to(weight.dtype)

        def formula(weight: Tensor, outer: Tensor) -> Tensor:
            outer = outer.to(weight.dtype)
            values, _, _ = _standard(weight)
            inner = ede_gradient(outer, values, t)
            dims = tuple(range(1, weight.ndim))
            # Of z as a standardisation, then of a and b themselves; 1/a of the one cancels a of the other.
            along = (outer * sign(values)).mean(dims, keepdim=True) - (inner * values).mean(dims, keepdim=True)
            level = outer.mean(dims, keepdim=True) - inner.mean(dims, keepdim=True)
            return inner.add_(values.mul_(along)).add_(level)

        return by_filters(formula, weight.dtype, weight, outer), None


def adaptive_weight(weight: Tensor, t: Tensor) -> Tensor:
    """`a_o sign(z) + b_o`, `z = (W - b_o) / a_o`, with the mean b and the deviation a of each filter's weights.

    The gradient of the sign is `g k t (1 - tanh^2(t z))`, `k = max(1/t, 1)`; a and b are differentiated.

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
        z = torch.sub(x, centre).div_(distance)
        inner = torch.sub(z.new_tensor(2), z.abs(), alpha=2).clamp_min_(0).mul_(outer)
        # A boolean times a number costs twenty times what this does.
        upper = torch.ge(x, centre, out=torch.empty_like(x)).mul_(outer)
        whole, above, in_all, along = (v.sum(dtype=distance.dtype) for v in (outer, upper, inner, z.mul_(inner)))
        of_distance, of_centre = 2 * above - whole - along, -in_all
        if ctx.form == "added":
            return inner, of_distance, of_centre + whole, None
        return inner, of_distance + centre * whole, of_centre + distance * whole, None


def adaptive_input(x: Tensor, distance: Tensor, centre: Tensor, form: Centre = "added") -> Tensor:
    """`a sign(z) + b` or, `scaled`, `a (sign(z) + b)`, with `z = (x - b) / a`, a and b learned.

    The gradient of the sign is `max(0, 2 - 2|z|)`, so that `dx = g max(0, 2 - 2|z|)`; a and b receive theirs from the
    two places where each stands.

    Args:
        x: Inputs, any shape.
        distance: a, one number above zero.
        centre: b, one number.
        form: Which of the two.
    """
    return _AdaptiveInput.apply(x, distance, centre, form)


class _Maxout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        ctx.save_for_backward(x, positive, negative)
        up, bend = _columns(x, positive, negative - positive)
        return torch.clamp_max(x, 0).mul_(bend).addcmul_(x, up)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        x, positive, negative = ctx.saved_tensors
        up, bend = _columns(x, positive, negative - positive)
        others = [dim for dim in range(x.ndim) if dim != 1]
        all_of_it, below = ((part * outer).sum(others, dtype=positive.dtype) for part in (x, torch.clamp_max(x, 0)))
        slope = torch.lt(x, 0, out=torch.empty_like(x)).mul_(bend).add_(up)
        return slope.mul_(outer), all_of_it - below, below


def _columns(x: Tensor, *values: Tensor) -> list[Tensor]:
    return [each.view(-1, *(1,) * (x.ndim - 2)).to(x.dtype) for each in values]


class Maxout(nn.Module):
    """`p_c max(0, x) + m_c min(0, x)`, both slopes learned: what AdaBin calls Maxout.

    Args:
        channels: C of the inputs `(N, C, H, W)` or `(N, C)`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.positive = nn.Parameter(torch.ones(channels))
        self.negative = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return _Maxout.apply(x, self.positive, self.negative)


class AdaBin(Binarizer):
    """`weight(W) = a_o sign((W - b_o)/a_o) + b_o`, `input(x) = a sign((x - b)/a) + b`, a slope for each sign behind.

    a_o and b_o are the deviation and the mean of a filter, a and b are learned by the layer from 1 and 0. Gradients
    of the weights' sign: `IRNet`'s estimator, whose temperature rises by the epoch; of the inputs' sign:
    `max(0, 2 - 2|z|)`, as in `BiReal`; all four scales are differentiated. A step leaves a at 1e-4 or more.

    Source: Tu et al. 2022, arXiv 2208.08084, section 3; huawei-noah/Efficient-Computing, BinaryNetworks/AdaBin.

    Args:
        centre: `added`, `a sign(z) + b`, as in the paper, or `scaled`, `a (sign(z) + b)`, as in the released code,
            which its authors call a mistake (issue 57 there). They agree while a is 1.
        maxout: Whether the learned slopes stand behind the layer.
        t_min: Temperature in the first epoch, as in the released code.
        t_max: Temperature behind the last epoch.
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True
    cannot_pack = (
        "the two values of its weights and of its inputs lie about centres other than 0, which adds a sum over the "
        "inputs under each position and one over the weights; use IRNet or ReActNet"
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
    def behind(self, outputs: int) -> nn.Module | None:
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
        # Real values, as of the inputs: with a centre there are no integers whose one multiple they are.
        return Codes(by_filters(_two_values, weight.dtype, weight), weight.new_ones(()))

    @override
    @torch.no_grad()
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(self.input(x), x.new_ones(()))

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
