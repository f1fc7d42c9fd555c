"""Whether runs were trained and evaluated on the same images. A path says where images are, not which they are."""

from pathlib import Path
from typing import Any

import numpy as np

from xnorlit.runs import Images, Run

SOURCE, HOLDOUT = "data.source", "data.holdout"


def sources(first: Run, other: Run) -> tuple[Any, Any]:
    """Values to compare as two runs' `data.source`: equal if both had the same training and validation images.

    What the runs recorded of their images decides. An earlier version recorded nothing; then the last names of the
    paths decide. With different `data.holdout` the images differ too, but that key says so itself.

    Args:
        first: A run whose configuration has the key.
        other: Another one.
    """
    ours, theirs = (run.flat_config[SOURCE] for run in (first, other))
    images = [run.summary.images for run in (first, other) if run.summary.images]
    if len(images) < 2 or first.flat_config.get(HOLDOUT) != other.flat_config.get(HOLDOUT):
        return (ours, ours) if Path(str(ours)).name == Path(str(theirs)).name else (ours, theirs)
    if images[0] == images[1]:
        return ours, ours
    different = [split for split in images[0] if images[0][split] != images[1][split]]
    a, b = ("; ".join(_described(split, of[split]) for split in different) for of in images)
    return f"{ours}: {a}", f"{theirs}: {b}"


def evaluated_differently(first: Run, other: Run) -> str:
    """How two runs were evaluated differently, such as `on different images (...)`; empty if on the same images.

    Args:
        first: A run.
        other: Another one.
    """
    a, b = first.predictions, other.predictions
    if a.classes != b.classes:
        how = "classes in a different order" if set(a.classes) == set(b.classes) else "different classes"
        return f"on {how} ({_some(a.classes)} and {_some(b.classes)})"
    if (a.listing_sha256, a.split) != (b.listing_sha256, b.split):
        return (
            f"on different images ({a.source}, {a.split}, listing {a.listing_sha256[:12]}; "
            f"{b.source}, {b.split}, listing {b.listing_sha256[:12]})"
        )
    if not np.array_equal(a.index, b.index):
        return f"on different parts of one listing ({len(a):,} and {len(b):,} images)"
    if not np.array_equal(a.label, b.label):
        return "with different labels for the same images, so one file is damaged"
    return ""


def _described(split: str, images: Images) -> str:
    content = f", files {images.content[:12]}" if images.content else ""
    return f"{images.samples:,} {split} images, listing {images.sha256[:12]}{content}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f", ... {len(names)}" if len(names) > 3 else "")
