"""A packed network with random weights: as large and as fast as a trained one, and good for nothing else."""

from importlib.metadata import version
from typing import Literal

import numpy as np
import torch

from xnorlit.binarize.xnor import XNOR
from xnorlit.export.pack import Packed, pack
from xnorlit.models import build, network_named
from xnorlit.packed.origin import Source

_LARGE = 64  # pixels: networks for larger images get ImageNet's number of classes


def drawn_network(
    name: str,
    ends: Literal["float", "int8"],
    seed: int = 0,
    *,
    classes: int | None = None,
    image_size: int | None = None,
) -> Packed:
    """A network as it was initialised, with the binarizer XNOR.

    Args:
        name: Of the network.
        ends: Whether the first and the last layer compute in fp32 or in 8 bits.
        seed: Of the weights.
        classes: Number of classes; 1000 for a network of large images and 10 for others unless given.
        image_size: Side of the images, pixels; the network's own unless given.

    Raises:
        UserError: There is no such network, or it cannot be packed.
    """
    network = network_named(name)
    size = image_size or network.image_size
    names = [f"class {i}" for i in range(classes or (1000 if size > _LARGE else 10))]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(network, XNOR(), classes=len(names), image_size=size)
    noise = np.random.default_rng(seed).integers(0, 256, (16, size, size, 3), np.uint8)
    source = Source("random", xnorlit=version("xnorlit"))
    crop = 224 / 256 if size > _LARGE else 1.0
    return pack(model, image_size=size, classes=names, ends=ends, calibration=noise, crop=crop, source=source)
