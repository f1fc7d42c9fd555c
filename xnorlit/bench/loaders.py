"""Images per second of the training loaders, one worker each: FFCV as xnorlit uses it against torchvision.

    python -m xnorlit.bench.loaders [--images 1000] [--rounds 3] [--source FOLDER] [--json FILE]

Each decodes 500 x 375 JPEGs (quality 90), takes a random-resized crop of 224, mirrors half of them, and gives uint8.

- pil: ImageFolder (Pillow) + transforms v2 in a DataLoader, the usual way
- decode_jpeg: the same with torchvision.io.decode_jpeg instead of Pillow
- ffcv, as stored: a .beton of the same JPEG bytes, to compare with decode_jpeg
- ffcv, recipe: a .beton of shorter side 256, as the imagenet recipes store it (allenai and jiecaoyu resize to that)
- ffcv, recipe, raw: the same as raw pixels, which take ten times the space

The loaders take turns in every round, so that other load on the machine slows all of them. The figures are medians.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from xnorlit.data import synthetic
from xnorlit.data.augment import ResizedCrop, View
from xnorlit.data.beton import JPEG, open_beton
from xnorlit.data.beton_writer import Encoded, write
from xnorlit.data.ffcv_reader import FfcvReader
from xnorlit.data.loader import BatchLoader, Samples
from xnorlit.data.storage import Storage
from xnorlit.edge.console import terminal

WIDTH, HEIGHT, CROP, BATCH, QUALITY = 500, 375, 224, 64, 90


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=count, default=1000)
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--source", type=Path, help="photographs to enlarge (class folders); generated ones otherwise")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loaders = make_loaders(Path(folder), options.images, options.source)
        speeds: dict[str, list[float]] = {name: [] for name in loaders}
        for _ in range(options.rounds + 1):
            for name, epoch in loaders.items():
                speeds[name].append(measure(epoch))
    # The first round compiles and fills the caches.
    medians = {name: statistics.median(values[1:]) for name, values in speeds.items()}
    report(medians, options)


def count(text: str) -> int:
    """A whole number from 1, of the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1")
    return int(text)


def measure(epoch: Callable[[], Iterator[int]]) -> float:
    """Images per second of one epoch, from its start to its end."""
    started = time.perf_counter()
    images = sum(epoch())
    return images / (time.perf_counter() - started)


def make_loaders(folder: Path, count: int, source: Path | None) -> dict[str, Callable[[], Iterator[int]]]:
    """The loaders by name, each a function that starts an epoch and yields the batches' sizes."""
    stored = [jpeg(image) for image in photographs(count, source)]
    for index, data in enumerate(stored):
        path = folder / "train" / f"class{index % 10}" / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    same, recipe, raw = (folder / f"{name}.beton" for name in ("same", "recipe", "raw"))
    write(same, (Encoded(str(i), JPEG, HEIGHT, WIDTH, data, i % 10) for i, data in enumerate(stored)), count)
    for path, storage in ((recipe, Storage(shorter_side=256)), (raw, Storage(shorter_side=256, jpeg=0))):
        opened = (Image.open(BytesIO(data)) for data in stored)
        write(path, (Encoded(str(i), *storage.encode(image, i), i % 10) for i, image in enumerate(opened)), count)

    crop = [v2.RandomResizedCrop(CROP, antialias=True), v2.RandomHorizontalFlip()]
    root = str(folder / "train")
    return {
        "pil": torchvision_epochs(ImageFolder(root, v2.Compose([*crop, v2.PILToTensor()]))),
        "decode_jpeg": torchvision_epochs(ImageFolder(root, v2.Compose(crop), loader=decode)),
        "ffcv, as stored": ffcv_epochs(same),
        "ffcv, recipe": ffcv_epochs(recipe),
        "ffcv, recipe, raw": ffcv_epochs(raw),
    }


def photographs(count: int, source: Path | None) -> Iterator[Image.Image]:
    """Pictures of 500 x 375 with the detail of photographs: small ones enlarged, with noise on top."""
    rng = np.random.default_rng(0)
    if source:
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not paths:
            raise SystemExit(f"error: --source {source} has no .jpg, .jpeg or .png file. Give a folder of photographs.")
        chosen = itertools.cycle(paths[:: max(1, len(paths) // count)])  # fewer photographs repeat, with other noise
        small = (np.asarray(Image.open(path).convert("RGB")) for path in chosen)
    else:
        small = iter(synthetic.generate(count, 128))
    for _ in range(count):
        image = Image.fromarray(next(small)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        noisy = np.asarray(image).astype(np.int16) + rng.normal(0, 6, (HEIGHT, WIDTH, 1)).astype(np.int16)
        yield Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    """The image as a JPEG file."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def decode(path: str) -> torch.Tensor:
    """An image file as uint8 [3, H, W] by libjpeg-turbo."""
    return decode_jpeg(read_file(path), mode=ImageReadMode.RGB)


def torchvision_epochs(dataset: ImageFolder) -> Callable[[], Iterator[int]]:
    """Epochs of a DataLoader with one worker process."""
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=1, persistent_workers=True)
    return lambda: (len(labels) for _, labels in loader)


def ffcv_epochs(path: Path) -> Callable[[], Iterator[int]]:
    """Epochs of xnorlit's loader with one decoding thread."""
    opened = open_beton(path)
    samples = Samples(FfcvReader(opened, BATCH, CROP, False, workers=1), opened.labels, np.arange(len(opened.labels)))
    loader = BatchLoader(samples, View(ResizedCrop(), flip=True, size=CROP), BATCH, shuffle=True)
    return lambda: (len(batch.labels) for batch in loader)


def report(speeds: dict[str, float], options: argparse.Namespace) -> None:
    """Print the table, and write the JSON if it was requested."""
    table = Table(
        title=f"{options.images} JPEGs of {WIDTH} x {HEIGHT}, {CROP} px crops, 1 worker, {options.rounds} rounds"
    )
    for heading in ("loader", "images/s", "x pil", "x decode_jpeg"):
        table.add_column(heading, justify="left" if heading == "loader" else "right")
    for name, speed in speeds.items():
        table.add_row(name, f"{speed:.0f}", f"{speed / speeds['pil']:.2f}", f"{speed / speeds['decode_jpeg']:.2f}")
    terminal().print(table)
    ratios = {
        "ffcv_like_for_like_over_decode_jpeg": speeds["ffcv, as stored"] / speeds["decode_jpeg"],
        "ffcv_recipe_over_pil": speeds["ffcv, recipe"] / speeds["pil"],
    }
    if options.json:
        options.json.write_text(json.dumps({"images_per_second": speeds, "ratios": ratios}, indent=1) + "\n")


if __name__ == "__main__":
    main()
