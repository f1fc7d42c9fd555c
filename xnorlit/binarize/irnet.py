"""IR-Net: balanced, standardised weights and a gradient that narrows during training."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.autocast import without_autocast
from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.ede import ede_curve, ede_height, ede_sign, temperature
from xnorlit.binarize.latent import by_filters, by_filters_with, compute_dtype
from xnorlit.binarize.standard import centred, filter_dims, through_standardised
from xnorlit.binarize.straight_through import sign
from xnorlit.errors import UserError


class _Libra(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, t: Tensor) -> Tensor:
        def formula(weight: Tensor) -> tuple[Tensor, ...]:
            values, mean, deviation = centred(weight)
            magnitude = values.abs().mean(dim=filter_dims(values), keepdim=True).div_(deviation)
            power = magnitude.clamp_min_(torch.finfo(weight.dtype).tiny).log2_().round_().exp2_()
            return sign(values).mul_(power), mean, deviation, power

        balanced, *numbers = by_filters_with(formula, compute_dtype(weight), weight)
        ctx.save_for_backward(weight, t.clone(), *numbers)
        return balanced

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight, t, means, deviations, powers = ctx.saved_tensors
        t = t.to(weight.dtype)

        def formula(weight: Tensor, mean: Tensor, deviation: Tensor, power: Tensor, outer: Tensor) -> Tensor:
            values = weight - mean
            inner = ede_curve(outer, values, t / deviation)
            return through_standardised(inner, values, 1 / deviation, ede_height(t) * power / deviation)

        return by_filters(formula, weight.dtype, weight, means, deviations, powers, outer), None


def libra(weight: Tensor, t: Tensor) -> Tensor:
    """`2^s_o sign(v)`, `v = (W - mean_o) / std_o`, `s_o = round(log2 mean_o|v|)`.

    The gradient passes through the sign as in `ede_sign`, then through the standardisation; s is a constant.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        t: The estimator's temperature, one number.
    """
    return _Libra.apply(weight, t)


class IRNet(Binarizer):
    """`y = (sign(x) (*) sign(v)) * 2^s_o`, `v = (W - mean_o) / std_o`, `s_o = round(log2 mean_o|v|)`.

    Gradient of both signs: `g k t (1 - tanh^2(t z))`, `k = max(1/t, 1)`, with a temperature t that rises with the
    epochs. Gradients also pass through mean and deviation. For normally distributed weights `mean|v|` is 0.8 and the
    power of two is 1.

    The released ImageNet files keep t at 0.1, and their trainer is missing. The schedule here is that of the CIFAR
    trainer.

    Source: Qin et al. 2020, arXiv 1909.10788; htqin/IR-Net, CIFAR-10/ResNet20/1w1a/.

    Args:
        t_min: t in the first epoch, see `temperature`; 1e-3 as in the released CIFAR trainer.
        t_max: t after the last epoch.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.IRNet().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 1., -1.,  1., -1.]]), scale=tensor([1.]))
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True
    t: Tensor

    def __init__(self, t_min: float = 1e-3, t_max: float = 1e1) -> None:
        super().__init__()
        if not 0 < t_min <= t_max:
            raise UserError(f"IRNet's t_min is {t_min} and t_max {t_max}. Expected 0 < t_min <= t_max.")
        self.t_min, self.t_max = t_min, t_max

    @override
    def setup(self, weight: Tensor) -> None:
        self.register_buffer("t", weight.new_tensor(self.t_min))

    @override
    def on_epoch(self, epoch: int, epochs: int) -> None:
        self.t.fill_(temperature(epoch, epochs, self.t_min, self.t_max))

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return libra(weight, self.t)

    @override
    def input(self, x: Tensor) -> Tensor:
        return ede_sign(x, self.t)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        with torch.no_grad(), without_autocast(weight.device):
            balanced = libra(weight, self.t)
        return Codes(sign(balanced), balanced.flatten(1)[:, 0].abs())

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(()))
