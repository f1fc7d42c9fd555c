"""A packed network with random weights: as large and as fast as a trained one, and good for nothing else."""

from importlib.metadata import version
from typing import Literal

import numpy as np
import torch

from xnorlit.export.pack import Packed, pack
from xnorlit.models import SMALL_IMAGE, create
from xnorlit.packed.origin import Source


def random_network(
    name: str,
    ends: Literal["float", "int8"],
    seed: int = 0,
    *,
    classes: int | None = None,
    image_size: int | None = None,
) -> Packed:
    """A packed network with the initial weights of its seed and the binarizer XNOR.

    Args:
        name: Of the network.
        ends: Whether the first and the last layer compute in fp32 or in 8 bits.
        seed: Of the weights.
        classes: Number of classes; default: see `create`.
        image_size: Side of the images, pixels; the network's own unless given.

    Raises:
        UserError: There is no such network, or it cannot be packed.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = create(name, binarizer="XNOR", classes=classes, image_size=image_size)
    size = model.image_size
    names = [f"class {i}" for i in range(model.classes)]
    noise = np.random.default_rng(seed).integers(0, 256, (16, size, size, 3), np.uint8)
    source = Source("random", xnorlit=version("xnorlit"))
    crop = 224 / 256 if size > SMALL_IMAGE else 1.0
    return pack(model, image_size=size, classes=names, ends=ends, calibration=noise, crop=crop, source=source)
