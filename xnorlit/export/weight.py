"""Size of a packed network's few-bit layers, and of the same layers in fp32."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xnorlit.packed.graph import Graph
from xnorlit.packed.layer import Layer


@dataclass(frozen=True)
class Weight:
    """Bytes of the layers with few-bit weights.

    Attributes:
        layers: Number of layers.
        kind: `binary` if each weight has one bit, `few-bit` if some have more.
        packed: Everything that the file holds for them: codes, thresholds, scales.
        float32: Their weights in fp32 and nothing else.
    """

    layers: int
    kind: str
    packed: int
    float32: int

    @property
    def ratio(self) -> float:
        """How many times smaller they are than in fp32."""
        return self.float32 / self.packed


def weigh(graph: Graph, tensors: Mapping[str, np.ndarray]) -> Weight:
    """Weighs a network's few-bit layers.

    Args:
        graph: The network.
        tensors: Tensors as in the file.
    """
    layers, packed, weights, kind = 0, 0, 0, "binary"
    flows = graph.flows()
    for node in graph.steps:
        layer, at = node.op, flows[node.inputs[0]].map
        if isinstance(layer, Layer) and layer.weights.form == "planes":
            layers += 1
            kind = kind if len(layer.weights.factors) == 1 else "few-bit"
            packed += sum(values.nbytes for name, values in tensors.items() if name.rpartition(".")[0] == layer.name)
            weights += layer.outputs * math.prod(layer.looks(at).kernel) * at.channels // layer.groups
    return Weight(layers, kind, packed, 4 * weights)
