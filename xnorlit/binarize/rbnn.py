"""RBNN: filters are rotated towards their own signs before the signs are taken."""

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.autocast import without_autocast
from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bwn import alpha
from xnorlit.binarize.channels import over_filters
from xnorlit.binarize.ede import temperature
from xnorlit.binarize.per_sample import CANNOT_PACK, standardised
from xnorlit.binarize.standard import filter_dims
from xnorlit.binarize.straight_through import scheduled_sign, sign
from xnorlit.errors import UserError

TURNS = 3
"""Iterations that alternate between signs and rotations, as in the release."""


def approximate_gradient(outer: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """`outer * k max(0, sqrt(2) t - t^2 |x|)`, `k = max(1/t, 1)`."""
    height = t.reciprocal().clamp_min(1)
    return (math.sqrt(2) * t - t.square() * x.abs()).clamp_min_(0).mul_(height).mul_(outer)


def approximate_sign(x: Tensor, t: Tensor) -> Tensor:
    """`sign(x)` with the gradient `g * k max(0, sqrt(2) t - t^2 |x|)`, `k = max(1/t, 1)`.

    Args:
        x: Any shape.
        t: One number, which rises with the epochs.
    """
    return scheduled_sign(x, t, approximate_gradient)


def sides(values: int) -> tuple[int, int]:
    """The two factors of a number that are closest to each other, the smaller one first."""
    small = next(side for side in range(math.isqrt(values), 0, -1) if values % side == 0)
    return small, values // small


def turned(matrices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`R1^T X R2` for each filter.

    Args:
        matrices: X, `(O, a, b)`.
        left: R1, `(a, a)`.
        right: R2, `(b, b)`.
    """
    return left.T @ matrices @ right


def turn(matrices: Tensor, left: Tensor, right: Tensor, turns: int = TURNS) -> tuple[Tensor, Tensor]:
    """Rotations that bring filters closer to their signs: iterations reduce `sum |sign(Y) - Y|^2`, `Y = R1^T X R2`.

    An iteration optimises the signs, then R1, then R2, with the others fixed. The optimal rotations are `V U^T` and
    `U V^T` of singular value decompositions `U S V^T`.

    Args:
        matrices: X, the standardised filters, `(O, a, b)`.
        left: Initial R1.
        right: Initial R2.
        turns: Number of iterations.
    """
    for _ in range(turns):
        signs = sign(turned(matrices, left, right))
        u, _, v = torch.linalg.svd((signs @ right.T @ matrices.mT).sum(0))
        left = v.T @ u.T
        u, _, v = torch.linalg.svd((matrices.mT @ left @ signs).sum(0))
        right = u @ v
    return left, right


class RBNN(Binarizer):
    """`y = (sign(z) (*) sign(w + |sin r_o| (R(w) - w))) * gain_o`: standardised weights w, a rotation R per layer.

    `R(w) = R1^T w R2`, with a filter w written as a matrix that is as close to square as possible. Rotations are
    updated once an epoch, after its first step, and receive no gradient. The angles r_o, drawn from U(0, pi/2), and the
    gains, initially `mean|W|`, are learned. `z = (x - mean) / deviation` over the whole map of each image, in training
    and in evaluation.

    The gradient of both signs is `g * k max(0, sqrt(2) t - t^2 |x|)`, `k = max(1/t, 1)`, where t rises from t_min to
    t_max. Gradients also pass through a filter's mean and deviation. Rotations start as identities; in the release they
    start at random.

    Source: Lin et al. 2020, arXiv 2009.13055; lmbxmu/RBNN, cifar/modules/binarized_modules.py.

    Args:
        t_min: t in the first epoch.
        t_max: t after the last epoch.
        center: Whether to standardise inputs image by image. A layer has a packed form only without it.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.RBNN().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]])).values
        tensor([[-1., -1., -1.,  1.]])
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True
    t: Tensor
    left: Tensor
    right: Tensor

    def __init__(self, t_min: float = 1e-2, t_max: float = 1e1, center: bool = True) -> None:
        super().__init__()
        if not 0 < t_min <= t_max:
            raise UserError(f"RBNN's t_min is {t_min} and t_max {t_max}. Expected 0 < t_min <= t_max.")
        self.t_min, self.t_max, self.center = t_min, t_max, center
        self.cannot_pack = CANNOT_PACK if center else ""
        self._due = False  # Whether to update the rotations after the next step.

    @override
    def setup(self, weight: Tensor) -> None:
        small, large = sides(weight[0].numel())
        self.gain = nn.Parameter(alpha(weight).detach().clone())
        self.angle = nn.Parameter(weight.new_empty(len(weight)).uniform_(0, math.pi / 2))
        self.register_buffer("t", weight.new_tensor(self.t_min))
        for name, side in (("left", small), ("right", large)):
            self.register_buffer(name, torch.eye(side, dtype=weight.dtype, device=weight.device))

    @override
    def on_epoch(self, epoch: int, epochs: int) -> None:
        self.t.fill_(temperature(epoch, epochs, self.t_min, self.t_max))
        self._due = True

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        if self._due:
            self._due = False
            self._follow(weight)

    @torch.no_grad()
    def _follow(self, weight: Tensor) -> None:
        matrices = _standard(weight).flatten(1).view(len(weight), len(self.left), len(self.right))
        left, right = turn(matrices, self.left, self.right)
        self.left.copy_(left)
        self.right.copy_(right)

    def _moved(self, weight: Tensor) -> Tensor:
        """`w + |sin r_o| (R(w) - w)`: the weights whose signs are taken."""
        standard = _standard(weight)
        matrices = standard.detach().flatten(1).view(len(weight), len(self.left), len(self.right))
        rotated = turned(matrices, self.left, self.right).reshape(weight.shape)
        return standard + over_filters(self.angle.sin().abs(), weight) * (rotated - standard)

    @override
    def weight(self, weight: Tensor) -> Tensor:
        with without_autocast(weight.device):
            return approximate_sign(self._moved(weight), self.t) * over_filters(self.gain, weight)

    @override
    def input(self, x: Tensor) -> Tensor:
        return approximate_sign(standardised(x) if self.center else x, self.t)

    @override
    @torch.no_grad()
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(sign(self._moved(weight)), self.gain.detach())

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(standardised(x) if self.center else x), x.new_ones(()))

    @override
    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        self._follow(weight)
        self.gain.copy_((weight * sign(self._moved(weight))).flatten(1).mean(dim=1))


def _standard(weight: Tensor) -> Tensor:
    """`(W - mean_o) / s_o` with the deviation s_o; gradients pass through both."""
    dims = filter_dims(weight)
    centred = weight - weight.mean(dim=dims, keepdim=True)
    variance = centred.square().sum(dim=dims, keepdim=True) / max(1, weight[0].numel() - 1)
    return centred / variance.clamp_min(1e-12).sqrt()
