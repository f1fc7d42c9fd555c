"""The base of all binarizers: codes times a scale for both operands of a layer, and a gradient through the rounding."""

import copy
import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xnorlit.binarize.settings import held_to_annotations


class Codes(NamedTuple):
    """A few-bit operand in evaluation: `operand = scale * values`.

    Attributes:
        values: The codes: integers in floating point (`{-1, +1}` for one bit), in the operand's shape. A real operand
            is its own code.
        scale: One number or, for weights, one per output channel, shape `(O,)`. Scale and codes are separate so that
            the sum over integer codes is exact, as in a packed engine.
    """

    values: Tensor
    scale: Tensor


class TwoValues(NamedTuple):
    """A one-bit operand in evaluation with two values around a centre: `operand = centre + distance * signs`.

    Attributes:
        signs: -1 and +1, in the operand's shape.
        distance: Distance of the values from the centre: one number or, for weights, one per output channel, `(O,)`.
        centre: The centre, in the same shape as `distance`.
    """

    signs: Tensor
    distance: Tensor
    centre: Tensor


class Window(NamedTuple):
    """`(kernel, stride, padding)` of a convolution, each `(height, width)`; the padding is zero."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class PostLayer(nn.Module):
    """A module that a binarizer puts after its layer, whose parameters must stay in a range."""

    def after_step(self) -> None:
        """Change the parameters in place after an optimizer step, wherever the network has put the module."""


class Binarizer(nn.Module):
    """`rescale(conv(input(x), weight(W)))`: how one layer's operands become few-bit. This base keeps them real.

    In training a layer computes the formula above, which is differentiable. In evaluation it computes
    `rescale(scale_x * scale_w * conv(codes_x, codes_w))`, whose integer sums are exact. In both, `output` then gets the
    layer's result, including its bias. A method defines both forms; the tests check that they agree up to rounding.

    An instance that you create only holds settings. Each layer gets a private copy from
    [for_layer][xnorlit.binarize.Binarizer.for_layer], with the parameters that the method learns per layer.

    Attributes:
        weight_bits: Bits of a weight code; 32 for real weights.
        input_bits: Bits of an input code; 32 for real inputs.
        gradient_bits: Bits of the gradient at the layer's output; 32 for a real gradient.
        signed_input: Whether input codes are signs. Behind a ReLU they would all be +1.
        flips: Whether the parameters are the signs themselves, without latent weights. The optimizer must flip them.
        two_valued: Whether each operand has two values around a centre, which `input_values` and `weight_values`
            return. Evaluation then counts signs and adds the contribution of the centres.
        shortcut: Whether the layer's input before quantisation is added to its output, if both have the same shape.
        cannot_pack: Why a layer of this method has no packed form, and what to use instead; empty if it has one.
        cannot_pack_weights: The same of a layer that takes only the weights from this method, see `WeightsOnly`.
        rectify: Whether a real input passes a ReLU first; see `for_layer`.
        extent: Height and width of the layer's output; `None` for a linear layer, or if unknown.
        channels: The layer's input channels, over all groups. For a flattened map, its channels, not its features.

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
    cannot_pack_weights: str = ""
    rectify: bool = False
    extent: tuple[int, ...] | None = None
    channels: int = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = held_to_annotations(cls.__init__)

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
            rectify: Whether the layer's block has no other non-linearity. A real input then passes a ReLU first.
                Without it, a float network of batch norms and convolutions would be a linear map.
            extent: Height and width of a convolution's output, if the network's table gives them.
            channels: Input channels, if they differ from I: for a convolution with groups, or a flattened map.
        """
        bound = copy.deepcopy(self)
        bound.rectify, bound.extent, bound.channels = rectify, extent, channels or weight.shape[1]
        with _own_generator(weight):
            bound.setup(weight)
        return bound

    def setup(self, weight: Tensor) -> None:
        """Create the method's parameters and buffers for one layer, such as a scale; does nothing by default.

        Use an `nn.Parameter` for a learned value, and a buffer for a value that a schedule or a first batch sets. Both
        are saved.

        Args:
            weight: The layer's latent weights, freshly initialised.
        """

    def post_layer(self, outputs: int) -> nn.Module | None:
        """A module that the method puts after its layer; None by default.

        If a max pool directly follows the layer, a built network puts the module after the pool, where the map is a
        quarter as large. The result stays the same, because these modules (such as a PReLU) are monotonic. If its
        parameters must stay in a range, make it a `PostLayer`, whose hook `attach` calls too.

        Args:
            outputs: The layer's output channels or features.
        """
        return None

    # --- training ---------------------------------------------------------------------------------------------------
    def weight(self, weight: Tensor) -> Tensor:
        """The weights of the training forward, differentiable with respect to the latent weights."""
        return weight

    def input(self, x: Tensor) -> Tensor:
        """The inputs of the training forward; for real inputs `relu(x)` or `x`."""
        return F.relu(x) if self.rectify else x

    def rescale(self, y: Tensor, x: Tensor, window: Window | None) -> Tensor:
        """The layer's output before its bias, times a scale that depends on the position; the same in both modes.

        Args:
            y: The convolution's output, `(N, O, H', W')`, or `(N, O)` of a linear layer.
            x: The layer's input before quantisation, `(N, I, H, W)` or `(N, I)`.
            window: Window of the convolution; `None` for a linear layer.
        """
        return y

    def bias(self, bias: Tensor) -> Tensor:
        """The bias to add; the same in both modes.

        Args:
            bias: `(O,)`.
        """
        return bias

    def output(self, y: Tensor) -> Tensor:
        """The layer's result, including its bias; the same in both modes.

        A method may put a quantiser of the gradient here, whose forward is the identity. A method that changes the
        result has no packed form; a module of `post_layer` may have one.

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
        """Whether both operands are integer codes, so that every sum in evaluation is an integer."""
        return self.weight_bits < 32 and self.input_bits < 32

    @property
    def real(self) -> bool:
        """Whether weights and inputs stay reals, as in a float twin."""
        return self.weight_bits == self.input_bits == 32

    # --- hooks ------------------------------------------------------------------------------------------------------
    @property
    def tends(self) -> bool:
        """Whether any hook after a step does anything, a post layer's too, so that a training loop must call them."""
        own = type(self)
        return (own.after_step, own.after_bias_step) != (Binarizer.after_step, Binarizer.after_bias_step)

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Fit the method's learned parameters to the weights; does nothing by default.

        Call it for a layer that starts from trained weights. The fit is least squares: the scale of codes `c` becomes
        `<W, c> / <c, c>`. A scale that is computed from the weights (alpha) needs no fit.

        Args:
            weight: The layer's latent weights, `(O, I, kh, kw)` or `(O, I)`.
        """

    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        """Change the latent weights in place after an optimizer step (centre, clamp); does nothing by default.

        Args:
            weight: The layer's latent weights, `(O, I, kh, kw)` or `(O, I)`.
        """

    @torch.no_grad()
    def after_bias_step(self, bias: Tensor) -> None:
        """Change the bias in place after an optimizer step and after `after_step`; does nothing by default.

        Args:
            bias: `(O,)`.
        """

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Update the method's schedule at the start of epoch `epoch` of `epochs`; does nothing by default.

        A run that resumes within an epoch does not call it again. So keep in buffers what it sets.
        """

    def extra_repr(self) -> str:
        """The settings that differ from their defaults: `gradient='paper'`."""
        settings = inspect.signature(type(self)).parameters.values()
        found = ((each.name, self.__dict__.get(each.name, each.default), each.default) for each in settings)
        return ", ".join(f"{name}={value!r}" for name, value, default in found if value != default)


def input_signs_or_codes(binarizer: Binarizer, x: Tensor) -> Tensor:
    """The codes of a layer's input; of a method whose two values lie around a centre, their signs.

    Args:
        binarizer: The binarizer of the layer.
        x: Its input, `(N, C, H, W)` or `(N, C)`.
    """
    return binarizer.input_values(x).signs if binarizer.two_valued else binarizer.input_codes(x).values


_READ = 1024  # weights that distinguish a layer's random numbers from another layer's


@contextmanager
def _own_generator(weight: Tensor) -> Iterator[None]:
    """Random numbers of a layer's own in this block, which follow from the seed and from the layer's weights.

    They must not shift those of the next layer's weights, so that a pair starts alike. A network binds all of its
    layers at one state of the generator, which would give all of them the same numbers.
    """
    digest = hashlib.blake2b(torch.get_rng_state().numpy().tobytes(), digest_size=8)
    digest.update(str(tuple(weight.shape)).encode())
    if not weight.is_meta:
        # Signs, because the last bit of a weight differs between machines.
        digest.update((weight.detach().flatten()[:_READ] < 0).cpu().numpy().tobytes())
    seed = int.from_bytes(digest.digest(), "little")
    devices = [weight.device] if weight.is_cuda else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device.index].manual_seed(seed)
        yield
