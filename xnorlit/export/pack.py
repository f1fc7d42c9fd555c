"""From a trained module to a packed file: weights to bits, everything between two signs to integer thresholds."""

import copy
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.numpy import save

from xnorlit.errors import UserError
from xnorlit.export.chain import Link, links
from xnorlit.export.int8 import int8_conv, int8_linear
from xnorlit.export.layers import packed_layer
from xnorlit.export.twice import without_twice
from xnorlit.fields import FieldError
from xnorlit.models import AlexNet
from xnorlit.output import atomic
from xnorlit.packed.document import document, parse
from xnorlit.packed.engine import METADATA
from xnorlit.packed.graph import Graph, Map
from xnorlit.packed.origin import Source


def pack(
    model: AlexNet,
    *,
    image_size: int,
    classes: Sequence[str],
    ends: Literal["float", "int8"] = "float",
    calibration: np.ndarray | None = None,
    crop: float = 1.0,
    squash: bool = False,
    source: Source | None = None,
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph and the tensors of a network, whose binary layers compute the evaluation forward's integers.

    Args:
        model: A built network; its mode and weights are left as they are.
        image_size: Side of the square image, pixels.
        classes: Names of the classes, in the order of the logits.
        ends: Whether the first and the last layer compute in fp32, or in 8 bits with some loss.
        calibration: For 8 bits, images that show how large the last layer's inputs become: uint8 `[N, S, S, 3]`.
        crop: Side of validation's central crop over the image's shorter side.
        squash: Whether it is that share of each side instead.
        source: Where the network comes from; random weights unless given.

    Raises:
        UserError: A layer cannot be packed; the message names it, says why and what to use instead.
    """
    model = copy.deepcopy(model).cpu().float().eval()
    without_twice(model)
    mean, std = (values.flatten().tolist() for values in (model.normalize.mean, model.normalize.std))
    at, layers, tensors = Map(image_size, image_size, 3), [], {}
    for link in links(model):
        layer, found = packed_layer(link, at)
        if ends == "int8" and layer.operand.form == "pixels" and layer.weights.form == "float":
            layer, found = int8_conv(layer, found, mean, std)
        elif ends == "int8" and link.reader is None and layer.operand.form == "reals" and layer.weights.form == "float":
            layer, found = int8_linear(layer, found, _inputs(model, link, calibration))
        layers.append(layer)
        tensors |= {f"{layer.name}.{name}": values for name, values in found.items()}
        at = layer.output(at)
    graph = Graph(
        network=model.network.name,
        image_size=image_size,
        mean=tuple(mean),
        std=tuple(std),
        crop=crop,
        squash=squash,
        classes=tuple(classes),
        layers=tuple(layers),
        source=source or Source(xnorlit=version("xnorlit")),
    )
    try:
        return parse(document(graph), tensors), tensors
    except FieldError as error:
        raise UserError(f"{model.network.name} cannot be packed: {error}. Check the checkpoint.") from None


@torch.no_grad()
def _inputs(model: AlexNet, link: Link, images: np.ndarray | None) -> np.ndarray:
    """What a layer reads on some images, behind its binarizer."""
    if images is None:
        raise UserError(f"{link.name} needs calibration images to be packed in int8. Give some of the training images.")
    seen: list[torch.Tensor] = []
    handle = link.layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for start in range(0, len(images), 32):
        model(torch.from_numpy(np.ascontiguousarray(images[start : start + 32])).permute(0, 3, 1, 2))
    handle.remove()
    return link.layer.binarizer.input_codes(torch.cat(seen)).values.numpy()


def write(path: Path | str, graph: Graph, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a packed network as one safetensors file, under a temporary name first.

    Args:
        path: The file; an existing one is replaced.
        graph: Goes into the metadata as JSON.
        tensors: By name.
    """
    with atomic.path(path) as unfinished:
        # Not by save_file: that file could be read by its owner alone, and a full disk would be no OSError.
        unfinished.write_bytes(save(dict(tensors), {METADATA: json.dumps(document(graph))}))
