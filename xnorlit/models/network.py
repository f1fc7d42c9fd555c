"""A network as data: a table of blocks for the builder."""

from dataclasses import dataclass, field
from typing import Literal

from xnorlit.errors import UserError

Init = Literal["he", "narrow", "fixed", "both-fans", "glorot", "torch", "unit"]
LAYERS = ("conv", "linear")
SMALL_IMAGE = 64
"""Image sets with sides up to this many pixels usually have 10 classes; larger ones have 1,000."""
STEPS = (
    "norm",
    "whole-norm",
    "relu",
    "prelu",
    "clip",
    "lrn",
    "dropout",
    "pool",
    "average",
    "flatten",
    "twice",
    *LAYERS,
)


@dataclass(frozen=True)
class Block:
    """One layer and the operations around it, in the order of `steps`.

    Args:
        name: Name of the block and of its layer in overrides, checkpoints and tables.
        steps: Words out of `norm whole-norm relu prelu clip lrn dropout pool average flatten twice conv linear`,
            applied left to right; one of them is the layer (`conv` or `linear`). `prelu` has a slope for each channel,
            `clip` clips to [0, 1], `lrn` is the local response normalisation of Krizhevsky 2012, `average` pools any
            map to 6 x 6, `twice` appends a copy of all channels, and `whole-norm` is a norm with one mean and one
            variance for all features.
        outputs: Output channels or features; `None` for the number of classes.
        kernel: Side of the convolution's kernel.
        stride: Stride of the convolution.
        padding: Zeros on each side of the convolution's input.
        groups: Groups of the convolution.
        pool: Side and stride of the max pool.
        pool_padding: Padding of the max pool, which is never the maximum.
        eps: Epsilon of the batch norm.
        bias: Whether the layer has a bias.
        bias_start: Initial value of the bias.
        dropout: Probability of the `dropout` step; whole channels where the input is a map.
        input_dropout: Probability that training zeroes a quantised input of the layer.
        binary: Whether the network's binarizer applies to the layer; otherwise it stays float. `weights` applies it to
            the weights only, for a layer that reads pixels.
    """

    name: str
    steps: str
    outputs: int | None = None
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    pool: tuple[int, int] = (3, 2)
    pool_padding: int = 0
    eps: float = 1e-5
    bias: bool = True
    bias_start: float = 0.0
    dropout: float = 0.5
    input_dropout: float = 0.0
    binary: bool | Literal["weights"] = True

    def __post_init__(self) -> None:
        words = self.steps.split()
        unknown = [word for word in words if word not in STEPS]
        if unknown or sum(word in LAYERS for word in words) != 1:
            raise UserError(
                f"block {self.name}: steps {self.steps!r} must be words out of {' '.join(STEPS)} "
                "with exactly one conv or linear"
            )

    @property
    def layer(self) -> str:
        """Kind of its layer, which is also the layer's name in the block."""
        return next(word for word in self.steps.split() if word in LAYERS)


@dataclass(frozen=True)
class Network:
    """A table of blocks with settings that all of them share.

    Args:
        name: Its name for `--model.network`.
        image_size: Side in pixels of the images it was designed for.
        source: Source of the table.
        blocks: Blocks from the pixels to the logits.
        init: Initialisation of the weights, see `xnorlit.models.initial`.
        gamma: Whether a batch norm's scale starts at 1 (`ones`), starts from U(0, 1) (`uniform`) or is absent (`none`).
        coupled: The network whose trained weights this one may start from, with its inputs decoupled; see
            `xnorlit.models.decouple`.
    """

    name: str
    image_size: int
    source: str
    blocks: tuple[Block, ...] = field(repr=False)
    init: Init = "he"
    gamma: Literal["ones", "uniform", "none"] = "ones"
    coupled: "Network | None" = field(default=None, repr=False)

    @property
    def layer_names(self) -> list[str]:
        """The names of its layers, which equal those of its blocks."""
        return [block.name for block in self.blocks]
