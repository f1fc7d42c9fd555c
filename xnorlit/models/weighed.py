"""What a network weighs and costs for one image: the records of its layers and their totals."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from typing_extensions import override

from xnorlit.models.summary_table import table

if TYPE_CHECKING:
    from xnorlit.models.cost import Cycles

REAL = 32  # bits of an fp32 number, and of an operand that a binarizer keeps real


@dataclass(frozen=True)
class LayerSummary:
    """One convolution or linear layer, with everything up to the next one.

    Attributes:
        name: Name of its block.
        weight: Shape of the weights, `(O, I, kh, kw)` or `(O, I)`.
        output: Shape of the output for one image, `(O, H', W')` or `(O,)`.
        weight_bits: Bits of a weight code, 32 for a real weight.
        input_bits: Bits of an input code.
        macs: Multiply-adds for one image.
        parameters: Trained numbers of the layer and of the norms and other modules up to the next layer.
        packed_bits: Bits of the same parameters in a packed file, see `Summary.packed_bits`.
        inputs: Numbers that it reads for one image.
    """

    name: str
    weight: tuple[int, ...]
    output: tuple[int, ...]
    weight_bits: int
    input_bits: int
    macs: int
    parameters: int
    packed_bits: int
    inputs: int

    @property
    def weights(self) -> int:
        """Number of weights, without the bias."""
        return torch.Size(self.weight).numel()

    @property
    def few_bit_macs(self) -> int:
        """Multiply-adds of codes with codes, which a packed engine computes on bits."""
        return self.macs if max(self.weight_bits, self.input_bits) < REAL else 0

    @property
    def bops(self) -> int:
        """Multiply-adds of signs with signs for one image."""
        return self.macs if self.weight_bits == self.input_bits == 1 else 0

    @property
    def ace(self) -> int:
        """Multiply-adds for one image, times the bits of weight and input."""
        return self.macs * self.weight_bits * self.input_bits

    @property
    def activation_bits(self) -> int:
        """Bits of what it reads for one image."""
        return self.inputs * self.input_bits

    @property
    def float_bits(self) -> int:
        """Bits of its trained parameters in fp32."""
        return REAL * self.parameters

    @property
    def figures(self) -> dict[str, int]:
        """What a network's total adds up, by name; sizes in bits."""
        return {
            "weights": self.weights,
            "parameters": self.parameters,
            "few_bit_macs": self.few_bit_macs,
            "float_macs": self.macs - self.few_bit_macs,
            "bops": self.bops,
            "ace": self.ace,
            "code_bits": self.weight_bits * self.weights,
            "fp32_bits": self.float_bits,
            "packed_bits": self.packed_bits,
        }


@dataclass(frozen=True)
class Summary:
    """The summary of a network; it prints as a table.

    Attributes:
        layers: Convolutions and linear layers, from the pixels to the logits.
        folded: Whether packed sizes fold everything between two layers, as a packed file does, or count it in fp32.
    """

    layers: tuple[LayerSummary, ...]
    folded: bool = True

    @override
    def __str__(self) -> str:
        return table(self)

    __repr__ = __str__  # so that a notebook shows the table

    @property
    def parameters(self) -> int:
        """Number of all trained values."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def binary_weights(self) -> int:
        """Number of weights whose code has one bit."""
        return sum(layer.weights for layer in self.layers if layer.weight_bits == 1)

    @property
    def float_bits(self) -> int:
        """Bits of all trained parameters in fp32."""
        return REAL * self.parameters

    @property
    def bops(self) -> int:
        """Binary operations for one image: multiply-adds of signs with signs, each counted once.

        Source: ReActNet, arXiv 2003.03488, where OPs = BOPs / 64 + FLOPs.
        """
        return sum(layer.bops for layer in self.layers)

    @property
    def ace(self) -> int:
        """Arithmetic computation effort for one image: multiply-adds times the bits of weight and input.

        Reals count with 32 bits. Source: PokeBNN, arXiv 2112.00133.
        """
        return sum(layer.ace for layer in self.layers)

    @property
    def weight_bits(self) -> int:
        """Bits of all weights in their codes."""
        return sum(layer.weight_bits * layer.weights for layer in self.layers)

    @property
    def largest_activation(self) -> LayerSummary:
        """The layer that reads the most bits for one image, `activation_bits`."""
        return max(self.layers, key=lambda layer: layer.activation_bits)

    @property
    def packed_bits(self) -> int:
        """Bits of the network in a packed file.

        - Each weight takes the bits of its code; twice if the outputs are duplicated (BinaryDuo's decoupled networks).
        - If the next layer reads codes, everything before it (alpha, bias, norm, ReLU) is folded into a 32-bit
          threshold between each code and the next. Codes of k bits add k bits for the first code and for each
          threshold. This holds per channel, and per position if a norm after a flattening distinguishes them.
        - If a layer leads to real numbers, everything is folded into a scale and a shift in fp32, with one more of each
          for a norm after a ReLU.
        - Real weights are in fp32.

        For a network without codes, which has no packed file, it is the size of the trained parameters.
        """
        return sum(layer.packed_bits for layer in self.layers)

    @property
    def binary_packed_bits(self) -> int:
        """The part of `packed_bits` in layers with one-bit weights, including everything up to the next layer."""
        return sum(layer.packed_bits for layer in self.layers if layer.weight_bits == 1)

    @property
    def total(self) -> dict[str, int]:
        """The sum of each of the layers' `figures`."""
        return {key: sum(layer.figures[key] for layer in self.layers) for key in self.layers[0].figures}

    def cycles(self, *, unfolding: int = 1, copies: int = 1, clock: float | None = None) -> "Cycles":
        """The cycles on an FPGA where every layer has its own hardware; see `xnorlit.models.cost`.

        Args:
            unfolding: Products of one output that each layer computes at once; a layer with fewer takes all of its own.
            copies: Outputs that each layer computes at once, likewise.
            clock: In MHz.
        """
        from xnorlit.models.cost import cycles  # Imported here, because it imports this module.

        return cycles(self, unfolding=unfolding, copies=copies, clock=clock)

    def to_json(self) -> dict[str, Any]:
        """The layers and the totals; sizes in bits."""
        return {
            "layers": [
                {
                    "name": layer.name,
                    "weight_shape": layer.weight,
                    "output_shape": layer.output,
                    "weight_bits": layer.weight_bits,
                    "input_bits": layer.input_bits,
                    **layer.figures,
                }
                for layer in self.layers
            ],
            "total": self.total | {"largest_activation_bits": self.largest_activation.activation_bits},
        }
