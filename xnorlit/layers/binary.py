"""A convolution and a linear layer that use a binarizer."""

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
    """What the convolution and the linear layer share: latent weights, a binarizer and the two forwards.

    Training computes `rescale(op(input(x), weight(W))) + bias`, evaluation
    `rescale(scale_x * scale_w * op(codes_x, codes_w)) + bias` in the latent weights' precision, autocast or not. Both
    then pass the binarizer's `output`; where it has a shortcut and the shapes agree, `x` is added; its post layer, if
    any, comes last.

    A sign hides a NaN: its code is -1. Under `torch.autograd.detect_anomaly()` a layer refuses inputs that are not
    finite. It does not look otherwise, because that costs a pass over each input.

    Args:
        shape: Shape of the latent weights, `(O, I, kh, kw)` or `(O, I)`.
        bias: Whether a bias is added after every scale.
        dropout: Probability that training zeroes an input after it was quantised.
        post_layer: Whether the layer applies its binarizer's post layer itself. A built network puts it behind the
            max pool instead.
        device: Where the parameters are.
        dtype: Their dtype.
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
        LAYERS.add(self)  # A copy, or one from a pickle.

    def bind(
        self,
        binarizer: Binarizer | type[Binarizer] | str,
        *,
        rectify: bool = False,
        extent: tuple[int, ...] | None = None,
    ) -> None:
        """Attaches a private copy of a binarizer. Call it again after setting the weights by hand.

        Args:
            binarizer: An instance, a class or a name; what it learns for the layer starts afresh.
            rectify: Whether a real-valued input passes a ReLU first. A block without a non-linearity of its own needs
                one if its binarizer leaves inputs real; without it a layer is exactly torch's if nothing is quantised.
            extent: Height and width of a convolution's output, which XNOR-Net++'s rank-1 scale needs.
        """
        chosen = binarizer_of(binarizer)
        self.binarizer = chosen.for_layer(self.weight, rectify=rectify, extent=extent, channels=self.channels)
        post = self.binarizer.post_layer(len(self.weight)) if self.has_post_layer else None
        self.post_layer = None if post is None else post.to(self.weight.device, self.weight.dtype)

    def keep_real(self, operand: Operand | None) -> None:
        """Keeps one operand real in training from now on; None ends that.

        Evaluation always uses the codes: what is validated, and saved as best, is the few-bit network.
        """
        plain = Binarizer()
        plain.rectify = self.binarizer.rectify
        self._real = {} if operand is None else {operand: plain}

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
        """Lets the binarizer tend the latent weights and the bias after an optimizer step; `attach` calls it."""
        self.tended = True
        self.binarizer.after_step(self.filters)
        if self.bias is not None:
            self.binarizer.after_bias_step(self.bias)

    @property
    def filters(self) -> Tensor:
        """The latent weights as those of a convolution where they are one, `(O, I, ...)`."""
        return self.weight

    def framed(self, x: Tensor) -> Tensor:
        """`x` with the zeros that the window's padding, alike on both sides, cannot state."""
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
        # XNOR-Net's K stands for magnitudes that real inputs still have.
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
        if largest * torch.finfo(x.dtype).eps > 1:  # 2^23 in fp32, beyond which wide codes may bring a sum.
            return self.operate(x.double(), weight.double()).round().to(x.dtype)
        # A Winograd or FFT algorithm may leave 1e-4 on what is an integer; the packed engine leaves nothing.
        return self.operate(x, weight).round()

    def _two_valued(self, x: Tensor) -> Tensor:
        """Sums of inputs `c + s b` and weights `c_o + s_o w`, b and w signs, as an engine that counts bits has them.

        `s s_o D + s c_o A + K`, each product and sum rounded: D and A are the integer sums of `b w` and of b, K is c
        times the sum of the weights. The border counts none of its taps.
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
        """Refuses inputs that have no meaning here. Comparing shapes and dtypes costs next to nothing."""
        if not x.is_floating_point():
            raise UserError(
                f"{type(self).__name__} received an input of {x.dtype}. Expected floating point: convert it first, "
                "such as pixels by x.float() / 255."
            )
        if not torch.compiler.is_compiling() and torch.is_anomaly_enabled() and not bool(torch.isfinite(x).all()):
            raise UserError(
                f"{type(self).__name__}({self.extra_repr()}) received an input that is not finite, whose sign would "
                "hide it. Look at the layers and the data in front of it."
            )

    @override
    def extra_repr(self) -> str:
        return _extras({"dropout": (self.dropout.p, 0), "rectify": (self.binarizer.rectify, False)})


class BinaryConv2d(BinaryLayer):
    """Convolution `(N, I, H, W) -> (N, O, H', W')` with a binarizer, instead of `nn.Conv2d`.

    Arguments have the names, places and meanings of `nn.Conv2d`'s, and the state dict has its keys. Zeros pad the
    quantised input: a padded tap adds nothing to a sum of signs. Put a batch norm in front; after a ReLU every sign is
    +1.

    Args:
        in_channels: Input channels, I.
        out_channels: Output channels, O.
        kernel_size: Height and width of the kernel, or one number for both.
        stride: Step between positions, likewise.
        padding: Zeros on each side, likewise; `"valid"` for none, or `"same"` for an output of the input's size.
        dilation: 1; others are refused.
        groups: Groups of channels that see only each other.
        bias: Whether a bias is added after every scale.
        padding_mode: `"zeros"`, or `"ones"`: the quantised input is padded with +1, so that the border has signs, too.
            Others are refused.
        device: Where the parameters are.
        dtype: Their dtype.
        binarizer: An instance, a class or a name such as `"XNOR"`; the layer has a private copy of it.
        rectify: Whether an input that stays real passes a ReLU first. By default it does not, so that the layer with
            `Float` is `nn.Conv2d`.
        extent: Height and width of the output, which XNOR-Net++'s rank-1 scale needs.
        dropout: Probability that training zeroes an input after it was quantised.
        post_layer: Whether the layer applies what its binarizer puts after it (ReActNet's RPReLU, AdaBin's Maxout).
        initialise: Sets weights and bias, instead of torch's own initialisation.

    Raises:
        UserError: An argument is out of its range, or this layer has no such setting.

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
                f"BinaryConv2d: dilation is {dilation}. Expected 1: binary layers here have no other. Leave this "
                "convolution real (binarize_(..., skip=[...]))."
            )
        if padding_mode not in ("zeros", "ones"):
            raise UserError(
                f"BinaryConv2d: padding_mode is {padding_mode!r}. Expected 'zeros', whose taps add nothing to a binary "
                "sum, or 'ones', which are signs. Pad in front of the layer, or leave this convolution real."
            )
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
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
        self.trailing = after[0] - before[0], after[1] - before[1]  # One zero more, of "same" with an even kernel.
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
                f"BinaryConv2d: padding_mode is 'ones', and the inputs of {type(chosen).__name__} are no signs -1 and "
                "+1. Choose a binarizer whose inputs are, such as BNN or XNOR."
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
    """Matrix product `(N, ..., I) -> (N, ..., O)` with a binarizer, instead of `nn.Linear`.

    Arguments have the names, places and meanings of `nn.Linear`'s, and the state dict has its keys.

    Args:
        in_features: Input features, I.
        out_features: Output features, O.
        bias: Whether a bias is added after every scale.
        device: Where the parameters are.
        dtype: Their dtype.
        binarizer: An instance, a class or a name such as `"XNOR"`; the layer has a private copy of it.
        positions: How many positions of a flattened map each input channel brings: fc6 of AlexNet reads 256 channels
            at 36 positions. The binarizer tends the weights as the convolution that they are, `(O, I / positions,
            positions)`, so that centring takes one mean per output and position.
        rectify: Whether an input that stays real passes a ReLU first. By default it does not, so that the layer with
            `Float` is `nn.Linear`.
        dropout: Probability that training zeroes an input after it was quantised.
        post_layer: Whether the layer applies what its binarizer puts after it (ReActNet's RPReLU, AdaBin's Maxout).
        initialise: Sets weights and bias, instead of torch's own initialisation.

    Raises:
        UserError: An argument is out of its range.

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
                f"BinaryLinear received an input of {x.shape[1]} features. Expected {self.weight.shape[1]}; flatten "
                "a map first."
            )
        super()._check(x)

    @override
    def extra_repr(self) -> str:
        extras = {"bias": (self.bias is not None, True), "positions": (self.positions, 1)}
        return f"{self.in_features}, {self.out_features}" + _extras(extras) + super().extra_repr()


def _initialise(layer: BinaryLayer) -> None:
    """Torch's own start of a convolution or linear layer: uniform up to `1 / sqrt(fan_in)`, weights and bias."""
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    if layer.bias is not None:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        nn.init.uniform_(layer.bias, -bound, bound)


def _extras(values: dict[str, tuple[Any, Any]]) -> str:
    """`, name=value` of each value that is not its default."""
    return "".join(f", {name}={value!r}" for name, (value, default) in values.items() if value != default)


def _whole(kind: str, name: str, value: Any, least: int = 1) -> None:
    if not isinstance(value, int) or value < least:
        raise UserError(f"{kind}: {name} is {value!r}. Expected a whole number of {least} or more.")


def _pair(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """Height and width of an argument that may be one number for both."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise UserError(f"BinaryConv2d: {name} is {value!r}. Expected one whole number, or two (height, width).")
    for side in pair:
        _whole("BinaryConv2d", name, side, least)
    return pair


def _padding(padding: Any, kernel: tuple[int, int], stride: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros above and left of a map, and those below and right of it."""
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
