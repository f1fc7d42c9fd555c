"""The networks that `build` makes: modules that map uint8 pixels to logits and know their binary layers by name."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Union

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.layers import BatchNorm1d, BinaryLayer
from xnorlit.models.network import Network

if TYPE_CHECKING:
    from xnorlit.models.design import Design


class Normalize(nn.Module):
    """`(pixels - mean) / std` per channel, uint8 `(N, 3, H, W)` to fp32, on the device of the pixels.

    Args:
        mean: Mean of each channel, 0 to 255.
        std: Standard deviation of each channel, in the same unit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """The normalised image, in the memory format of the pixels."""
        return (pixels - self.mean) / self.std


class DuplicateChannels(nn.Module):
    """All channels twice in a row: `(N, C, ...)` to `(N, 2C, ...)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Twice the channels, in the memory format of the input."""
        return torch.cat([x, x], dim=1)


class WholeNorm(BatchNorm1d):
    """A batch norm with one mean, one variance, one scale and one shift for all features of `(N, F)`.

    After the logits it changes neither their order nor the likeliest class; it scales them for the loss.

    Args:
        eps: Added to the variance.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__(1, eps=eps)

    @override
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.reshape(-1, 1)).view_as(input)


class BuiltNetwork(nn.Sequential):
    """A built network: uint8 pixels `(N, 3, S, S)` to logits `(N, classes)`.

    Attributes:
        network: The table or design it was built from.
        image_size: S, pixels.
        classes: Number of classes.
    """

    network: Union[Network, "Design"]
    image_size: int
    classes: int

    @property
    def name(self) -> str:
        """Name of its table or design."""
        return self.network.name

    @property
    def coupled(self) -> Network | None:
        """See `Network.coupled`."""
        return self.network.coupled

    def layers(self) -> Iterator[tuple[str, BinaryLayer]]:
        """The layers with a binarizer and their names, from the pixels to the logits."""
        yield from ((name, part) for name, part in self.named_modules() if isinstance(part, BinaryLayer))
