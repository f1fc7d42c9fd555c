"""A convolution and a linear layer that use a binarizer, and the batch norm in front of them."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize import Binarizer, Window

Operator = Callable[[Tensor, Tensor], Tensor]
Operand = Literal["weights", "inputs"]


class QuantLayer(nn.Module):
    """What the convolution and the linear layer share: latent weights, a binarizer and the two forwards.

    Training computes `rescale(op(input(x), weight(W))) + bias`, evaluation
    `rescale(scale_x * scale_w * op(codes_x, codes_w)) + bias` in the latent weights' precision, autocast or not. Both
    then pass the binarizer's `output`, and where it has a shortcut and the shapes agree, `x` is added.

    Args:
        weight: Latent weights, uninitialised: `(O, I, kh, kw)` or `(O, I)`.
        bias: Whether a bias is added after every scale.
        dropout: Probability that training zeroes an input after it was quantised.
    """

    window: Window | None = None

    def __init__(self, weight: Tensor, bias: bool, dropout: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(weight))) if bias else None
        self.dropout = nn.Dropout(dropout)
        self.binarizer = Binarizer()
        self._held: dict[Operand, Binarizer] = {}

    def bind(self, binarizer: Binarizer, *, rectify: bool, extent: tuple[int, ...] | None = None) -> None:
        """Gives the layer its own copy of the binarizer; the latent weights are initialised by then."""
        self.binarizer = binarizer.bound_to(self.weight, rectify=rectify, extent=extent, channels=self.channels)

    def hold_real(self, operand: Operand | None) -> None:
        """Keeps one operand real in training from now on, as a plain `Binarizer` has it; None ends that.

        Evaluation goes by the codes all along: what is validated, and saved as best, is the few-bit network.
        """
        plain = Binarizer()
        plain.rectify = self.binarizer.rectify
        self._held = {} if operand is None else {operand: plain}

    @property
    def channels(self) -> int:
        """Input channels, of all groups; of a flattened map those of the map."""
        raise NotImplementedError

    @property
    def shortcut(self) -> bool:
        """Whether the real input is added to the output."""
        return self.binarizer.shortcut and self.keeps_shape

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the input's shape, whatever that is."""
        raise NotImplementedError

    @torch.no_grad()
    def after_step(self) -> None:
        """Lets the binarizer tend the latent weights and the bias after an optimizer step."""
        self.binarizer.after_step(self.filters)
        if self.bias is not None:
            self.binarizer.after_bias_step(self.bias)

    @property
    def filters(self) -> Tensor:
        """The latent weights as those of a convolution where they are one, `(O, I, ...)`."""
        return self.weight

    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        """The bare convolution or matrix product."""
        raise NotImplementedError

    @override
    def forward(self, x: Tensor) -> Tensor:
        y = self._trained(x) if self.training else self._evaluated(x)
        if self.bias is not None:
            y = y + self.binarizer.bias(self.bias).to(y.dtype).view(-1, *(1,) * (y.ndim - 2))
        y = self.binarizer.output(y)
        return y + x.to(y.dtype) if self.shortcut else y

    def _trained(self, x: Tensor) -> Tensor:
        inputs, weights = (self._held.get(operand, self.binarizer) for operand in ("inputs", "weights"))
        y = self.operate(self.dropout(inputs.input(x)), weights.weight(self.weight))
        return inputs.rescale(y, x, self.window)  # XNOR-Net's K stands for magnitudes that real inputs still have.

    def _evaluated(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weight.dtype)
            inputs, weights = self.binarizer.input_codes(x), self.binarizer.weight_codes(self.weight)
            if self.binarizer.exact:
                y = self._integers(inputs.values, weights.values)
            else:
                y = self.operate(inputs.values, weights.values)
            y = y * (inputs.scale * weights.scale).view(-1, *(1,) * (y.ndim - 2))
            return self.binarizer.rescale(y, x, self.window)

    def _integers(self, x: Tensor, weight: Tensor) -> Tensor:
        """The sums of integer codes, exactly."""
        bits = self.binarizer.weight_bits, self.binarizer.input_bits
        largest = weight[0].numel() * (2 ** bits[0] - 1) * (2 ** bits[1] - 1)
        if largest * torch.finfo(x.dtype).eps > 1:  # 2^23 in fp32, beyond which wide codes may bring a sum.
            return self.operate(x.double(), weight.double()).round().to(x.dtype)
        # A Winograd or FFT algorithm may leave 1e-4 on what is an integer; the packed engine leaves nothing.
        return self.operate(x, weight).round()

    def extra_repr(self) -> str:
        """Shape of the latent weights and whether there is a bias."""
        return f"{tuple(self.weight.shape)}, bias={self.bias is not None}, dropout={self.dropout.p}"


class QuantConv2d(QuantLayer):
    """Convolution `(N, I, H, W) -> (N, O, H', W')` with a binarizer; zeros pad the quantised input.

    Args:
        inputs: Input channels, I.
        outputs: Output channels, O.
        kernel: Side of the square kernel.
        stride: Step between positions.
        padding: Zeros on each side.
        groups: Groups of channels that see only each other.
        bias: Whether a bias is added after every scale.
        dropout: Probability that training zeroes an input after it was quantised.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(torch.empty(outputs, inputs // groups, kernel, kernel), bias, dropout)
        self.window = Window((kernel, kernel), (stride, stride), (padding, padding))
        self.groups = groups

    @property
    @override
    def channels(self) -> int:
        return self.groups * self.weight.shape[1]

    @property
    @override
    def keeps_shape(self) -> bool:
        kernel, stride, padding = self.window
        same = all(2 * zeros == side - 1 for side, zeros in zip(kernel, padding, strict=True))
        return same and stride == (1, 1) and len(self.weight) == self.groups * self.weight.shape[1]

    @override
    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, self.window.stride, self.window.padding, 1, self.groups)


class QuantLinear(QuantLayer):
    """Matrix product `(N, I) -> (N, O)` with a binarizer.

    Args:
        inputs: Input features, I.
        outputs: Output features, O.
        positions: How many positions of a flattened map each input channel brings: fc6 of AlexNet reads 256 channels
            at 36 positions. The binarizer tends the weights as the convolution that they are, `(O, I / positions,
            positions)`, so that centring takes one mean per output and position.
        bias: Whether a bias is added after every scale.
        dropout: Probability that training zeroes an input after it was quantised.
    """

    def __init__(self, inputs: int, outputs: int, positions: int = 1, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(torch.empty(outputs, inputs), bias, dropout)
        self.positions = positions

    @property
    @override
    def channels(self) -> int:
        return self.weight.shape[1] // self.positions

    @property
    @override
    def keeps_shape(self) -> bool:
        return self.weight.shape[0] == self.weight.shape[1]

    @override
    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    @property
    @override
    def filters(self) -> Tensor:
        return self.weight.unflatten(1, (-1, self.positions))


class _SteadyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose output for a constant channel is `beta` in evaluation, as it is in training.

    A dead ReLU in front leaves a channel at 0. In training its batch mean is 0 and the output exactly `beta`. Its
    running mean only decays, to 2e-36 and the like, so evaluation would give a hair below `beta`; a sign behind a
    `beta` of 0 then flips, and one such channel has cost 19 points of accuracy. Where the running variance says that
    nothing varies, gamma is taken as 0.
    """

    # Against eps, which is the variance that the norm itself takes for noise.
    constant_below = 1e-12

    @override
    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.running_var is None:
            return super().forward(x)
        varies = self.running_var > self.constant_below * self.eps
        gamma = varies.to(x.dtype) if self.weight is None else self.weight * varies
        return F.batch_norm(x, self.running_mean, self.running_var, gamma, self.bias, False, 0.0, self.eps)


class BatchNorm1d(_SteadyBatchNorm, nn.BatchNorm1d):
    """Batch norm over `(N, C)`, steady for constant channels."""


class BatchNorm2d(_SteadyBatchNorm, nn.BatchNorm2d):
    """Batch norm over `(N, C, H, W)`, steady for constant channels."""
