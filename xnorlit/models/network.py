"""A network as data: a table of blocks that one builder reads."""

from dataclasses import dataclass, field
from typing import Literal

from xnorlit.errors import UserError

STEPS = ("norm", "relu", "dropout", "flatten", "pool", "conv", "linear")


@dataclass(frozen=True)
class Block:
    """One layer and what surrounds it, in the order of `steps`.

    Args:
        name: Name of the block and of its layer in overrides, checkpoints and tables.
        steps: Words out of `norm relu dropout flatten pool conv linear`, applied left to right; one of them is the
            layer (`conv` or `linear`).
        outputs: Output channels or features; `None` for the number of classes.
        kernel: Side of the convolution's kernel.
        stride: Step between the convolution's positions.
        padding: Zeros on each side of the convolution's input.
        groups: Groups of the convolution.
        pool: Side and stride of the max pool.
        eps: Epsilon of the batch norm.
        bias: Whether the layer has a bias.
        dropout: Probability of the `dropout` step; whole channels where the input is a map.
        input_dropout: Probability that training zeroes an input of the layer after it was quantised.
        binary: Whether the network's binarizer applies to the layer; otherwise it stays float.
    """

    name: str
    steps: str
    outputs: int | None = None
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    pool: tuple[int, int] = (3, 2)
    eps: float = 1e-5
    bias: bool = True
    dropout: float = 0.5
    input_dropout: float = 0.0
    binary: bool = True

    def __post_init__(self) -> None:
        words = self.steps.split()
        unknown = [word for word in words if word not in STEPS]
        if unknown or sum(word in ("conv", "linear") for word in words) != 1:
            raise UserError(
                f"block {self.name}: steps {self.steps!r} must be words out of {' '.join(STEPS)} "
                "with exactly one conv or linear"
            )


@dataclass(frozen=True)
class Network:
    """A table of blocks and what holds for all of them.

    Args:
        name: What `--model.network` calls it.
        image_size: Side in pixels of the images it was made for.
        source: Where its table comes from.
        blocks: From the pixels to the logits.
        init: Weights start normal with standard deviation `sqrt(2 / fan_in)` (`he`) or `2 / fan_in` (`narrow`), or
            uniform with deviation `sqrt(2 / (fan_in + fan_out))` (`glorot`) or `sqrt(1 / (3 fan_in))` (`torch`,
            the default of its layers).
        gamma: A batch norm's scale starts at 1 (`ones`), is drawn from U(0, 1) (`uniform`), or is absent (`none`).
    """

    name: str
    image_size: int
    source: str
    blocks: tuple[Block, ...] = field(repr=False)
    init: Literal["he", "narrow", "glorot", "torch"] = "he"
    gamma: Literal["ones", "uniform", "none"] = "ones"
