"""Flips of trained networks: compare packed networks with their evaluation on photographs.

    python scripts/flips.py DIR --seconds 90                # the networks for 32 pixels
    python scripts/flips.py DIR --seconds 120 --size 224    # the networks for 224

It trains each arm on DIR/train for a while with one thread, packs it, and compares both over images of DIR/val, or of
DIR/test: the sums of each layer that counts bits, the order of the five likeliest classes, and the logits bit for bit.
It prints a table. The exit status is 1 if a sum or an order differs.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

import xnorlit as xl
from xnorlit.packed import PackedNetwork

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.packed.networks import integers_of_engine, integers_of_module

ARMS = {
    32: (
        *(("resnet20", method) for method in ("BiReal", "XNOR", "ReActNet", "AdaBin", "IRNet")),
        ("resnet20-recu", "ReCU"),
        ("vgg-small", "XNOR"),
        ("resnet18-cifar", "IRNet"),
        ("resnet18-cifar-recu", "ReCU"),
        ("resnet18-cifar-adabin", "AdaBin"),
        ("cnv", "BNN"),
        ("alexnet-small", "XNOR"),
    ),
    224: (
        ("resnet18-bireal", "BiReal"),
        ("resnet18-reactnet", "ReActNet"),
        ("resnet18-xnor", "XNOR"),
        ("resnet18-xnor-binary", "XNOR"),
        ("reactnet-a", "ReActNet"),
        ("quicknet-small", "BNN"),
        ("quicknet-medium", "BNN"),
        ("quicknet-large", "BNN"),
    ),
}
BATCH = {32: 64, 224: 16}
AT_ONCE = {32: 50, 224: 10}  # every sum of every layer is in memory at once
TRAIN = {32: None, 224: 2000}  # training photographs held in memory


class Flips(NamedTuple):
    """Numbers of differences.

    Attributes:
        layers: Number of layers that count bits.
        sums: Number of their sums, over all images.
        flips: Number of sums that differ.
        orders: Number of images whose five likeliest classes, or their order, differ.
        logits: Number of logits that differ in any bit.
        top1: Top-1 accuracy of the evaluation.
    """

    layers: int
    sums: int
    flips: int
    orders: int
    logits: int
    top1: float


def images(folder: Path, side: int, count: int | None = None) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """uint8 pixels `(N, 3, S, S)` of photographs in class folders, their labels, the names of the classes.

    Args:
        folder: Folder with a folder for each class.
        side: S; the photographs are resized and cropped.
        count: Number of images, taken evenly from all classes (default: all).
    """
    found = ImageFolder(str(folder), Compose([Resize(side), CenterCrop(side), PILToTensor()]))
    chosen = range(len(found)) if count is None else np.linspace(0, len(found) - 1, count).astype(int)
    pixels, labels = zip(*(found[i] for i in chosen), strict=True)
    return torch.stack(pixels), torch.tensor(labels), found.classes


def train(net: nn.Module, pixels: torch.Tensor, labels: torch.Tensor, seconds: float) -> None:
    """Train with Adam on shuffled batches, for some seconds of CPU time."""
    xl.attach(optimizer := torch.optim.Adam(net.train().parameters(), lr=3e-3), net)
    end = time.process_time() + seconds
    for _ in itertools.count():
        for batch in torch.randperm(len(pixels)).split(BATCH[pixels.shape[-1]]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(pixels[batch]), labels[batch]).backward()
            optimizer.step()
            if time.process_time() > end:
                return


@torch.no_grad()
def flips(net: nn.Module, pixels: torch.Tensor, labels: torch.Tensor, classes: list[str]) -> Flips:
    """Pack a trained network and count the differences."""
    side = pixels.shape[-1]
    packed = xl.pack(net.eval(), image_size=side, classes=classes)
    engine = PackedNetwork(*packed)
    sums = wrong = orders = logits = right = 0
    names: set[str] = set()
    for some, truth in zip(pixels.split(AT_ONCE[side]), labels.split(AT_ONCE[side]), strict=True):
        ours = np.ascontiguousarray(some.permute(0, 2, 3, 1).numpy())
        theirs, expected = integers_of_module(net, some)
        found = engine(ours)
        right += int((expected.argmax(1) == truth.numpy()).sum())
        logits += int((found != expected).sum())
        first, second = (np.argsort(-values, axis=1, kind="stable")[:, :5] for values in (found, expected))
        orders += int((first != second).any(1).sum())
        for name, values in integers_of_engine(*packed, ours).items():
            names.add(name)
            # If a max pool needs a filter's smallest sum, packing negates the filter.
            same = np.where((values == theirs[name]).all((0, 1, 2)), values, -values) == theirs[name]
            sums, wrong = sums + same.size, wrong + int((~same).sum())
    return Flips(len(names), sums, wrong, orders, logits, right / len(pixels))


def main() -> int:
    """Train and compare each arm; return exit status 1 if one flips."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of train/ and val/ or test/, each with class folders")
    parser.add_argument("--size", type=int, choices=ARMS, default=32, help="side of the images, pixels")
    parser.add_argument("--seconds", type=float, default=90, help="CPU time of each training, seconds")
    parser.add_argument("--images", type=int, default=1000, help="number of images to compare")
    parser.add_argument("--only", nargs="*", default=[], help="networks, such as resnet20 or resnet20:AdaBin")
    given = parser.parse_args()
    torch.set_num_threads(1)
    held_out = next((given.data / name for name in ("val", "test") if (given.data / name).is_dir()), given.data / "val")
    train_pixels, train_labels, classes = images(given.data / "train", given.size, TRAIN[given.size])
    pixels, labels, _ = images(held_out, given.size, given.images)
    head = "| network | binarizer | top-1, % | binary layers | sums | flipped | orders of five | logits |\n"
    sys.stdout.write(head + "|---" * 8 + "|\n")
    failed = False
    for network, method in ARMS[given.size]:
        if given.only and network not in given.only and f"{network}:{method}" not in given.only:
            continue
        torch.manual_seed(0)
        net = xl.create(network, binarizer=method, classes=len(classes), image_size=given.size)
        train(net, train_pixels, train_labels, given.seconds)
        found = flips(net, pixels, labels, classes)
        numbers = f"{found.layers} | {found.sums:,} | {found.flips} | {found.orders} | {found.logits}"
        sys.stdout.write(f"| `{network}` | `{method}` | {100 * found.top1:.1f} | {numbers} |\n")
        sys.stdout.flush()
        failed |= bool(found.flips or found.orders)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
