"""Crop box, shift and flip of a sample, as a pure function of (seed, epoch, index).

Every backend renders the same rows of `PLACEMENT`, so a sample gets the same augmentation from FFCV, a folder or
memory, with any number of workers, in both arms of a pair, and after a resume.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xnorlit.data import counter
from xnorlit.data.pictures import central, part
from xnorlit.errors import UserError

PLACEMENT = np.dtype(
    [
        ("index", "<i8"),  # the sample's position in the file or listing that is read
        ("top", "<i4"),  # the box of the source image that becomes size x size ...
        ("left", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("down", "<i4"),  # ... then the window moves by this much over the padded result ...
        ("right", "<i4"),
        ("flip", "<i4"),  # ... and is mirrored left to right if this is 1
    ],
    align=True,
)
_PURPOSE = 2  # keeps the augmentation's numbers apart from the order's
_FLIP_DRAW = 0
_CROP_DRAW = 1


class Sizes(NamedTuple):
    """Heights and widths of source images, int64 [N] each."""

    heights: NDArray[np.int64]
    widths: NDArray[np.int64]


class Draws(NamedTuple):
    """The random numbers of N samples in one epoch."""

    key: int
    indices: NDArray[np.int64]

    def uniform(self, draw: int) -> NDArray[np.float64]:
        """Number `draw` of each sample, uniform in [0, 1), float64 [N]."""
        return counter.uniform(self.key, self.indices, draw)

    def integer(self, draw: int, count: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Number `draw` of each sample, uniform in 0..count-1, int64 [N]."""
        return (self.uniform(draw) * count).astype(np.int64)


class Crop(ABC):
    """Fill the box and shift of placements; a new crop is one subclass."""

    reflect: bool = False
    """Whether the outside of a shifted image is filled with its mirror image instead of zeros."""

    @abstractmethod
    def place(self, rows: NDArray[np.void], draws: Draws, sizes: Sizes) -> None:
        """Write top, left, height and width, and also down and right if the window moves.

        Args:
            rows: `PLACEMENT` [N], zero except `index`.
            draws: Random numbers of these samples; draw 0 is for the flip.
            sizes: Sizes of the source images.
        """


@dataclass(frozen=True)
class CentreCrop(Crop):
    """The middle of the image.

    Args:
        ratio: Side of the box over the shorter side; 224/256 = 0.875 reads "resize the shorter side to 256, cut 224".
        squash: Take `ratio` of both sides instead, which changes the aspect ratio ("resize to 256 x 256, cut 227").
    """

    ratio: float = 1.0
    squash: bool = False

    def __post_init__(self) -> None:
        _check_ratio(self, self.ratio)

    def place(self, rows: NDArray[np.void], draws: Draws, sizes: Sizes) -> None:
        """Write the central box."""
        box = central(sizes.heights, sizes.widths, self.ratio, self.squash)
        rows["top"], rows["left"], rows["height"], rows["width"] = box


@dataclass(frozen=True)
class RandomCrop(Crop):
    """A box of fixed relative size anywhere in the image, as allenai and jiecaoyu train.

    Args:
        ratio: Side of the box over the shorter side; 224/256 = 0.875 reads "resize the shorter side to 256, cut 224".
        squash: Take `ratio` of both sides instead, which changes the aspect ratio ("resize to 256 x 256, cut 227").
    """

    ratio: float = 0.875
    squash: bool = False

    def __post_init__(self) -> None:
        _check_ratio(self, self.ratio)

    def place(self, rows: NDArray[np.void], draws: Draws, sizes: Sizes) -> None:
        """Write a box at a random place."""
        rows["height"], rows["width"] = part(sizes.heights, sizes.widths, self.ratio, self.squash)
        _anywhere(rows, draws, sizes, _CROP_DRAW)


@dataclass(frozen=True)
class PadCrop(Crop):
    """The whole image, moved by up to `padding` pixels each way: the usual crop of 32-pixel images.

    Args:
        padding: Largest shift, in pixels of the result.
        reflect: Fill with the image's mirror image instead of zeros.
    """

    padding: int = 4
    reflect: bool = False

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise UserError(f"{self} has a negative padding. Expected the largest shift in pixels, 0 or more.")

    def place(self, rows: NDArray[np.void], draws: Draws, sizes: Sizes) -> None:
        """Write the central square and a shift of [-padding, padding] each way."""
        CentreCrop().place(rows, draws, sizes)
        rows["down"] = draws.integer(_CROP_DRAW, 2 * self.padding + 1) - self.padding
        rows["right"] = draws.integer(_CROP_DRAW + 1, 2 * self.padding + 1) - self.padding


@dataclass(frozen=True)
class ResizedCrop(Crop):
    """A box of random area and aspect, torchvision's RandomResizedCrop (Szegedy et al., 2015).

    Args:
        area: Range of the box's share of the image's area.
        aspect: Range of width over height, uniform in its logarithm.
    """

    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not (0 < self.area[0] <= self.area[1] <= 1 and 0 < self.aspect[0] <= self.aspect[1]):
            raise UserError(
                f"{self} allows no box. Expected 0 < area[0] <= area[1] <= 1 and 0 < aspect[0] <= aspect[1]."
            )

    _TRIES = 10  # torchvision's; afterwards the largest central box with an allowed aspect

    def place(self, rows: NDArray[np.void], draws: Draws, sizes: Sizes) -> None:
        """Writes, for each sample, the first of ten random boxes that fits into its image."""
        heights, widths = (side.astype(np.float64) for side in sizes)
        low, high = self.aspect
        rows["width"] = np.clip(np.round(heights * high), 1, widths)
        rows["height"] = np.clip(np.round(widths / low), 1, heights)
        rows["top"] = (sizes.heights - rows["height"]) // 2
        rows["left"] = (sizes.widths - rows["width"]) // 2

        left = np.arange(len(rows))
        for attempt in range(self._TRIES):
            first = _CROP_DRAW + 4 * attempt
            some = Draws(draws.key, draws.indices[left])
            area = heights[left] * widths[left] * (self.area[0] + (self.area[1] - self.area[0]) * some.uniform(first))
            aspect = np.exp(np.log(low) + np.log(high / low) * some.uniform(first + 1))
            width, height = np.round(np.sqrt(area * aspect)), np.round(np.sqrt(area / aspect))
            fits = (width > 0) & (width <= widths[left]) & (height > 0) & (height <= heights[left])
            chosen = left[fits]
            placed = rows[chosen]
            placed["width"], placed["height"] = width[fits], height[fits]
            fitting = Draws(draws.key, draws.indices[chosen])
            _anywhere(placed, fitting, Sizes(sizes.heights[chosen], sizes.widths[chosen]), first + 2)
            rows[chosen] = placed
            left = left[~fits]
            if not len(left):
                break


@dataclass(frozen=True)
class View:
    """The crop, flip and size of a split's samples.

    Args:
        crop: The crop.
        flip: Mirror half of the samples left to right.
        size: Height and width of the result in pixels.
        seed: The run's seed.
    """

    crop: Crop
    flip: bool
    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.crop, PadCrop) and self.crop.padding >= self.size:
            raise UserError(f"{self.crop} moves the image out of its {self.size} pixels. Expected a smaller padding.")

    def place(self, indices: NDArray[np.int64], epoch: int, sizes: Sizes) -> NDArray[np.void]:
        """Placements `PLACEMENT` [N]: row i depends on (seed, epoch, indices[i], sizes[i]) only.

        Args:
            indices: Positions of samples.
            epoch: Number of the epoch, from 0.
            sizes: Sizes of these samples' source images.
        """
        draws = Draws(counter.key(self.seed, epoch, _PURPOSE), indices)
        rows = np.zeros(len(indices), PLACEMENT)
        rows["index"] = indices
        self.crop.place(rows, draws, sizes)
        if self.flip:
            rows["flip"] = draws.uniform(_FLIP_DRAW) < 0.5
        return rows


def _check_ratio(crop: Crop, ratio: float) -> None:
    if not 0 < ratio <= 1:
        raise UserError(f"{crop} is not within the image. Expected a ratio of more than 0 and at most 1.")


def _anywhere(rows: NDArray[np.void], draws: Draws, sizes: Sizes, draw: int) -> None:
    rows["top"] = draws.integer(draw, sizes.heights - rows["height"] + 1)
    rows["left"] = draws.integer(draw + 1, sizes.widths - rows["width"] + 1)
