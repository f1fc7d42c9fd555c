"""Training of a user's own network: pixel normalisation, then any module, made binary."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from xnorlit.binarize import Binarizer
from xnorlit.binarize.float import Float
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer
from xnorlit.layers.convert import Activation, Norm, binarize_
from xnorlit.models import Normalize, matching

BODY = "body"  # the prefix of the user's module in the names of tensors


@dataclass(frozen=True)
class Conversion:
    """How the layers of a module become binary; see `binarize_`.

    Args:
        skip: Layers that stay real, by name or pattern.
        activation: Replacement of a ReLU in front of a sign: prelu, hardtanh or identity. keep replaces none, and
            refuses a layer whose signs would all be +1.
        norm: Binary layers that get a batch norm in front: pooled (those that read a pool), missing (also those without
            any), or keep (none, as in runs of earlier versions).
    """

    skip: list[str] = field(default_factory=list)
    activation: Activation = "prelu"
    norm: Norm = "keep"


class OwnNetwork(nn.Sequential):
    """uint8 pixels `(N, 3, S, S)` to logits `(N, classes)`: the normalisation, then a user's module as `body`.

    Attributes:
        name: Name of the network in messages and packed files.
    """

    name: str
    coupled = None

    @torch.no_grad()
    def check(self, classes: int, size: int) -> None:
        """Run the network on two black images.

        Args:
            classes: Number of classes.
            size: Side of the images, pixels.

        Raises:
            UserError: The network does not accept them, or does not return one logit per class.
        """
        pixels = torch.zeros(2, 3, size, size, dtype=torch.uint8, device=self.normalize.mean.device)
        try:
            logits = self.eval()(pixels)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"model.network: {self.name} does not accept fp32 images (N, 3, {size}, {size}): {first}. Change "
                "data.image_size, or the network."
            ) from error
        finally:
            self.train()
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != (2, classes):
            raise UserError(
                f"model.network: {self.name} returns {shape} for two images and {classes} classes. Expected "
                f"(2, {classes}): set the number of classes in model.network.init_args."
            )

    def layers(self) -> Iterator[tuple[str, BinaryLayer]]:
        """The binary layers, with their names in the user's module."""
        yield from ((name, part) for name, part in self.body.named_modules() if isinstance(part, BinaryLayer))


@dataclass(frozen=True)
class OwnSpec:
    """A user's module and the binarizers of its layers: all that `build` needs besides the images.

    `binarize_` converts a module without binary layers. In a module with binary layers, each layer that is not `Float`
    gets the binarizer. The same module therefore makes both arms of a pair.

    Args:
        make: A module, or a function that returns a freshly initialised one.
        binarizer: Binarizer of every convolution and linear layer that is not skipped.
        layers: Other binarizers for single layers, by name or pattern; the last match wins. Float keeps a layer real.
        conversion: Arguments of `binarize_`.
    """

    make: Callable[[], nn.Module] | nn.Module
    binarizer: Binarizer
    layers: Mapping[str, Binarizer] = field(default_factory=dict)
    conversion: Conversion = field(default_factory=Conversion)

    image_size = None

    def build(
        self,
        *,
        classes: int,
        image_size: int | None = None,
        mean: Sequence[float] = (127.5, 127.5, 127.5),
        std: Sequence[float] = (127.5, 127.5, 127.5),
    ) -> OwnNetwork:
        """The network. The module's weights are initialised before the binarizer's parameters.

        Args:
            classes: Unused; the module's own arguments determine it, see `OwnNetwork.check`.
            image_size: Unused.
            mean: Mean of each channel, 0 to 255.
            std: Standard deviation of each channel, 0 to 255.

        Raises:
            UserError: `make` gives no module, or a layer of the module cannot be binary.
        """
        try:
            body = self.make if isinstance(self.make, nn.Module) else self.make()
        except Exception as error:  # A user's own constructor may raise anything.
            raise UserError(
                f"model.network could not be created: {type(error).__name__}: {error}. Check its __init__ and "
                "model.network.init_args; --debug shows the traceback."
            ) from error
        if not isinstance(body, nn.Module):
            raise UserError(f"model.network is a {type(body).__name__}. Expected a torch.nn.Module.")
        held = {name: part for name, part in body.named_modules() if isinstance(part, BinaryLayer)}
        if held:
            chosen = {name: part.binarizer for name, part in held.items() if not isinstance(part.binarizer, Float)}
            chosen = dict.fromkeys(chosen, self.binarizer)
            for pattern, other in self.layers.items():
                chosen.update(dict.fromkeys(matching(list(held), type(body).__name__, pattern, "model.layers"), other))
            for name, binarizer in chosen.items():
                held[name].bind(binarizer)
        else:
            settings = self.conversion
            binarize_(
                body,
                self.binarizer,
                skip=settings.skip,
                layers=self.layers,
                activation=settings.activation,
                norm=settings.norm,
            )
        net = OwnNetwork()
        net.name = type(body).__name__
        net.add_module("normalize", Normalize(mean, std))
        net.add_module(BODY, body)
        return net
