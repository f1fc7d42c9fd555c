"""Ternary weight networks: a weight is -1, 0 or +1 times a scale. Weights near zero become 0."""

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bwn import alpha
from xnorlit.binarize.channels import over_filters
from xnorlit.binarize.latent import BLOCK, by_filters, compute_dtype
from xnorlit.binarize.standard import filter_dims
from xnorlit.binarize.straight_through import clip_gradient, clipped_sign, sign
from xnorlit.errors import UserError

WeightGradient = Literal["identity", "clip"]
Scope = Literal["filter", "layer"]


def ternary(weight: Tensor, threshold: Tensor) -> Tensor:
    """`+1 where W > threshold, -1 where W < -threshold, else 0`, in the dtype of the weights.

    Args:
        weight: Latent weights, any shape.
        threshold: Non-negative, broadcastable to the weights.
    """
    above = torch.gt(weight, threshold, out=torch.empty_like(weight))
    return above.sub_(torch.lt(weight, -threshold, out=torch.empty_like(weight)))


@torch.no_grad()
def threshold_and_scale(weight: Tensor, scope: Scope = "filter", factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """`D = factor * mean|W|` and `alpha = mean of |W| over |W| > D`, the least squares scale of the ternary weights.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        scope: Whether the means run over each filter or over the whole layer.
        factor: The best factor is 2/3 for uniform weights and about 3/4 for normally distributed ones.

    Returns:
        D and alpha, both of shape `(O, 1, ...)`; alpha is 0 if every weight is 0.
    """
    threshold = factor * over_filters(alpha(weight), weight)
    if scope == "layer":
        threshold = threshold.mean().expand_as(threshold)
    dims, parts = filter_dims(weight), []
    blocks = (tensor.split(max(1, BLOCK // weight[0].numel())) for tensor in (weight, threshold))
    for filters, limit in zip(*blocks, strict=True):
        magnitude = filters.abs()
        mask = torch.gt(magnitude, limit, out=torch.empty_like(magnitude))
        count = mask.sum(dims, keepdim=True)
        parts.append((magnitude.mul_(mask).sum(dims, keepdim=True), count))
    sums, counts = map(torch.cat, zip(*parts, strict=True))
    if scope == "layer":
        sums, counts = sums.sum().expand_as(sums), counts.sum().expand_as(counts)
    return threshold, sums / counts.clamp(min=1)


class _ScaledTernary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, threshold: Tensor, scale: Tensor, gradient: WeightGradient) -> Tensor:
        ctx.save_for_backward(*([weight] if gradient == "clip" else []))
        ctx.dtype = weight.dtype
        return by_filters(_scaled, compute_dtype(weight), weight, threshold, scale)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        outer = outer.to(ctx.dtype)
        return (clip_gradient(outer, *ctx.saved_tensors) if ctx.saved_tensors else outer), None, None, None


def _scaled(weight: Tensor, threshold: Tensor, scale: Tensor) -> Tensor:
    return ternary(weight, threshold).mul_(scale)


def scaled_ternary(
    weight: Tensor, scope: Scope = "filter", gradient: WeightGradient = "identity", factor: float = 0.7
) -> Tensor:
    """`alpha * ternary(W, D)`, see `threshold_and_scale`; `g` is the gradient of the loss by this function's output.

    - `identity`: `dW = g`. Neither D nor alpha is differentiated.
    - `clip`: `dW = g * 1[|W| <= 1]`.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        scope: Whether D and alpha belong to each filter or to the layer.
        gradient: `identity` or `clip`.
        factor: D divided by the mean magnitude.
    """
    return _ScaledTernary.apply(weight, *threshold_and_scale(weight, scope, factor), gradient)


class TWN(Binarizer):
    """`weight(W) = alpha_o * {+1 if W > D_o, -1 if W < -D_o, else 0}`, `D_o = 0.7 mean|W|`; inputs real, or signs.

    `alpha_o` is the mean of `|W|` over the weights that do not become 0. The gradient is `dW = g`.

    Source: Li et al. 2016, arXiv 1605.04711, section 2; Thinklab-SJTU/twns.

    Args:
        scope: One threshold and one scale for each `filter`, as in the authors' PyTorch code, or for the `layer`, as in
            their Caffe code (fengfu-chris/caffe-twns, issue 18). The fit by filter is never worse, and a packed layer
            has a scale per output channel anyway.
        gradient: `identity`, as in both codes, or `clip`, which is 0 beyond |W| = 1, as in larq's SteTern. With
            `identity`, weights beyond 1 can still move back.
        factor: D divided by the mean magnitude: 0.7 in the paper, 0.75 in one of the authors' two PyTorch files.
        inputs: `real` as in the paper (rectified, see `Float`), or `sign` with the clipped gradient of `XNOR`. With
            `sign`, a dot product is two bit counts.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.TWN().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 1.,  0.,  1., -1.]]), scale=tensor([0.5833]))
    """

    weight_bits = 2

    def __init__(
        self,
        scope: Scope = "filter",
        gradient: WeightGradient = "identity",
        factor: float = 0.7,
        inputs: Literal["real", "sign"] = "real",
    ) -> None:
        super().__init__()
        self.scope: Scope = scope
        self.gradient: WeightGradient = gradient
        if not 0 <= factor < float("inf"):
            raise UserError(f"TWN's factor is {factor}. Expected a number from 0, such as 0.7.")
        self.factor = factor
        if inputs == "sign":
            self.input_bits, self.signed_input = 1, True

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return scaled_ternary(weight, self.scope, self.gradient, self.factor)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        threshold, scale = threshold_and_scale(weight, self.scope, self.factor)
        return Codes(ternary(weight, threshold), scale.flatten())

    @override
    def input(self, x: Tensor) -> Tensor:
        return clipped_sign(x) if self.signed_input else super().input(x)

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(())) if self.signed_input else super().input_codes(x)
