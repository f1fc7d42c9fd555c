"""The weights of any method, with real inputs: for a layer that reads pixels."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.bwn import BWN
from xnorlit.errors import UserError


class WeightsOnly(Binarizer):
    """`weight(W)` and its gradient from another method; `input(x) = x` (rectified, see `Float`).

    The first layer of a fully binary network reads pixels, whose signs mean nothing. So only its weights are binary.
    What the method does to its output, its bias and its parameters stays. What it does to its inputs does not, so the
    parameters that it learns for them are frozen.

    Source: Hubara et al. 2016, arXiv 1602.02830, section 1.4 (the first layer).

    Args:
        method: The binarizer of the weights (default: BWN).

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.WeightsOnly().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 1., -1.,  1., -1.]]), scale=tensor([0.5000]))
    """

    def __init__(self, method: Binarizer | None = None) -> None:
        super().__init__()
        if not isinstance(method, Binarizer | None):
            raise UserError(f"WeightsOnly.method is {method!r}. Expected a binarizer, such as BWN().")
        self.method = method or BWN()
        self.weight_bits = self.method.weight_bits
        self.gradient_bits = self.method.gradient_bits
        self.flips = self.method.flips

    @override
    def setup(self, weight: Tensor) -> None:
        given = {"rectify": self.rectify, "extent": self.extent, "channels": self.channels}
        self.method = self.method.for_layer(weight, **given)
        self._freeze_what_the_weights_do_not_use(weight)

    def _freeze_what_the_weights_do_not_use(self, weight: Tensor) -> None:
        """No gradient reaches the parameters of the method's inputs, and plain DDP would wait for one."""
        learned = list(self.method.parameters())
        if not learned or torch.is_inference_mode_enabled():  # Tensors made in that mode are never trained.
            return
        with torch.enable_grad():
            latent = weight.detach().requires_grad_()
            found = torch.autograd.grad(self.method.weight(latent).sum(), [latent, *learned], allow_unused=True)
        for parameter, gradient in zip(learned, found[1:], strict=True):
            parameter.requires_grad_(gradient is not None)

    @override
    def post_layer(self, outputs: int) -> nn.Module | None:
        return self.method.post_layer(outputs)

    @override
    def bias(self, bias: Tensor) -> Tensor:
        return self.method.bias(bias)

    @override
    def output(self, y: Tensor) -> Tensor:
        return self.method.output(y)

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return self.method.weight(weight)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return self.method.weight_codes(weight)

    @property
    @override
    def cannot_pack(self) -> str:  # type: ignore[override]
        return self.method.cannot_pack_weights

    @override
    def fit(self, weight: Tensor) -> None:
        self.method.fit(weight)

    @property
    @override
    def tends(self) -> bool:
        return self.method.tends

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        self.method.after_step(weight)

    @override
    @torch.no_grad()
    def after_bias_step(self, bias: Tensor) -> None:
        self.method.after_bias_step(bias)

    @override
    def on_epoch(self, epoch: int, epochs: int) -> None:
        self.method.on_epoch(epoch, epochs)
