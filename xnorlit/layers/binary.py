"""The binary convolution and the binary linear layer."""

import math
import weakref
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize import Binarizer, TwoValues, Window, binarizer_of
from xnorlit.errors import UserError
from xnorlit.layers.pinned import summed

Operator = Callable[[Tensor, Tensor], Tensor]
Operand = Literal["weights", "inputs"]
Side = int | tuple[int, int]

# Every live layer, so that a step without `attach` is noticed.
LAYERS: "weakref.WeakSet[BinaryLayer]" = weakref.WeakSet()


class BinaryLayer(nn.Module):
    """Base of the binary convolution and linear layer: latent weights, a binarizer and the two forwards.

    Training computes `rescale(op(input(x), weight(W))) + bias`, evaluation
    `rescale(scale_x * scale_w * op(codes_x, codes_w)) + bias` in the latent weights' precision, autocast or not. Both
    results pass through the binarizer's `output`. If the binarizer has a shortcut and the shapes agree, `x` is added.
    Its post layer, if any, comes last.

    The sign of a NaN is -1, which hides it. Under `torch.autograd.detect_anomaly()` a layer refuses inputs that are not
    finite. Otherwise it does not check, because that costs a pass over each input.

    Args:
        shape: Shape of the latent weights, `(O, I, kh, kw)` or `(O, I)`.
        bias: Whether a bias is added after all scales.
        dropout: Probability that training zeroes a quantised input.
        post_layer: Whether the layer applies its binarizer's post layer itself. A built network puts it after the max
            pool instead.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
    """

    window: Window | None = None
    rounds_once = False  # Whether evaluation sums real operands in fp64 and rounds once, as a packed graph does.

    def __init__(
        self, shape: tuple[int, ...], bias: bool, *, dropout: float, post_layer: bool, device: Any, dtype: Any
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(shape[0], device=device, dtype=dtype)) if bias else None
        self.dropout = nn.Dropout(dropout)
        self.binarizer = Binarizer()
        self.has_post_layer = post_layer
        self.post_layer: nn.Module | None = None
        self.tended = False  # Whether `after_step` was ever called.
        self._real: dict[Operand, Binarizer] = {}
        LAYERS.add(self)

    @override
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        LAYERS.add(self)  # It is a copy, or comes from a pickle.

    def bind(
        self,
        binarizer: Binarizer | type[Binarizer] | str,
        *,
        rectify: bool = False,
        extent: tuple[int, ...] | None = None,
    ) -> None:
        """Attaches a private copy of a binarizer. Call it again after setting the weights by hand.

        Args:
            binarizer: An instance, a class or a name; its learned parameters are initialised for this layer.
            rectify: Whether a real-valued input first passes a ReLU. A block without a non-linearity of its own needs
                it if its binarizer keeps inputs real. Without it, a layer that quantises nothing is exactly torch's.
            extent: Height and width of a convolution's output, required by XNOR-Net++'s rank-1 scale.
        """
        chosen = binarizer_of(binarizer)
        self.binarizer = chosen.for_layer(self.weight, rectify=rectify, extent=extent, channels=self.channels)
        post = self.binarizer.post_layer(len(self.weight)) if self.has_post_layer else None
        self.post_layer = None if post is None else post.to(self.weight.device, self.weight.dtype)

    def keep_real(self, operand: Operand | None) -> None:
        """Keeps one operand real in training from now on; None quantises both again.

        Evaluation always uses the codes, so the few-bit network is what is validated and saved as best.
        """
        plain = Binarizer()
        plain.rectify = self.binarizer.rectify
        self._real = {} if operand is None else {operand: plain}

    @property
    def channels(self) -> int:
        """Input channels of all groups; for a flattened map, the channels of the map."""
        raise NotImplementedError

    @property
    def shortcut(self) -> bool:
        """Whether the real input is added to the output."""
        return self.binarizer.shortcut and self.keeps_shape

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input, for any input."""
        raise NotImplementedError

    @torch.no_grad()
    def after_step(self) -> None:
        """Lets the binarizer adjust the latent weights and the bias after an optimizer step; `attach` calls it."""
        self.tended = True
        self.binarizer.after_step(self.filters)
        if self.bias is not None:
            self.binarizer.after_bias_step(self.bias)

    @property
    def filters(self) -> Tensor:
        """The latent weights, as those of a convolution if the layer reads a flattened map: `(O, I, ...)`."""
        return self.weight

    def framed(self, x: Tensor) -> Tensor:
        """`x`, padded with the extra zeros of an uneven padding."""
        return x

    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        """The bare convolution or matrix product."""
        raise NotImplementedError

    @override
    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        y = self._trained(x) if self.training else self._evaluated(x)
        if self.bias is not None:
            y = y + self.binarizer.bias(self.bias).to(y.dtype).view(-1, *(1,) * (y.ndim - 2))
        y = self.binarizer.output(y)
        y = y + x.to(y.dtype) if self.shortcut else y
        return y if self.post_layer is None else self.post_layer(y)

    def _trained(self, x: Tensor) -> Tensor:
        inputs, weights = (self._real.get(operand, self.binarizer) for operand in ("inputs", "weights"))
        y = self.operate(self.dropout(inputs.input(x)), weights.weight(self.weight))
        # Real inputs keep the magnitudes that XNOR-Net's K approximates.
        return inputs.rescale(y, self.framed(x), self.window)

    def _evaluated(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            x = x.to(self.weight.dtype)
            if self.binarizer.two_valued:
                return self.binarizer.rescale(self._two_valued(x), self.framed(x), self.window)
            inputs, weights = self.binarizer.input_codes(x), self.binarizer.weight_codes(self.weight)
            if self.binarizer.exact:
                y = self._integers(inputs.values, weights.values)
            elif self.rounds_once and summed(x):
                y = self.operate(inputs.values.double(), weights.values.double()).to(x.dtype)
            else:
                y = self.operate(inputs.values, weights.values)
            y = y * (inputs.scale * weights.scale).view(-1, *(1,) * (y.ndim - 2))
            return self.binarizer.rescale(y, self.framed(x), self.window)

    def _integers(self, x: Tensor, weight: Tensor) -> Tensor:
        """The sums of integer codes, exactly."""
        bits = self.binarizer.weight_bits, self.binarizer.input_bits
        largest = weight[0].numel() * (2 ** bits[0] - 1) * (2 ** bits[1] - 1)
        if largest * torch.finfo(x.dtype).eps > 1:  # Sums of wide codes may exceed 2^23, the limit of fp32.
            return self.operate(x.double(), weight.double()).round().to(x.dtype)
        # A Winograd or FFT algorithm may be off by 1e-4; the packed engine computes the integer exactly.
        return self.operate(x, weight).round()

    def _two_valued(self, x: Tensor) -> Tensor:
        """Sums of inputs `c + s b` times weights `c_o + s_o w`, with signs b and w, as an engine on bits computes them.

        They are `s s_o D + s c_o A + K`, with each product and each sum rounded. D is the integer sum of `b w`, A the
        integer sum of b, and K is c times the sum of the weights. Taps on the padding do not count.
        """
        inputs, weights = self.binarizer.input_values(x), self.binarizer.weight_values(self.weight)
        groups = getattr(self, "groups", 1)
        bits = self._integers(inputs.signs, torch.ones_like(weights.signs[:groups]))
        bits = bits.repeat_interleave(len(weights.signs) // groups, dim=1)
        parts = self._integers(inputs.signs, weights.signs), bits, self.inside(x, inputs, weights)
        factors = [inputs.distance.double() * each.double() for each in (weights.distance, weights.centre)]
        of_both, of_inputs = (each.to(x.dtype).view(-1, *(1,) * (x.ndim - 2)) for each in factors)
        return parts[0] * of_both + parts[1] * of_inputs + parts[2]

    def inside(self, x: Tensor, inputs: TwoValues, weights: TwoValues) -> Tensor:
        """K of two-valued operands: `c` times the sum of the weights whose taps lie inside, `(1, O, ...)`."""
        shape, wide = (-1, *(1,) * (weights.signs.ndim - 1)), torch.float64 if summed(x) else torch.float32
        values = weights.signs.to(wide) * weights.distance.to(wide).view(shape) + weights.centre.to(wide).view(shape)
        ones = torch.ones_like(x[:1, : getattr(self, "groups", 1)], dtype=wide)
        return (self.operate(ones, values.sum(1, keepdim=True)) * inputs.centre.to(wide)).to(x.dtype)

    def _check(self, x: Tensor) -> None:
        """Refuses inputs of the wrong shape or dtype; the comparison costs next to nothing."""
        if not x.is_floating_point():
            raise UserError(
                f"{type(self).__name__} received an input of {x.dtype}. Expected floating point; convert it first, "
                "for example pixels with x.float() / 255."
            )
        if not torch.compiler.is_compiling() and torch.is_anomaly_enabled() and not bool(torch.isfinite(x).all()):
            raise UserError(
                f"{type(self).__name__}({self.extra_repr()}) received an input that is not finite; its sign would "
                "hide this. Check the layers before it and the data."
            )

    @override
    def extra_repr(self) -> str:
        return _extras({"dropout": (self.dropout.p, 0), "rectify": (self.binarizer.rectify, False)})


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
        for name, value in (("groups", groups), ("in_channels", in_channels), ("out_channels", out_channels)):
            _whole("BinaryConv2d", name, value)
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
            (initialise or _initialise)(self)
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
    def bind(
        self,
        binarizer: Binarizer | type[Binarizer] | str,
        *,
        rectify: bool = False,
        extent: tuple[int, ...] | None = None,
    ) -> None:
        chosen = binarizer_of(binarizer)
        signs = chosen.signed_input and chosen.input_bits == 1 and not chosen.two_valued
        if self.padding_mode == "ones" and chosen.input_bits < 32 and not signs:
            raise UserError(
                f"BinaryConv2d: padding_mode is 'ones', but {type(chosen).__name__} does not turn inputs into -1 and "
                "+1. Choose a binarizer that does, such as BNN or XNOR."
            )
        super().bind(chosen, rectify=rectify, extent=extent)

    @override
    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.padding_mode == "ones":
            (down, across), (below, right) = self.window.padding, self.trailing
            x = F.pad(x, (across, across + right, down, down + below), value=1.0)
            return F.conv2d(x, weight, None, self.window.stride, 0, 1, self.groups)
        return F.conv2d(self.framed(x), weight, None, self.window.stride, self.window.padding, 1, self.groups)

    @override
    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.channels:
            batch = "; give a single image a batch dimension, x[None]" if x.ndim == 3 else ""
            raise UserError(
                f"BinaryConv2d received an input of shape {tuple(x.shape)}. Expected (N, {self.channels}, H, W){batch}."
            )
        super()._check(x)

    @override
    def extra_repr(self) -> str:
        given = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        extras = {
            "padding": (self.padding, (0, 0)),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "padding_mode": (self.padding_mode, "zeros"),
        }
        return given + _extras(extras) + super().extra_repr()


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
        for name, value in (("in_features", in_features), ("out_features", out_features), ("positions", positions)):
            _whole("BinaryLinear", name, value)
        if in_features % positions:
            raise UserError(
                f"BinaryLinear: positions is {positions}, which does not divide {in_features}, its in_features."
            )
        super().__init__(
            (out_features, in_features), bias, dropout=dropout, post_layer=post_layer, device=device, dtype=dtype
        )
        self.in_features, self.out_features, self.positions = in_features, out_features, positions
        with torch.no_grad():
            (initialise or _initialise)(self)
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
        if x.ndim == 2:
            return super().forward(x)
        return super().forward(x.reshape(-1, x.shape[-1] if x.ndim else 1)).reshape(*x.shape[:-1], -1)

    @override
    def operate(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    @property
    @override
    def filters(self) -> Tensor:
        return self.weight.unflatten(1, (-1, self.positions))

    @override
    def _check(self, x: Tensor) -> None:
        if x.shape[1] != self.weight.shape[1]:
            raise UserError(
                f"BinaryLinear received an input of {x.shape[1]} features. Expected {self.weight.shape[1]}. Flatten "
                "a map first."
            )
        super()._check(x)

    @override
    def extra_repr(self) -> str:
        extras = {"bias": (self.bias is not None, True), "positions": (self.positions, 1)}
        return f"{self.in_features}, {self.out_features}" + _extras(extras) + super().extra_repr()


def _initialise(layer: BinaryLayer) -> None:
    """Torch's own initialisation: weights and bias uniform up to `1 / sqrt(fan_in)`."""
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    if layer.bias is not None:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        nn.init.uniform_(layer.bias, -bound, bound)


def _extras(values: dict[str, tuple[Any, Any]]) -> str:
    """`, name=value` for each value that differs from its default."""
    return "".join(f", {name}={value!r}" for name, (value, default) in values.items() if value != default)


def _whole(kind: str, name: str, value: Any, least: int = 1) -> None:
    if not isinstance(value, int) or value < least:
        raise UserError(f"{kind}: {name} is {value!r}. Expected a whole number of {least} or more.")


def _pair(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """Height and width from an argument that may be one number for both."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise UserError(f"BinaryConv2d: {name} is {value!r}. Expected one whole number, or two (height, width).")
    for side in pair:
        _whole("BinaryConv2d", name, side, least)
    return pair


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
