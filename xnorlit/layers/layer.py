"""What the binary convolution and the binary linear layer share: latent weights, a binarizer and two forwards."""

import math
import weakref
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize import Binarizer, PostLayer, TwoValues, Window, binarizer_of
from xnorlit.binarize.autocast import without_autocast
from xnorlit.errors import UserError
from xnorlit.layers.pinned import summed

Operand = Literal["weights", "inputs"]

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
        self.by_hand = False  # Whether `after_step` was ever called.
        self._real: dict[Operand, Binarizer] = {}
        LAYERS.add(self)

    @override
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # It is a copy, or comes from a pickle: nobody has tended it yet.
        self.by_hand = False
        LAYERS.add(self)

    def bind(
        self,
        binarizer: Binarizer | type[Binarizer] | str,
        *,
        rectify: bool | None = None,
        extent: tuple[int, ...] | None = None,
    ) -> None:
        """Attach a private copy of a binarizer. Call it again after setting the weights by hand.

        Args:
            binarizer: An instance, a class or a name; its learned parameters are initialised for this layer.
            rectify: Whether a real-valued input first passes a ReLU. A block without a non-linearity of its own needs
                it if its binarizer keeps inputs real. Without it, a layer that quantises nothing is exactly torch's.
                Default: as the layer has it.
            extent: Height and width of a convolution's output, required by XNOR-Net++'s rank-1 scale. Default: as the
                layer has them.
        """
        chosen = binarizer_of(binarizer)
        self._check_binarizer(chosen)
        rectify = self.binarizer.rectify if rectify is None else rectify
        extent = self.binarizer.extent if extent is None else extent
        self.binarizer = chosen.for_layer(self.weight, rectify=rectify, extent=extent, channels=self.channels)
        post = self.binarizer.post_layer(len(self.weight)) if self.has_post_layer else None
        self.post_layer = None if post is None else post.to(self.weight.device, self.weight.dtype)

    def _check_binarizer(self, binarizer: Binarizer) -> None:
        """Raise `UserError` if the layer cannot compute with a binarizer."""

    def keep_real(self, operand: Operand | None) -> None:
        """Keep one operand real in training from now on; None quantises both again.

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

    def after_step(self) -> None:
        """Let the binarizer adjust the latent weights, the bias and the layer's post layer after an optimizer step.

        It is for a training loop without `attach`. A post layer that a built network puts elsewhere has its own hook.
        """
        self.by_hand = True
        self.tend()
        if isinstance(self.post_layer, PostLayer):
            self.post_layer.after_step()

    @torch.no_grad()
    def tend(self) -> None:
        """Let the binarizer adjust the latent weights and the bias; `attach` calls it for its own optimizer."""
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
        with without_autocast(x.device):
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
        """Refuse inputs of the wrong type, shape or dtype; the comparison costs next to nothing."""
        if not isinstance(x, Tensor):
            raise UserError(f"{type(self).__name__} received a {type(x).__name__}. Expected a torch.Tensor.")
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
        return spelled({"dropout": (self.dropout.p, 0), "rectify": (self.binarizer.rectify, False)})


def as_torch(layer: BinaryLayer) -> None:
    """Torch's own initialisation: weights and bias uniform up to `1 / sqrt(fan_in)`.

    Args:
        layer: The layer.
    """
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    if layer.bias is not None:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        nn.init.uniform_(layer.bias, -bound, bound)


def spelled(values: dict[str, tuple[Any, Any]]) -> str:
    """`, name=value` for each value that differs from its default."""
    return "".join(f", {name}={value!r}" for name, (value, default) in values.items() if value != default)


def expect_module(caller: str, given: Any) -> None:
    """Raises an error unless a module is given.

    Raises:
        UserError: It is a class, a function, or something else.
    """
    if not isinstance(given, nn.Module):
        what = getattr(given, "__name__", type(given).__name__)
        call = f"; call it, {what}()" if callable(given) else ""
        raise UserError(f"{caller}: the model is {what}. Expected an nn.Module{call}.")


def whole(kind: str, name: str, value: Any, least: int = 1) -> int:
    """A layer's argument, which is a whole number of at least `least`; numpy's are too.

    Raises:
        UserError: It is not.
    """
    if not isinstance(value, Integral) or value < least:
        raise UserError(f"{kind}: {name} is {value!r}. Expected a whole number of {least} or more.")
    return int(value)
