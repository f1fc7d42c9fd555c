"""A packed network with random weights, for measuring size and speed only."""

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
    """Pack a network with its seed's initial weights and the XNOR binarizer.

    Args:
        name: Name of the network.
        ends: Whether the first and the last layer compute in fp32 or in 8 bits.
        seed: Seed of the weights.
        classes: Number of classes; default: see `create`.
        image_size: Side of the images, pixels; default: the network's own.

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
