"""Networks written as modules, for what a table of blocks cannot express: shortcuts and branches."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from xnorlit.binarize import Binarizer
from xnorlit.binarize.float import Float
from xnorlit.errors import UserError
from xnorlit.layers import AdaptiveAvgPool2d, BinaryConv2d, BinaryLayer, Linear
from xnorlit.layers.added import added
from xnorlit.models.built import BuiltNetwork, Normalize
from xnorlit.models.choice import overridden

REACH = 32  # how far from a refused image size another is looked for, pixels: the networks halve a map five times


class Parts:
    """Make the parts of a design that depend on the binarizer: binary layers and the activations between them.

    Args:
        binarizer: Binarizer of the network.
        classes: Number of classes.
    """

    def __init__(self, binarizer: Binarizer, classes: int) -> None:
        self.classes = classes
        self._binarizer = binarizer

    def conv(self, inputs: int, outputs: int, kernel: int = 3, *, activated: bool, **window: Any) -> BinaryConv2d:
        """A convolution that stays real until the composed network gets its binarizer.

        Args:
            inputs: Input channels.
            outputs: Output channels.
            kernel: Side of the kernel.
            activated: Whether a non-linearity separates the layer before from this one. Without one, a real input first
                passes a ReLU, so that the float twin is not linear.
            window: `stride`, `padding` and `padding_mode`.
        """
        window = {"padding": kernel // 2, **window}
        return BinaryConv2d(
            inputs, outputs, kernel, bias=False, binarizer="Float", rectify=not activated, post_layer=False, **window
        )

    def activation(self, channels: int, own: Callable[[], nn.Module] = nn.Identity) -> nn.Module:
        """The module after a sum: the binarizer's post layer if it has one, otherwise the network's own activation.

        ReActNet's RPReLU and AdaBin's Maxout thus replace a hardtanh. The network's binarizer decides, also for layers
        that get another one.

        Args:
            channels: Channels of the sum.
            own: Makes the network's own activation.
        """
        # A copy, because a binarizer may have one such module and each sum needs its own.
        found = copy.deepcopy(self._binarizer).post_layer(channels)
        return own() if found is None else added(found)


@dataclass(frozen=True)
class Design:
    """A network defined by a function that composes its modules.

    It omits a binarizer's own shortcut and places the binarizer's post layer after the sums (`Parts.activation`),
    because published networks normalise before they add and activate afterwards.

    Args:
        name: Its name for `--model.network`.
        image_size: Side in pixels of the images it was designed for.
        source: Its source.
        compose: Makes the modules by name, from the normalised pixels to the logits.
        initialise: Sets the weights of the composed network; default: torch's own initialisation.
    """

    name: str
    image_size: int
    source: str
    compose: Callable[[Parts], Mapping[str, nn.Module]] = field(repr=False)
    initialise: Callable[[nn.Module], None] | None = field(default=None, repr=False)

    coupled = None

    @property
    def layer_names(self) -> list[str]:
        """The names of the layers that get the binarizer."""
        return list(_outputs(self, self.image_size))


class DesignedNetwork(BuiltNetwork):
    """A network built from a design: uint8 pixels `(N, 3, S, S)` to logits `(N, classes)`."""


def choose_layers(design: Design, binarizer: Binarizer, layers: Mapping[str, Binarizer]) -> dict[str, Binarizer]:
    """An unbound binarizer for every binary layer, by name; see `choose`."""
    return overridden(dict.fromkeys(design.layer_names, binarizer), design.name, layers)


def composed(
    design: Design,
    binarizer: Binarizer,
    *,
    classes: int,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    layers: Mapping[str, Binarizer],
) -> DesignedNetwork:
    """Composes the module of a design, with fresh weights from torch's global generator; see `build`."""
    chosen = choose_layers(design, binarizer, layers)
    outputs = _outputs(design, image_size)
    model = _composed(design, binarizer, classes, mean, std)
    model.image_size = image_size
    model.classes = classes
    if design.initialise is not None:
        with torch.no_grad():
            design.initialise(model)
    # A float twin has no signs that the last bit could decide, and fp64 would take most of a validation's time.
    real = all(own.real for own in chosen.values())
    for name, layer in model.layers():
        own = chosen[name]
        if own.shortcut:
            own = copy.deepcopy(own)
            own.shortcut = False
        layer.rounds_once = not real
        layer.bind(own, extent=outputs[name][1:])
    return model


def _composed(
    design: Design, binarizer: Binarizer, classes: int, mean: Sequence[float], std: Sequence[float]
) -> DesignedNetwork:
    model = DesignedNetwork()
    model.network = design
    model.add_module("normalize", Normalize(mean, std))
    for name, module in design.compose(Parts(binarizer, classes)).items():
        model.add_module(name, module)
    return model


@lru_cache(maxsize=64)
def _outputs(design: Design, image_size: int) -> dict[str, tuple[int, ...]]:
    """Shape of each binary layer's output for one image, by name, found on the meta device."""
    found: dict[str, tuple[int, ...]] = {}
    running: list[str] = []  # names of the modules whose forward has begun and not ended
    with torch.device("meta"), torch.no_grad():
        model = _composed(design, Float(), 2, (0.0,) * 3, (1.0,) * 3).eval()

        def enter(name: str, _: nn.Module, __: Any) -> None:
            running.append(name)

        def leave(name: str, module: nn.Module, _: Any, y: Tensor) -> None:
            running.pop()
            if isinstance(module, BinaryLayer):
                found[name] = tuple(y.shape[1:])

        for name, module in model.named_modules():
            module.register_forward_pre_hook(partial(enter, name))
            module.register_forward_hook(partial(leave, name))
        try:
            model(_blank(image_size))
        except RuntimeError as error:
            at, why = running[-1], str(error).splitlines()[0].rstrip(".")
            sizes = " or ".join(map(str, _taken(model, image_size) or [design.image_size]))
            raise UserError(
                f"{design.name} does not take images of {image_size} pixels: they do not get through {at} ({why}). "
                f"Give images of {sizes} pixels (data.image_size); it was designed for {design.image_size}."
            ) from error
    return found


def _blank(image_size: int) -> Tensor:
    return torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)


def _taken(model: nn.Module, image_size: int) -> list[int]:
    """The nearest smaller size and the nearest larger one that a network on the meta device takes, if any is near."""

    def fits(size: int) -> bool:
        try:
            model(_blank(size))
        except RuntimeError:
            return False
        return True

    near = range(1, REACH + 1)
    sides = ([image_size - step for step in near if image_size > step], [image_size + step for step in near])
    return [size for side in sides if (size := next(filter(fits, side), None))]


# --- modules that several families share ------------------------------------------------------------------------------
class Unit(nn.Module):
    """`y = activation(norm(conv(x)) + shortcut(x))`: a shortcut around one convolution.

    Args:
        conv: The binary convolution.
        norm: The norm after it.
        shortcut: Maps x to the shape of the norm's output.
        activation: The activation after the sum.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.shortcut, self.activation = conv, norm, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, O, H', W')`."""
        return self.activation(self.norm(self.conv(x)) + self.shortcut(x))


class Stem(nn.Sequential):
    """The real layers before the binary ones: a convolution, a norm and any further modules.

    Args:
        conv: Reads the pixels.
        norm: The norm after it.
        others: Further modules by name.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module, **others: nn.Module) -> None:
        super().__init__()
        for name, module in {"conv": conv, "norm": norm, **others}.items():
            self.add_module(name, module)


def head(channels: int, classes: int, *, norm: nn.Module | None = None) -> dict[str, nn.Module]:
    """The classifier: global average, an optional norm and a real linear layer."""
    between = {} if norm is None else {"norm": norm}
    average = {"average": AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return {**average, **between, "fc": Linear(channels, classes)}
