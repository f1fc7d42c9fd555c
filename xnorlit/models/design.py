"""A network written as modules, for what no table of blocks can say: shortcuts and branches."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from xnorlit.binarize import Binarizer
from xnorlit.binarize.float import Float
from xnorlit.errors import UserError
from xnorlit.layers import AdaptiveAvgPool2d, BinaryConv2d, Linear
from xnorlit.models.built import BuiltNetwork, Normalize
from xnorlit.models.choice import overridden


class Parts:
    """What a design is composed of beside torch's modules: its binary layers and the activations between them.

    Args:
        binarizer: The network's.
        classes: Number of classes.
    """

    def __init__(self, binarizer: Binarizer, classes: int) -> None:
        self.classes = classes
        self._binarizer = binarizer

    def conv(self, inputs: int, outputs: int, kernel: int = 3, *, activated: bool, **window: Any) -> BinaryConv2d:
        """A convolution that gets the network's binarizer once the network is composed; until then it is real.

        Args:
            inputs: Input channels.
            outputs: Output channels.
            kernel: Side of the kernel.
            activated: Whether there is a non-linearity between the layer before and this one. Without one a real
                input passes a ReLU first, so that the float twin is not linear.
            window: `stride`, `padding` and `padding_mode`.
        """
        window = {"padding": kernel // 2, **window}
        return BinaryConv2d(
            inputs,
            outputs,
            kernel,
            bias=False,
            binarizer="Float",
            rectify=not activated,
            post_layer=False,
            **window,
        )

    def activation(self, channels: int, own: Callable[[], nn.Module] = nn.Identity) -> nn.Module:
        """What stands behind a sum: what the binarizer puts behind its layers, or else the network's own activation.

        ReActNet's RPReLU and AdaBin's Maxout thus take the place of a hardtanh.

        Args:
            channels: Of the sum.
            own: Makes the network's own.
        """
        # A copy: a binarizer has one such module, and each sum needs its own.
        found = copy.deepcopy(self._binarizer).post_layer(channels)
        return own() if found is None else found


@dataclass(frozen=True)
class Design:
    """A network as a function that composes its modules.

    A binarizer's own shortcut is left out of it, and what the binarizer puts behind its layers stands behind the sums
    instead, as `Parts.activation` says: published networks normalise before they add, and activate after it.

    Args:
        name: What `--model.network` calls it.
        image_size: Side in pixels of the images it was made for.
        source: Where it comes from.
        compose: Gives the modules by name, from the normalised pixels to the logits.
        initialise: Sets the weights of the composed network; torch's own initialisation unless given.
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
    """A network of a design: uint8 pixels `(N, 3, S, S)` to logits `(N, classes)`."""


def choose_layers(design: Design, binarizer: Binarizer, layers: Mapping[str, Binarizer]) -> dict[str, Binarizer]:
    """A binarizer, still unbound, for every binary layer by name, see `choose`."""
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
    """The module of a design, with fresh weights from torch's global generator; see `build`."""
    chosen = choose_layers(design, binarizer, layers)
    outputs = _outputs(design, image_size)
    model = _composed(design, binarizer, classes, mean, std)
    model.image_size = image_size
    model.classes = classes
    if design.initialise is not None:
        with torch.no_grad():
            design.initialise(model)
    for name, layer in model.layers():
        own = chosen[name]
        if own.shortcut:
            own = copy.deepcopy(own)
            own.shortcut = False
        layer.rounds_once = True
        layer.bind(own, rectify=layer.binarizer.rectify, extent=outputs[name][1:])
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
    """Shape of each binary layer's output for one image, by its name, found without any numbers."""
    found: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"), torch.no_grad():
        model = _composed(design, Float(), 2, (0.0,) * 3, (1.0,) * 3).eval()
        names: dict[nn.Module, str] = {layer: name for name, layer in model.layers()}

        def note(layer: nn.Module, _: Any, y: Tensor) -> None:
            found[names[layer]] = tuple(y.shape[1:])

        for layer in names:
            layer.register_forward_hook(note)
        try:
            model(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8))
        except RuntimeError as error:
            raise UserError(
                f"{design.name} does not take images of {image_size} pixels ({str(error).splitlines()[0]}). Give "
                f"larger ones, or a multiple of 32, such as {design.image_size} (data.image_size)."
            ) from error
    return found


# --- modules that several families share ------------------------------------------------------------------------------
class Unit(nn.Module):
    """`y = activation(norm(conv(x)) + shortcut(x))`: a shortcut around one convolution.

    Args:
        conv: The binary convolution.
        norm: Behind it.
        shortcut: Brings x to the shape of the norm's output.
        activation: Behind the sum.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.shortcut, self.activation = conv, norm, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        """The unit's result, a map."""
        return self.activation(self.norm(self.conv(x)) + self.shortcut(x))


class Stem(nn.Sequential):
    """The real layers in front of the binary ones: a convolution and a norm, then what is given.

    Args:
        conv: Reads the pixels.
        norm: Behind it.
        others: Further modules by name.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module, **others: nn.Module) -> None:
        super().__init__()
        for name, module in {"conv": conv, "norm": norm, **others}.items():
            self.add_module(name, module)


def head(channels: int, classes: int, *, norm: nn.Module | None = None) -> dict[str, nn.Module]:
    """Global average and a real linear layer, with a norm between them if one is given."""
    between = {} if norm is None else {"norm": norm}
    average = {"average": AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return {**average, **between, "fc": Linear(channels, classes)}
