"""RBNN: filters are turned towards their own signs before these are taken."""

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bwn import alpha
from xnorlit.binarize.channels import over_filters
from xnorlit.binarize.ede import temperature
from xnorlit.binarize.per_sample import CANNOT_PACK, standardised
from xnorlit.binarize.standard import filter_dims
from xnorlit.binarize.straight_through import scheduled_sign, sign
from xnorlit.errors import UserError

TURNS = 3
"""How often signs and rotations take turns, as in the release."""


def approximate_gradient(outer: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """`outer * k max(0, sqrt(2) t - t^2 |x|)`, `k = max(1/t, 1)`."""
    height = t.reciprocal().clamp_min(1)
    return (math.sqrt(2) * t - t.square() * x.abs()).clamp_min_(0).mul_(height).mul_(outer)


def approximate_sign(x: Tensor, t: Tensor) -> Tensor:
    """`sign(x)`, whose gradient is `g * k max(0, sqrt(2) t - t^2 |x|)`, `k = max(1/t, 1)`.

    Args:
        x: Any shape.
        t: One number, which rises with the epochs.
    """
    return scheduled_sign(x, t, approximate_gradient)


def sides(values: int) -> tuple[int, int]:
    """The two factors of a number that lie nearest to each other, the smaller one first."""
    small = next(side for side in range(math.isqrt(values), 0, -1) if values % side == 0)
    return small, values // small


def turned(matrices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`R1^T X R2` of each filter.

    Args:
        matrices: X, `(O, a, b)`.
        left: R1, `(a, a)`.
        right: R2, `(b, b)`.
    """
    return left.T @ matrices @ right


def turn(matrices: Tensor, left: Tensor, right: Tensor, turns: int = TURNS) -> tuple[Tensor, Tensor]:
    """Rotations under which filters lie nearer to their signs: each turn lessens `sum |sign(R1^T X R2) - R1^T X R2|^2`.

    Signs, left rotation and right rotation are optimal in turn, the others held: `V U^T` and `U V^T` of singular value
    decompositions `U S V^T`.

    Args:
        matrices: X, the standardised filters, `(O, a, b)`.
        left: R1 to begin with.
        right: R2 to begin with.
        turns: How often.
    """
    for _ in range(turns):
        signs = sign(turned(matrices, left, right))
        u, _, v = torch.linalg.svd((signs @ right.T @ matrices.mT).sum(0))
        left = v.T @ u.T
        u, _, v = torch.linalg.svd((matrices.mT @ left @ signs).sum(0))
        right = u @ v
    return left, right


class RBNN(Binarizer):
    """`y = (sign(z) (*) sign(w + |sin r_o| (R(w) - w))) * gain_o`: w the standardised weights, R a rotation of a layer.

    `R(w) = R1^T w R2` of a filter written as a matrix, as nearly square as its number of weights allows. Rotations
    follow the weights once an epoch, after its first step; they receive no gradient. The angles r_o, which start in
    U(0, pi/2), and the gains, which start at `mean|W|`, are learned. z is the input less its mean over the whole map of
    the image, over its deviation, in training and in evaluation.

    The gradient of both signs is `g * k max(0, sqrt(2) t - t^2 |x|)`, `k = max(1/t, 1)`, with t rising from t_min to
    t_max. Mean and deviation of a filter are differentiated. Rotations start as identities; the release draws them.

    Source: Lin et al. 2020, arXiv 2009.13055; lmbxmu/RBNN, cifar/modules/binarized_modules.py.

    Args:
        t_min: t in the first epoch.
        t_max: t after the last epoch.
        center: Whether inputs are centred and divided by their deviation, image by image. Without it a layer packs.

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
        self._due = False  # Whether the rotations follow the weights after the next step.

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
        """The weights whose signs are taken."""
        standard = _standard(weight)
        matrices = standard.detach().flatten(1).view(len(weight), len(self.left), len(self.right))
        rotated = turned(matrices, self.left, self.right).reshape(weight.shape)
        return standard + over_filters(self.angle.sin().abs(), weight) * (rotated - standard)

    @override
    def weight(self, weight: Tensor) -> Tensor:
        with torch.autocast("cpu" if weight.is_meta else weight.device.type, enabled=False):
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
    """`(W - mean_o) / s_o`, s_o the deviation, differentiable in both."""
    dims = filter_dims(weight)
    centred = weight - weight.mean(dim=dims, keepdim=True)
    variance = centred.square().sum(dim=dims, keepdim=True) / max(1, weight[0].numel() - 1)
    return centred / variance.clamp_min(1e-12).sqrt()
