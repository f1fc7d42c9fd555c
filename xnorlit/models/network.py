"""A network as data: a table of blocks that one builder reads."""

from dataclasses import dataclass, field
from typing import Literal

from xnorlit.errors import UserError

Init = Literal["he", "narrow", "fixed", "both-fans", "glorot", "torch", "unit"]
LAYERS = ("conv", "linear")
SMALL_IMAGE = 64
"""Up to this side, in pixels, the usual image sets have 10 classes; above it, 1,000."""
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
    """One layer and what surrounds it, in the order of `steps`.

    Args:
        name: Name of the block and of its layer in overrides, checkpoints and tables.
        steps: Words out of `norm whole-norm relu prelu clip lrn dropout pool average flatten twice conv linear`,
            applied left to right; one of them is the layer (`conv` or `linear`). `prelu` has a slope for each channel,
            `clip` keeps values within [0, 1], `lrn` is the local response normalisation of Krizhevsky 2012, `average`
            a pool that leaves 6 x 6 whatever comes, `twice` puts a copy of all channels behind them, `whole-norm` is a
            norm with one mean and one variance for all features.
        outputs: Output channels or features; `None` for the number of classes.
        kernel: Side of the convolution's kernel.
        stride: Step between the convolution's positions.
        padding: Zeros on each side of the convolution's input.
        groups: Groups of the convolution.
        pool: Side and stride of the max pool.
        pool_padding: Border around the max pool's input that is never the largest.
        eps: Epsilon of the batch norm.
        bias: Whether the layer has a bias.
        bias_start: What the bias starts at.
        dropout: Probability of the `dropout` step; whole channels where the input is a map.
        input_dropout: Probability that training zeroes an input of the layer after it was quantised.
        binary: Whether the network's binarizer applies to the layer; otherwise it stays float. `weights` where it
            applies to the weights alone, for a layer that reads pixels.
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
        """The word of its layer, which is the layer's name in the block."""
        return next(word for word in self.steps.split() if word in LAYERS)


@dataclass(frozen=True)
class Network:
    """A table of blocks and what holds for all of them.

    Args:
        name: What `--model.network` calls it.
        image_size: Side in pixels of the images it was made for.
        source: Where its table comes from.
        blocks: From the pixels to the logits.
        init: How weights are initialised, see `xnorlit.models.initial`.
        gamma: A batch norm's scale starts at 1 (`ones`), is drawn from U(0, 1) (`uniform`), or is absent (`none`).
        coupled: The network whose trained weights this one may start from, its inputs taken apart; see
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
        """The names of its layers, which are those of its blocks."""
        return [block.name for block in self.blocks]
