"""The binary convolution and the binary linear layer."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize import Binarizer, Window
from xnorlit.errors import UserError
from xnorlit.layers.layer import BinaryLayer, as_torch, spelled, whole

Side = int | tuple[int, int]


class BinaryConv2d(BinaryLayer):
    """Binary convolution `(N, I, H, W) -> (N, O, H', W')`, a replacement for `nn.Conv2d`.

    The arguments have the names, positions and meanings of those of `nn.Conv2d`, and the state dict has its keys. Zeros
    pad the quantised input, so a padded tap adds nothing to a sum of signs. Put a batch norm before it; after a ReLU
    every sign is +1.

    Args:
        in_channels: Input channels, I.
        out_channels: Output channels, O.
        kernel_size: Height and width of the kernel, or one number for both.
        stride: Stride of the convolution, likewise.
        padding: Zeros on each side, likewise; `"valid"` for none, or `"same"` for an output of the input's size.
        dilation: 1; others are refused.
        groups: Number of channel groups, each convolved separately.
        bias: Whether a bias is added after all scales.
        padding_mode: `"zeros"`, or `"ones"`, which pads the quantised input with +1, so that the border has signs too.
            Others are refused.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
        binarizer: An instance, a class or a name such as `"XNOR"`; the layer has a private copy of it.
        rectify: Whether an input that stays real first passes a ReLU. By default it does not, so the layer with `Float`
            equals `nn.Conv2d`.
        extent: Height and width of the output, required by XNOR-Net++'s rank-1 scale.
        dropout: Probability that training zeroes a quantised input.
        post_layer: Whether the layer applies its binarizer's post layer (ReActNet's RPReLU, AdaBin's Maxout).
        initialise: Sets weights and bias, instead of torch's own initialisation.

    Raises:
        UserError: An argument is out of range, or this layer does not support the setting.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> block = torch.nn.Sequential(
        ...     torch.nn.BatchNorm2d(16), xl.BinaryConv2d(16, 32, 3, padding=1, binarizer="XNOR")
        ... )
        >>> block(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 32, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Side,
        stride: Side = 1,
        padding: Side | Literal["same", "valid"] = 0,
        dilation: Side = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        binarizer: Binarizer | type[Binarizer] | str,
        rectify: bool = False,
        extent: tuple[int, ...] | None = None,
        dropout: float = 0.0,
        post_layer: bool = True,
        initialise: Callable[["BinaryConv2d"], None] | None = None,
    ) -> None:
        kernel, step = _pair("kernel_size", kernel_size), _pair("stride", stride)
        if _pair("dilation", dilation) != (1, 1):
            raise UserError(
                f"BinaryConv2d: dilation is {dilation}. Expected 1, the only dilation of binary layers. Keep this "
                "convolution real (binarize_(..., skip=[...]))."
            )
        if padding_mode not in ("zeros", "ones"):
            raise UserError(
                f"BinaryConv2d: padding_mode is {padding_mode!r}. Expected 'zeros', whose taps add nothing to a binary "
                "sum, or 'ones', which are signs. Pad before the layer, or keep this convolution real."
            )
        sizes = (("groups", groups), ("in_channels", in_channels), ("out_channels", out_channels))
        groups, in_channels, out_channels = (whole("BinaryConv2d", *each) for each in sizes)
        for name, value in sizes:
            if value % groups:
                raise UserError(f"BinaryConv2d: groups is {groups}, which does not divide {name}, {value}.")
        super().__init__(
            (out_channels, in_channels // groups, *kernel),
            bias,
            dropout=dropout,
            post_layer=post_layer,
            device=device,
            dtype=dtype,
        )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation, self.padding_mode = kernel, step, (1, 1), padding_mode
        before, after = _padding(padding, kernel, step)
        self.padding = padding if isinstance(padding, str) else before
        self.window: Window = Window(kernel, step, before)  # pyright: ignore[reportIncompatibleVariableOverride]
        self.trailing = after[0] - before[0], after[1] - before[1]  # An extra zero for "same" with an even kernel.
        with torch.no_grad():
            (initialise or as_torch)(self)
        self.bind(binarizer, rectify=rectify, extent=extent)

    @property
    @override
    def channels(self) -> int:
        return self.groups * self.weight.shape[1]

    @property
    @override
    def keeps_shape(self) -> bool:
        kernel, stride, padding = self.window
        sides = zip(kernel, padding, self.trailing, strict=True)
        same = all(2 * zeros + more == side - 1 for side, zeros, more in sides)
        return same and stride == (1, 1) and len(self.weight) == self.channels

    @override
    def framed(self, x: Tensor) -> Tensor:
        below, right = self.trailing
        return F.pad(x, (0, right, 0, below)) if below or right else x

    @override
    def _check_binarizer(self, binarizer: Binarizer) -> None:
        signs = binarizer.signed_input and binarizer.input_bits == 1 and not binarizer.two_valued
        if self.padding_mode == "ones" and binarizer.input_bits < 32 and not signs:
            raise UserError(
                f"BinaryConv2d: padding_mode is 'ones', but {type(binarizer).__name__} does not turn inputs into -1 "
                "and +1. Choose a binarizer that does, such as BNN or XNOR."
            )

    @override
    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.padding_mode == "ones":
            (down, across), (below, right) = self.window.padding, self.trailing
            x = F.pad(x, (across, across + right, down, down + below), value=1.0)
            return F.conv2d(x, weight, None, self.window.stride, 0, 1, self.groups)
        return F.conv2d(self.framed(x), weight, None, self.window.stride, self.window.padding, 1, self.groups)

    @override
    def _check(self, x: Tensor) -> None:
        super()._check(x)
        if x.ndim != 4 or x.shape[1] != self.channels:
            batch = "; give a single image a batch dimension, x[None]" if x.ndim == 3 else ""
            raise UserError(
                f"BinaryConv2d received an input of shape {tuple(x.shape)}. Expected (N, {self.channels}, H, W){batch}."
            )

    @override
    def extra_repr(self) -> str:
        given = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        extras = {
            "padding": (self.padding, (0, 0)),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "padding_mode": (self.padding_mode, "zeros"),
        }
        return given + spelled(extras) + super().extra_repr()


class BinaryLinear(BinaryLayer):
    """Binary matrix product `(N, ..., I) -> (N, ..., O)`, a replacement for `nn.Linear`.

    The arguments have the names, positions and meanings of those of `nn.Linear`, and the state dict has its keys.

    Args:
        in_features: Input features, I.
        out_features: Output features, O.
        bias: Whether a bias is added after all scales.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
        binarizer: An instance, a class or a name such as `"XNOR"`; the layer has a private copy of it.
        positions: Number of positions of the flattened map that the layer reads; fc6 of AlexNet reads 256 channels at
            36 positions. The binarizer treats the weights as those of a convolution, `(O, I / positions, positions)`,
            so that centring takes one mean per output and position.
        rectify: Whether an input that stays real first passes a ReLU. By default it does not, so the layer with `Float`
            equals `nn.Linear`.
        dropout: Probability that training zeroes a quantised input.
        post_layer: Whether the layer applies its binarizer's post layer (ReActNet's RPReLU, AdaBin's Maxout).
        initialise: Sets weights and bias, instead of torch's own initialisation.

    Raises:
        UserError: An argument is out of range.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> layer = xl.BinaryLinear(64, 10, binarizer=xl.XNOR(gradient="paper"))
        >>> layer(torch.randn(5, 64)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        binarizer: Binarizer | type[Binarizer] | str,
        positions: int = 1,
        rectify: bool = False,
        dropout: float = 0.0,
        post_layer: bool = True,
        initialise: Callable[["BinaryLinear"], None] | None = None,
    ) -> None:
        sizes = (("in_features", in_features), ("out_features", out_features), ("positions", positions))
        in_features, out_features, positions = (whole("BinaryLinear", *each) for each in sizes)
        if in_features % positions:
            raise UserError(
                f"BinaryLinear: positions is {positions}, which does not divide {in_features}, its in_features."
            )
        super().__init__(
            (out_features, in_features), bias, dropout=dropout, post_layer=post_layer, device=device, dtype=dtype
        )
        self.in_features, self.out_features, self.positions = in_features, out_features, positions
        with torch.no_grad():
            (initialise or as_torch)(self)
        self.bind(binarizer, rectify=rectify)

    @property
    @override
    def channels(self) -> int:
        return self.weight.shape[1] // self.positions

    @property
    @override
    def keeps_shape(self) -> bool:
        return self.weight.shape[0] == self.weight.shape[1]

    @override
    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or x.ndim == 2:
            return super().forward(x)
        rows = x.shape[:-1].numel()  # Not -1, which an empty batch leaves open.
        return super().forward(x.reshape(rows, x.shape[-1] if x.ndim else 1)).reshape(*x.shape[:-1], self.out_features)

    @override
    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    @property
    @override
    def filters(self) -> Tensor:
        return self.weight.unflatten(1, (-1, self.positions))

    @override
    def _check(self, x: Tensor) -> None:
        super()._check(x)
        if x.shape[1] != self.weight.shape[1]:
            raise UserError(
                f"BinaryLinear received an input of {x.shape[1]} features. Expected {self.weight.shape[1]}. Flatten "
                "a map first."
            )

    @override
    def extra_repr(self) -> str:
        extras = {"bias": (self.bias is not None, True), "positions": (self.positions, 1)}
        return f"{self.in_features}, {self.out_features}" + spelled(extras) + super().extra_repr()


def _pair(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """Height and width from an argument that may be one number for both."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise UserError(f"BinaryConv2d: {name} is {value!r}. Expected one whole number, or two (height, width).")
    height, width = (whole("BinaryConv2d", name, side, least) for side in pair)
    return height, width


def _padding(padding: Any, kernel: tuple[int, int], stride: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros above and left of a map, and zeros below and right of it."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise UserError(f"BinaryConv2d: padding is 'same' with a stride of {stride}. Expected a stride of 1.")
        return ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2), (kernel[0] // 2, kernel[1] // 2)
    if isinstance(padding, str):
        raise UserError(f"BinaryConv2d: padding is {padding!r}. Expected whole numbers, 'same' or 'valid'.")
    zeros = _pair("padding", padding, 0)
    return zeros, zeros
