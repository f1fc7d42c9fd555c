"""The base of all binarizers: codes times scale for both operands of a layer, and a gradient through the rounding."""

import copy
import inspect
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Codes(NamedTuple):
    """A few-bit operand in evaluation: `operand = scale * values`.

    Attributes:
        values: The codes, integers held in floating point (`{-1, +1}` for one bit), in the operand's shape. A real
            operand is its own code.
        scale: One number, or for weights one per output channel, shape `(O,)`. Kept apart from the codes because the
            sum over integer codes is exact, and a packed engine computes the same sum.
    """

    values: Tensor
    scale: Tensor


class TwoValues(NamedTuple):
    """A one-bit operand in evaluation whose two values lie about any centre: `operand = centre + distance * signs`.

    Attributes:
        signs: -1 and +1, in the operand's shape.
        distance: Of either value from the centre: one number, or for weights one per output channel, shape `(O,)`.
        centre: Likewise.
    """

    signs: Tensor
    distance: Tensor
    centre: Tensor


class Window(NamedTuple):
    """Where a convolution looks: `(kernel, stride, padding)`, each `(height, width)`; padding is with zeros."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class Binarizer(nn.Module):
    """How one layer's weights and inputs become few-bit. This base keeps both real.

    In training a layer computes `rescale(conv(input(x), weight(W)))`, differentiable; in evaluation
    `rescale(scale_x * scale_w * conv(codes_x, codes_w))`, whose integer sums are exact. In both, `output` then sees
    the layer's result, its bias included. A method states both forms; the tests hold them equal up to rounding.

    An instance that you make holds settings only. Each layer gets a private copy from
    [for_layer][xnorlit.binarize.Binarizer.for_layer], with the parameters that the method learns per layer.

    Attributes:
        weight_bits: Bits of a weight code; 32 for real weights.
        input_bits: Bits of an input code; 32 for real inputs.
        gradient_bits: Bits of the gradient at the layer's output; 32 for a real one.
        signed_input: Whether input codes are signs, which are all +1 behind a ReLU.
        flips: Whether the parameters are the signs themselves, for an optimizer that flips them; no latent weights
            exist.
        two_valued: Whether operands are pairs of values about any centre, which `input_values` and `weight_values`
            state; evaluation then counts signs and adds what the centres bring.
        shortcut: Whether the layer's input, before it was quantised, is added to its output where both have one shape.
        cannot_pack: Why a layer of this method has no packed form and what to use instead; empty where it has one.
        rectify: Whether a real-valued input passes a ReLU first, see `for_layer`.
        extent: Height and width of the layer's output, `None` for a linear layer or where they are not known.
        channels: The layer's input channels, those of all groups; of a flattened map its channels, not its features.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> class Halves(xl.Binarizer):
        ...     def weight(self, weight):
        ...         return (2 * weight).round() / 2
        ...
        ...     def weight_codes(self, weight):
        ...         return super().weight_codes(self.weight(weight))
        >>> xl.BinaryLinear(2, 1, binarizer=Halves)(torch.ones(3, 2)).shape
        torch.Size([3, 1])
    """

    weight_bits: int = 32
    input_bits: int = 32
    gradient_bits: int = 32
    signed_input: bool = False
    flips: bool = False
    two_valued: bool = False
    shortcut: bool = False
    cannot_pack: str = ""
    rectify: bool = False
    extent: tuple[int, ...] | None = None
    channels: int = 0

    def for_layer(
        self,
        weight: Tensor,
        *,
        rectify: bool = False,
        extent: tuple[int, ...] | None = None,
        channels: int | None = None,
    ) -> "Binarizer":
        """A new binarizer with these settings, for one layer.

        Args:
            weight: The layer's latent weights, `(O, I, kh, kw)` or `(O, I)`.
            rectify: Whether the layer's block has no non-linearity of its own. A real-valued input then passes a ReLU
                first; without it a float network of batch norm and convolution only would collapse to a linear map.
            extent: Height and width of a convolution's output, where the network's table tells them.
            channels: Input channels, where they are not I: of a convolution with groups, or of a flattened map.
        """
        bound = copy.deepcopy(self)
        bound.rectify, bound.extent, bound.channels = rectify, extent, channels or weight.shape[1]
        # Random numbers that a method takes must not shift those of the next layer's weights: a pair starts alike.
        with torch.random.fork_rng(devices=[]):
            bound.setup(weight)
        return bound

    def setup(self, weight: Tensor) -> None:
        """Creates what the method learns or remembers for one layer (a scale, a threshold); the base does nothing.

        Make what is learned an `nn.Parameter`, and what a schedule or a first batch sets a buffer: both are saved.

        Args:
            weight: The layer's latent weights, freshly initialised.
        """

    def post_layer(self, outputs: int) -> nn.Module | None:
        """A module that the method puts after its layer; the base has none.

        A built network puts it after a max pool that directly follows. What methods add is monotonic (a PReLU), so the
        order changes the time alone: the map is a quarter as large.

        Args:
            outputs: The layer's output channels or features.
        """
        return None

    # --- training ---------------------------------------------------------------------------------------------------
    def weight(self, weight: Tensor) -> Tensor:
        """The weights as the training forward convolves them, differentiable in the latent weights."""
        return weight

    def input(self, x: Tensor) -> Tensor:
        """The inputs as the training forward convolves them: `relu(x)` or `x` for a real-valued input."""
        return F.relu(x) if self.rectify else x

    def rescale(self, y: Tensor, x: Tensor, window: Window | None) -> Tensor:
        """The layer's output before its bias, times a scale that depends on the position; the same in both modes.

        Args:
            y: The convolution's output, `(N, O, H', W')`, or `(N, O)` of a linear layer.
            x: The layer's input before it was quantised, `(N, I, H, W)` or `(N, I)`.
            window: Where the convolution looks; `None` for a linear layer.
        """
        return y

    def bias(self, bias: Tensor) -> Tensor:
        """The bias as it is added; the same in both modes.

        Args:
            bias: `(O,)`.
        """
        return bias

    def output(self, y: Tensor) -> Tensor:
        """The layer's result, its bias included; the same in both modes.

        This is the place for a quantiser of the gradient, whose forward changes nothing.

        Args:
            y: `(N, O, H', W')` or `(N, O)`.
        """
        return y

    # --- evaluation -------------------------------------------------------------------------------------------------
    def weight_codes(self, weight: Tensor) -> Codes:
        """The weights as codes and a scale per output channel (or one)."""
        return Codes(weight, weight.new_ones(()))

    def input_codes(self, x: Tensor) -> Codes:
        """The inputs as codes and one scale."""
        return Codes(F.relu(x) if self.rectify else x, x.new_ones(()))

    def weight_values(self, weight: Tensor) -> TwoValues:
        """The weights of a two-valued method: signs, and a distance and a centre per output channel."""
        raise NotImplementedError

    def input_values(self, x: Tensor) -> TwoValues:
        """The inputs of a two-valued method: signs, one distance and one centre."""
        raise NotImplementedError

    @property
    def exact(self) -> bool:
        """Whether both operands are integer codes, so that every sum of the evaluation forward is an integer."""
        return self.weight_bits < 32 and self.input_bits < 32

    # --- hooks ------------------------------------------------------------------------------------------------------
    @property
    def tends(self) -> bool:
        """Whether `after_step` or `after_bias_step` does anything, so that a training loop must not leave them out."""
        own = type(self)
        return (own.after_step, own.after_bias_step) != (Binarizer.after_step, Binarizer.after_bias_step)

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Fits what the method learns about its weights to them; the base does nothing.

        Call it for a layer that starts from trained weights. The fit is least squares: a scale of codes `c` becomes
        `<W, c> / <c, c>`. A scale that is a formula of the weights (alpha) needs no fit.

        Args:
            weight: The layer's latent weights, `(O, I, kh, kw)` or `(O, I)`.
        """

    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        """Changes the latent weights in place after an optimizer step (centre, clamp); the base does nothing.

        Args:
            weight: The layer's latent weights, `(O, I, kh, kw)` or `(O, I)`.
        """

    @torch.no_grad()
    def after_bias_step(self, bias: Tensor) -> None:
        """Changes the bias in place after an optimizer step, after `after_step`; the base does nothing.

        Args:
            bias: `(O,)`.
        """

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Moves a schedule of the method at the start of epoch `epoch` of `epochs`; the base has none."""

    def extra_repr(self) -> str:
        """The settings that are not their defaults: `gradient='paper'`."""
        settings = inspect.signature(type(self)).parameters.values()
        found = ((each.name, self.__dict__.get(each.name, each.default), each.default) for each in settings)
        return ", ".join(f"{name}={value!r}" for name, value, default in found if value != default)
