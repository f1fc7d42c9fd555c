"""A network's predictions for the validation images of a run, and its accuracy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xnorlit.data import ImageData
from xnorlit.edge.console import progress
from xnorlit.packed.origin import Accuracy
from xnorlit.training.predictions import Predictions


@dataclass(frozen=True)
class Answers:
    """The five likeliest classes of N images.

    Attributes:
        labels: True classes, int64 [N].
        top5: The five likeliest classes, likeliest first, int64 [N, k].
    """

    labels: np.ndarray
    top5: np.ndarray

    def share(self, k: int) -> float:
        """Share of images whose true class is among the k likeliest."""
        return int((self.top5[:, :k] == self.labels[:, None]).any(axis=1).sum()) / len(self.labels)

    def accuracy(self, data: ImageData) -> Accuracy:
        """The accuracy as a packed file records it.

        Args:
            data: Source of the images.
        """
        # A path of this machine is meaningless on another.
        name = Path(data.source).resolve().name if Path(data.source).exists() else data.source
        return Accuracy(self.share(1), self.share(5), len(self.labels), name, "val", data.listing_hash("val"))


def answers(forward: Callable[[Tensor], Tensor], data: ImageData, label: str) -> Answers:
    """Predicts every validation image.

    Args:
        forward: Maps uint8 images `(N, 3, S, S)` to logits.
        data: The data module, set up.
        label: Label of the progress bar.
    """
    loader, collected = data.val_dataloader(), Predictions()
    with torch.inference_mode():
        for batch in progress(loader, len(loader), "pack", label):
            collected.add(batch.indices, batch.labels, forward(batch.images))
    found = collected.gathered()
    return Answers(found["label"].numpy(), found["top5"].numpy())
