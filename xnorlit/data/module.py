"""The LightningDataModule of all image sets."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, partial
from itertools import accumulate, islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from xnorlit.data import backends, counter, order, sources
from xnorlit.data.augment import CentreCrop, Crop, PadCrop, ResizedCrop, View
from xnorlit.data.listing import Listing, check_held_out, held_out
from xnorlit.data.loader import Batch, BatchLoader, Samples
from xnorlit.data.say import say
from xnorlit.data.tree import ImageFiles
from xnorlit.edge.names import at_home
from xnorlit.edge.processes import cores
from xnorlit.errors import UserError

_SMALL = 64  # pixels; images up to this size get the crops of CIFAR, larger ones those of ImageNet
_SPLITS = ("train", "val", "test")


class ImageData(pl.LightningDataModule):
    """An image set as uint8 batches: the same samples in the same order with the same crops for every backend.

    The sample order and the augmentation of sample i in epoch e under a seed are pure functions of (seed, e, i): the
    same for any number of workers, for both arms of a pair, and after a resume. `setup` sets `classes`, `num_classes`,
    `mean` and `std` (per channel, 0 to 255, to be applied on the device), `used_backend` and `backend_reason`.

    Args:
        source: synthetic, cifar10, imagenette, imagenet, a folder with train/ and val/ (or test/), or .beton files.
        backend: ffcv, folder (Pillow; small sets are held in memory), or auto: FFCV for folders if it is installed,
            memory for generated and downloaded sets.
        image_size: Height and width of the pictures in pixels.
        batch_size: Samples per batch and process.
        global_batch: Samples per optimizer step, over all processes. If given, the order and every step's samples are
            the same for any number of devices and nodes and any batch_size, all of which may change when a run resumes;
            gradients are accumulated if the devices hold less at once. Default: batch_size times the processes times
            trainer.accumulate_grad_batches.
        workers: Decoding threads or processes; default: the cores, shared among the processes of this machine.
        train_crop: PadCrop (the default up to 64 pixels), ResizedCrop (above), RandomCrop or CentreCrop.
        val_crop: Default: CentreCrop, of the whole image up to 64 pixels and of 224/256 of the shorter side above.
        flip: Mirror half of the training pictures left to right.
        seed: Seed of the order and the augmentation; the images of `synthetic` do not depend on it.
        holdout: Share of train, equal for each class, to hold out and use as val instead of the val split.
        root: Folder of the named sets, which are downloaded there, and of prepared .beton files.
        mean: Overrides the mean of the set, 0 to 255.
        std: Overrides the standard deviation of the set, 0 to 255.
    """

    classes: tuple[str, ...]
    num_classes: int
    mean: sources.Triple
    std: sources.Triple
    used_backend: str
    backend_reason: str

    def __init__(
        self,
        source: str = "synthetic",
        *,
        backend: backends.Name = "auto",
        image_size: int = 32,
        batch_size: int = 64,
        global_batch: int | None = None,
        workers: int | None = None,
        train_crop: Crop | None = None,
        val_crop: Crop | None = None,
        flip: bool = True,
        seed: int = 0,
        holdout: float = 0.0,
        root: Path = Path("data"),
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
    ) -> None:
        super().__init__()
        _at_least("image_size", image_size, 1)
        _at_least("batch_size", batch_size, 1)
        _at_least("global_batch", global_batch if global_batch is not None else 1, 1)
        _at_least("workers", workers if workers is not None else 0, 0)
        check_held_out("holdout", holdout)
        if backend not in ("auto", "ffcv", "folder"):
            raise UserError(f"there is no backend named {backend}. Expected auto, ffcv or folder.")
        if std is not None and min(std) <= 0:
            raise UserError(f"std is {std}. Expected three positive numbers in 0..255 units, or 1 for no scaling.")
        small = image_size <= _SMALL
        self.source, self.image_size, self.batch_size = str(source), image_size, batch_size
        self.backend: backends.Name = backend
        self.workers, self.holdout, self.root, self.seed = workers, holdout, at_home(root), seed
        self.global_batch = global_batch
        train_view = View(train_crop or (PadCrop() if small else ResizedCrop()), flip, image_size, seed)
        val_view = View(val_crop or CentreCrop(1.0 if small else 224 / 256), flip=False, size=image_size)
        self._views = {"train": train_view, "val": val_view, "test": val_view}
        self._given = mean, std
        self._train_loader: BatchLoader | None = None
        self._resume_at: dict[str, Any] = {}
        self._samples: dict[str, Samples] = {}
        self._listings: dict[str, Listing] = {}
        self._contents: dict[str, Callable[[], str]] = {}
        self._parts: dict[str, sources.Split] = {}

    def prepare_data(self) -> None:
        """Download and prepare what is missing; Lightning calls it in one process per machine."""
        self._open()

    def setup(self, stage: str | None = None) -> None:
        """Open the splits once; `stage` is ignored."""
        self._open()

    def train_dataloader(self) -> BatchLoader:
        """Batches in the order of (seed, epoch), augmented; a pass is an epoch."""
        loader = self._loader("train")
        if self._resume_at:
            if "sample" not in self._resume_at and self.global_batch is not None:
                raise UserError(
                    "the checkpoint is from an older version, which did not record the samples per step. Resume it "
                    "with the devices and the batch size that it was started with, and without data.global_batch."
                )
            loader.load_state_dict(self._resume_at)
            self._resume_at = {}
        self._train_loader = loader
        return loader

    def state_dict(self) -> dict[str, Any]:
        """Position of the training loader, for the checkpoint.

        Lightning saves the loader's state too, but restores it only if the run stopped within an epoch. An epoch that
        Lightning cuts short (limit_train_batches) counts as finished.
        """
        if self._train_loader is None:
            return {}
        state = self._train_loader.state_dict()
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current if self.trainer else None
        if progress and state["sample"] and progress.processed >= self.trainer.num_training_batches:
            return {**state, "epoch": state["epoch"] + 1, "sample": 0}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position of the training loader."""
        self._resume_at = state_dict

    def recount(self, checkpoint: dict[str, Any]) -> None:
        """Convert the batch counts of the current epoch to those of this process.

        Lightning counts batches of one process, which depend on the devices and on batch_size.

        Args:
            checkpoint: The checkpoint to resume from; changed in place.
        """
        division, state = self._division(), checkpoint.get(type(self).__qualname__, {})
        if not state.get("sample") or state["global_batch"] != division.global_batch:
            return  # An epoch starts, an older version did not record it, or the loader will refuse.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        change = state["sample"] // division.global_batch * division.accumulate - progress["processed"]
        # Keep the differences between ready and completed batches.
        progress.update({stage: count + change for stage, count in progress.items()})

    def val_dataloader(self) -> BatchLoader:
        """Each validation sample once, in listing order."""
        return self._loader("val")

    def test_dataloader(self) -> BatchLoader:
        """The test split, or val if there is none."""
        return self._loader("test")

    def predict_dataloader(self) -> BatchLoader:
        """The validation split."""
        return self._loader("val")

    def training_sample(self, images: int) -> Iterator[Batch]:
        """The first augmented batches of the training split; does not advance the training loader.

        Args:
            images: Minimum number of pictures over all processes, if there are that many. Each process gets the same
                number of batches.
        """
        loader = self._loader("train")
        held = accumulate(loader.division.sizes(len(loader.samples.labels)))
        before = takewhile(lambda seen: seen < images, held)
        with closing(iter(loader)) as batches:
            yield from islice(batches, 1 + sum(1 for _ in before))

    @property
    def val_crop(self) -> Crop:
        """The crop of validation."""
        return self._views["val"].crop

    def spread_pictures(self, split: str, most: int) -> NDArray[np.uint8]:
        """Images evenly spread over a split, cropped as in validation; uint8 [N, size, size, 3].

        Args:
            split: train, val or test.
            most: Maximum number of images.
        """
        self._open()
        samples = self._samples[split]
        count = len(samples.labels)
        members = samples.members[np.linspace(0, count - 1, min(most, count)).astype(np.int64)]
        batches = [members[start : start + self.batch_size] for start in range(0, len(members), self.batch_size)]
        with closing(samples.reader.pictures(batches, self._views["val"], 0)) as pictures:
            return np.concatenate([batch.permute(0, 2, 3, 1).numpy() for batch in pictures])

    def count(self, split: str) -> int:
        """Number of samples of a split.

        Args:
            split: train, val or test.
        """
        self._open()
        return len(self._listings[split])

    def files(self, split: str) -> ImageFiles | None:
        """The image files of a split; None for arrays, .beton files and images held out of train.

        Args:
            split: train, val or test.
        """
        self._open()
        part = self._parts[split]
        whole = isinstance(part, ImageFiles) and part.listing.sha256 == self._listings[split].sha256
        return part if whole else None

    def listing_hash(self, split: str) -> str:
        """SHA-256 of a split's sample names and labels, the same for every backend.

        Args:
            split: train, val or test.
        """
        self._open()
        return self._listings[split].sha256

    def content(self, split: str) -> str:
        """A hash that changes if a split's files change under the same names; empty for built-in sets.

        For image files it covers their sizes, because times differ between copies and reading all files is slow.

        Args:
            split: train, val or test.
        """
        self._open()
        return self._contents[split]()

    def _loader(self, split: str) -> BatchLoader:
        self._open()
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        samples, train = self._samples[split], split == "train"
        if len(samples.labels) < world:
            raise UserError(
                f"The {split} split has {len(samples.labels)} samples for {world} processes. Expected at least one for "
                "each; use fewer devices."
            )
        if not train:
            return BatchLoader(samples, self._views[split], self.batch_size, shuffle=False, rank=rank, world=world)
        division = self._division()
        if self.trainer:
            self.trainer.accumulate_grad_batches = division.accumulate
        return BatchLoader(
            samples,
            self._views[split],
            self.batch_size,
            shuffle=True,
            rank=rank,
            world=world,
            global_batch=division.global_batch,
            pending=self._steps_under_way,
        )

    def _division(self) -> order.Division:
        """How the samples of an optimizer step are divided over the trainer's processes."""
        world, accumulate = (self.trainer.world_size, self.trainer.accumulate_grad_batches) if self.trainer else (1, 1)
        if self.global_batch is None:
            return order.Division(self.batch_size * world * accumulate, self.batch_size, world)
        division = order.Division(self.global_batch, self.batch_size, world)
        if accumulate not in (1, division.accumulate):
            raise UserError(
                f"trainer.accumulate_grad_batches is {accumulate}, but a data.global_batch of {self.global_batch} over "
                f"{world} processes with data.batch_size {self.batch_size} requires {division.accumulate}. Omit it."
            )
        return division

    def _steps_under_way(self) -> int:
        if self.trainer is None:
            return 0
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return progress.ready - progress.processed

    def _open(self) -> None:
        if self._samples:
            return
        started = time.perf_counter()
        source = sources.find(self.source, self.root, image_size=self.image_size, need_val=not self.holdout)
        views = {split: view for split, view in self._views.items() if split in source.splits}
        if self.holdout:
            views.pop("val", None)
        choice = backends.choose(source, self.backend, views, self.batch_size, self._threads(), self.root)
        for split, reader in choice.readers.items():
            listing = choice.listings[split]
            self._add(split, listing, Samples(reader, listing.labels, np.arange(len(listing))))
        self._contents = {split: cache(partial(sources.content, part)) for split, part in source.splits.items()}
        self._parts = dict(source.splits)
        if self.holdout:
            self._hold_out()
            self._contents["val"] = self._contents["train"]
            self._parts["val"] = self._parts["train"]
        for split, stand_in in (("val", "test"), ("test", "val")):
            if split not in self._samples:
                self._add(split, self._listings[stand_in], self._samples[stand_in])
                self._contents[split] = self._contents[stand_in]
                self._parts[split] = self._parts[stand_in]

        self.classes = self._listings["train"].classes
        self.num_classes = len(self.classes)
        self.mean, self.std = (
            given or known for given, known in zip(self._given, (source.mean, source.std), strict=True)
        )
        self.used_backend, self.backend_reason = choice.backend, choice.reason
        self._announce(source, time.perf_counter() - started)

    def _add(self, split: str, listing: Listing, samples: Samples) -> None:
        self._listings[split], self._samples[split] = listing, samples

    def _hold_out(self) -> None:
        # Equal for all seeds: a seed repeats a training and must not change what is measured.
        whole, samples = self._listings["train"], self._samples["train"]
        kept, out = held_out(whole.labels, self.holdout, counter.key(5))
        for split, members in (("train", kept), ("val", out)):
            listing = whole.subset(members)
            self._add(split, listing, Samples(samples.reader, listing.labels, members))

    def _threads(self) -> int:
        local = self.trainer.num_devices if self.trainer else 1
        return max(1, cores() // local) if self.workers is None else self.workers

    def _announce(self, source: sources.Source, seconds: float) -> None:
        train, val = (len(self._listings[split]) for split in ("train", "val"))
        done = "generated" if source.kind == "synthetic" else "opened"
        held = f" held out of train ({self.holdout:.0%})" if self.holdout else ""
        note = f"  ({source.note})" if source.note and not self.holdout else ""
        say(
            f"{source.name}: {train:,} train / {val:,} val{held}, {self.image_size} x {self.image_size}, "
            f"{self.num_classes} classes, {done} in {seconds:.1f} s{note}; "
            f"backend {self.used_backend}: {self.backend_reason}"
        )


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"{option} is {value}. Expected {least} or more.")
