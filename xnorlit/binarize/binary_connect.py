"""BinaryConnect: one bit per weight, deterministic or stochastic, and real inputs."""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.latent import by_filters, compute_dtype
from xnorlit.binarize.straight_through import random_sign, sign
from xnorlit.errors import UserError

Rounding = Literal["deterministic", "stochastic"]


class _BoundedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bound: float, rounding: Rounding) -> Tensor:
        ctx.dtype = weight.dtype

        def formula(weight: Tensor) -> Tensor:
            signs = sign(weight) if rounding == "deterministic" else random_sign(weight, bound)
            return signs if bound == 1 else signs.mul_(bound)

        return by_filters(formula, compute_dtype(weight), weight)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return outer.to(ctx.dtype), None, None


def bounded_sign(weight: Tensor, bound: float = 1.0, rounding: Rounding = "deterministic") -> Tensor:
    """`H sign(W)`, or `+H with probability clip((W/H + 1)/2, 0, 1), else -H`. The gradient is `g`, unmasked.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        bound: H.
        rounding: `deterministic` for the first formula, `stochastic` for the second.
    """
    return _BoundedSign.apply(weight, bound, rounding)


def glorot_bound(weight: Tensor) -> float:
    """`sqrt(1.5 / (fan_in + fan_out))`, half the bound of Glorot's uniform distribution.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
    """
    outputs, inputs = weight.shape[:2]
    return math.sqrt(1.5 / ((inputs + outputs) * weight[0][0].numel()))


class BinaryConnect(Binarizer):
    """`weight(W) = H sign(W)`, or `+H` with probability `clip((W/H + 1)/2, 0, 1)`, else `-H`; inputs stay real.

    The gradient of the weights is `g`, unmasked. After every optimizer step the latent weights are clamped to [-H, H].
    Only training is stochastic.

    Source: Courbariaux et al. 2015, arXiv 1511.00363, section 2; MatthieuCourbariaux/BinaryConnect,
    binary_connect.py.

    Args:
        weights: `deterministic` or `stochastic` in training; evaluation is deterministic, as in the paper.
        inference: Evaluation uses the `binary` weights, or the `real` latent ones, as the released code does after
            stochastic training. The default is binary, because binary weights are to be deployed.
        bound: H. `glorot` is `sqrt(1.5 / (fan_in + fan_out))`, about the size of the initial weights. Releases with
            H = 1 multiply each step by 1/H of this formula, which under Adam moves W/H in the same way.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.BinaryConnect().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 1., -1.,  1., -1.]]), scale=tensor(0.5477))
    """

    weight_bits = 1

    def __init__(
        self,
        weights: Rounding = "deterministic",
        inference: Literal["binary", "real"] = "binary",
        bound: float | Literal["glorot"] = "glorot",
    ) -> None:
        super().__init__()
        if not isinstance(bound, str) and not 0 < bound < math.inf:
            raise UserError(f"BinaryConnect's bound is {bound}. Expected a number above 0, or glorot.")
        self.weights: Rounding = weights
        self.inference = inference
        self.bound: float | Literal["glorot"] = bound

    @override
    def setup(self, weight: Tensor) -> None:
        if self.bound == "glorot":
            self.bound = glorot_bound(weight)

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return bounded_sign(weight, float(self.bound), self.weights)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        if self.inference == "real":
            return super().weight_codes(weight)
        return Codes(sign(weight), weight.new_tensor(self.bound))

    @property
    @override
    def cannot_pack(self) -> str:  # type: ignore[override]
        if self.inference == "real":
            return "its evaluation uses the real latent weights; set inference: binary to use the binary ones"
        return ""

    @property
    @override
    def cannot_pack_weights(self) -> str:  # type: ignore[override]
        return self.cannot_pack

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        weight.clamp_(-float(self.bound), float(self.bound))
