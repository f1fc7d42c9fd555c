"""Validates a packed network in place of the module, so that the reported accuracy is its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.data import CentreCrop, ImageData
from xnorlit.data.sources import readable
from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.packed import PackedNetwork, load
from xnorlit.packed.graph import Graph
from xnorlit.training.evaluation import Evaluation


class PackedClassifier(Evaluation):
    """Evaluates a packed file on the packed engine, with all processors of this process.

    Args:
        file: What `xnorlit pack` wrote.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self.network = file, load(file)

    @override
    def configure_model(self) -> None:
        refuse_other_data(self.network.graph, self._data, self.file)
        self.count_right(self._data.num_classes)

    @property
    def _data(self) -> ImageData:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @override
    def forward(self, images: Tensor) -> Tensor:
        return on_engine(self.network, images).to(images.device)

    def say_what_the_file_says(self) -> None:
        """Print the accuracy that the file recorded when it was packed, for comparison with the new one."""
        graph = self.network.graph
        origin, accuracy = graph.source.words, graph.accuracy
        if accuracy is None:
            say("packed", f"{self.file}, {origin}: no accuracy was measured when it was packed")
            return
        same = accuracy.listing_sha256 == self._data.listing_hash("val")
        say(
            "packed",
            f"{self.file}, {origin}\nwhen it was packed: top-1 {100 * accuracy.top1:.2f} %, "
            f"top-5 {100 * accuracy.top5:.2f} % of {accuracy.images:,} images of {accuracy.data}, "
            f"{'the same ones' if same else 'OTHER images than these'}",
        )


def on_engine(network: PackedNetwork, images: Tensor) -> Tensor:
    """Logits of uint8 images, fp32 `(N, classes)` on the CPU.

    Args:
        network: The network; it runs on all processors of this process.
        images: `(N, 3, S, S)`.
    """
    return torch.from_numpy(network(images.permute(0, 2, 3, 1).cpu().numpy()))


def refuse_other_data(graph: Graph, data: ImageData, file: Path) -> None:
    """Refuse a packed network whose classes or image preparation differ from the data module's.

    Args:
        graph: The network.
        data: The data module, set up.
        file: The network's file, for the message.

    Raises:
        UserError: They differ; the message lists the values.
    """
    crop = data.val_crop
    central = (crop.ratio, crop.squash) if isinstance(crop, CentreCrop) else crop
    values = {
        "data.image_size": (graph.image_size, data.image_size),
        "data.mean": (_rounded(graph.mean), _rounded(data.mean)),
        "data.std": (_rounded(graph.std), _rounded(data.std)),
        "data.val_crop (ratio, squash)": ((graph.crop, graph.squash), central),
        "classes": (readable(graph.classes), readable(data.classes)),
    }
    lines = [f"  {key}: {_short(theirs, ours)}" for key, (theirs, ours) in values.items() if theirs != ours]
    if lines:
        raise UserError(
            f"{file} was packed for other data:\n" + "\n".join(lines) + "\nGive the configuration of its run, "
            f"-c {graph.source.run or 'RUN'}/config.yaml, or pack this run: xnorlit pack RUN."
        )


def _rounded(values: Sequence[float]) -> list[float]:
    # The network holds them in fp32.
    return [round(float(value), 4) for value in np.asarray(values, np.float32)]


def _short(theirs: object, ours: object) -> str:
    if isinstance(theirs, tuple) and isinstance(ours, tuple) and len(theirs) > 2 and len(theirs) == len(ours):
        first = next(i for i, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        return f"number {first} is {theirs[first]} in the file, {ours[first]} in the data"
    if isinstance(theirs, tuple) and len(theirs) > 2:
        return f"{len(theirs)} in the file, {len(ours)} in the data"  # type: ignore[arg-type]
    return f"{theirs} in the file, {ours} in the data"
