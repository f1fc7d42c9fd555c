"""The LightningDataModule that every experiment reads its images from."""

import time
from pathlib import Path
from typing import Literal

import numpy as np
import pytorch_lightning as pl

from xnorlit.data import pixels, synthetic, tree
from xnorlit.data.augment import CentreCrop, Crop, PadCrop, View
from xnorlit.data.listing import Listing
from xnorlit.data.loader import BatchLoader, Samples
from xnorlit.data.memory import MemoryReader


class ImageData(pl.LightningDataModule):
    """First working version: synthetic and small folder trees, in memory."""

    def __init__(
        self,
        source: str = "synthetic",
        *,
        backend: Literal["auto", "ffcv", "folder"] = "auto",
        image_size: int = 32,
        batch_size: int = 64,
        train_crop: Crop | None = None,
        val_crop: Crop | None = None,
        flip: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.source, self.backend, self.image_size, self.batch_size = source, backend, image_size, batch_size
        self.train_view = View(train_crop or PadCrop(), flip, image_size, seed)
        self.val_view = View(val_crop or CentreCrop(), False, image_size)
        self._samples = {}

    def setup(self, stage: str | None = None) -> None:
        if self._samples:
            return
        started = time.perf_counter()
        if self.source == "synthetic":
            self.mean, self.std = synthetic.MEAN, synthetic.STD
            for seed, (split, count) in enumerate({"train": 6000, "val": 1000}.items()):
                labels = synthetic.labels(count)
                names = [f"synthetic/{self.image_size}px/seed-{seed}/{i:06d}" for i in range(count)]
                self._add(
                    split, Listing(synthetic.CLASSES, names, labels), synthetic.generate(count, self.image_size, seed)
                )
        else:
            self.mean, self.std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
            for split, names in {"train": ("train",), "val": ("val", "test")}.items():
                files = tree.scan(tree.find_split(Path(self.source), names))
                images = np.stack([np.asarray(pixels.read_rgb(files.path(i))) for i in range(len(files.listing))])
                self._add(split, files.listing, images)
        print(f"[data]   {self.source}: {time.perf_counter() - started:.1f} s")

    def _add(self, split, listing, images):
        self._samples[split] = listing, Samples(MemoryReader(images), listing.labels, np.arange(len(listing)))
        self.classes = listing.classes
        self.num_classes = len(listing.classes)

    def listing_hash(self, split: str) -> str:
        return self._samples[split][0].sha256

    def train_dataloader(self):
        return BatchLoader(self._samples["train"][1], self.train_view, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return BatchLoader(self._samples["val"][1], self.val_view, self.batch_size, shuffle=False)

    test_dataloader = predict_dataloader = val_dataloader
