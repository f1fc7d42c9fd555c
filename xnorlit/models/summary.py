"""What a network weighs and computes, layer by layer."""

from dataclasses import dataclass

import torch
from torch import nn

from xnorlit.layers import QuantLayer
from xnorlit.models.builder import AlexNet


@dataclass(frozen=True)
class LayerSummary:
    """One convolution or linear layer.

    Attributes:
        name: Name of its block.
        weight: Shape of the weights, `(O, I, kh, kw)` or `(O, I)`.
        output: Shape of the output for one image, `(O, H', W')` or `(O,)`.
        weight_bits: Bits of a weight code, 32 for a real weight.
        input_bits: Bits of an input code.
        macs: Multiply-adds for one image.
    """

    name: str
    weight: tuple[int, ...]
    output: tuple[int, ...]
    weight_bits: int
    input_bits: int
    macs: int

    @property
    def weights(self) -> int:
        """Number of weights, the bias not counted."""
        return torch.Size(self.weight).numel()


@dataclass(frozen=True)
class Summary:
    """A whole network.

    Attributes:
        layers: Convolutions and linear layers, from the pixels to the logits.
        parameters: Trained numbers, everything counted.
    """

    layers: tuple[LayerSummary, ...]
    parameters: int

    @property
    def binary_weights(self) -> int:
        """Number of weights whose code has one bit."""
        return sum(layer.weights for layer in self.layers if layer.weight_bits == 1)

    @property
    def float_bits(self) -> int:
        """Bits of all parameters as trained, in fp32."""
        return 32 * self.parameters

    @property
    def packed_bits(self) -> int:
        """Bits of all parameters with each weight in the bits of its code, everything else in fp32."""
        return self.float_bits - sum((32 - layer.weight_bits) * layer.weights for layer in self.layers)


@torch.no_grad()
def summarize(model: AlexNet, image_size: int) -> Summary:
    """Measures a network by one forward of one black image, in evaluation mode.

    Args:
        model: The network; its mode is left as it was.
        image_size: Side of the square image, pixels.
    """
    shapes: dict[QuantLayer, tuple[int, ...]] = {}

    def note(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        shapes[layer] = tuple(output.shape[1:])  # type: ignore[index]

    handles = [layer.register_forward_hook(note) for _, layer in model.layers()]
    training = model.training
    device = next(model.parameters()).device
    model.eval()(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8, device=device))
    model.train(training)
    for handle in handles:
        handle.remove()
    layers = tuple(
        LayerSummary(
            name,
            tuple(layer.weight.shape),
            shapes[layer],
            layer.binarizer.weight_bits,
            layer.binarizer.input_bits,
            layer.weight[0].numel() * torch.Size(shapes[layer]).numel(),
        )
        for name, layer in model.layers()
    )
    return Summary(layers, sum(parameter.numel() for parameter in model.parameters()))
