"""A quick survey of an image set, for choosing a recipe."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xnorlit.data import sources
from xnorlit.data.sources import BetonFile, ImageFiles

_GLANCES = 64


@dataclass(frozen=True)
class Probe:
    """The result of a survey.

    Args:
        name: Name of the set.
        kind: "synthetic", "named", "tree" or "beton".
        shorter_side: Median over a sample of training images, in pixels.
        sizes: Smallest and largest (height, width) of the sample, by area.
        classes: Class names.
        counts: Samples of each split; the expected numbers if the set is not downloaded yet.
    """

    name: str
    kind: str
    shorter_side: int
    sizes: tuple[tuple[int, int], tuple[int, int]]
    classes: tuple[str, ...]
    counts: dict[str, int]


def probe(source: str, root: Path = Path("data"), *, need_val: bool = False) -> Probe:
    """Read the names of an image set and the headers of some images; download nothing.

    Args:
        source: A named set, a folder tree or .beton files.
        root: Folder of the named sets.
        need_val: Whether a set without val is refused.

    Raises:
        UserError: There is no such set, or it cannot be trained on.
    """
    named = sources.NAMED.get(source)
    if named and named.sizes:
        side = min(named.sizes[0])
        return Probe(source, "named", side, named.sizes, named.classes or tuple(named.wnids.values()), named.counts)
    found = sources.find(source, root, image_size=32, need_val=need_val)
    train = found.splits["train"]
    picked = np.linspace(0, len(train.listing) - 1, min(len(train.listing), _GLANCES)).astype(int)
    if isinstance(train, ImageFiles):
        shapes = [train.shape(index) for index in picked]
    elif isinstance(train, BetonFile):
        shapes = list(zip(train.beton.heights[picked].tolist(), train.beton.widths[picked].tolist(), strict=True))
    else:
        shapes = [(32, 32)]
    by_area = sorted(shapes, key=lambda shape: shape[0] * shape[1])
    return Probe(
        found.name,
        found.kind,
        int(np.median([min(shape) for shape in shapes])),
        (by_area[0], by_area[-1]),
        train.listing.classes,
        {split: len(part.listing) for split, part in found.splits.items() if split in ("train", "val")},
    )
