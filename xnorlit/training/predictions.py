"""Per-image predictions of a validation pass, gathered from all processes and written in sample order."""

import json
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.distributed
from safetensors.torch import save
from torch import Tensor
from typing_extensions import override

from xnorlit.edge import atomic
from xnorlit.edge.console import say


class Predictions:
    """The likeliest classes of each validation image, batch by batch."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, indices: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Keep the five likeliest classes of each image of a batch.

        Args:
            indices: Position of each image in its split, `(N,)`.
            labels: True classes, `(N,)`.
            logits: `(N, classes)`.
        """
        best = logits.float().topk(min(5, logits.shape[1]), dim=1)
        self._parts.append(tuple(part.cpu() for part in (indices, labels, best.indices, best.values)))

    def gathered(self) -> dict[str, Tensor]:
        """`{index (N,), label (N,), top5 (N, 5), top5_logit (N, 5)}` of all processes, sorted by index."""
        parts = self._parts
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            everyone: list[list[tuple[Tensor, ...]]] = [[] for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(everyone, parts)
            parts = [part for one in everyone for part in one]
        index, label, top5, logit = (torch.cat(column) for column in zip(*parts, strict=True))
        order = index.argsort()
        return {
            "index": index[order].long(),
            "label": label[order].long(),
            "top5": top5[order].long().contiguous(),
            "top5_logit": logit[order].contiguous(),
        }


def write(tensors: dict[str, Tensor], file: Path, **metadata: str | int | list[str] | tuple[str, ...]) -> None:
    """Write gathered predictions as safetensors, completely or not at all.

    Args:
        tensors: The result of `Predictions.gathered`.
        file: Output file.
        metadata: What the arrays mean: classes, listing hash, split, source, epoch.
    """
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    with atomic.path(file) as scratch:
        scratch.write_bytes(save(tensors, texts))  # Unlike `save_file`, this raises an OSError on a full disk.


class PredictionsFile(pl.Callback):
    """Write the result of `xnorlit predict`: the five likeliest classes of each validation image.

    Args:
        file: Output file; replaced if it exists.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._predictions = Predictions()

    @override
    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: dict[str, Tensor], *_: object
    ) -> None:
        self._predictions.add(**outputs)

    @override
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gathered, data = self._predictions.gathered(), trainer.datamodule
        if not trainer.is_global_zero:
            return
        write(
            gathered,
            self.file,
            classes=data.classes,
            listing_sha256=data.listing_hash("val"),
            split="val",
            source=data.source,
            epoch=trainer.current_epoch,
        )
        say("done", f"the five likeliest classes of {len(gathered['index']):,} images: {self.file}")
