"""How `xnorlit prepare` and the loader scale: images blown up to many entries by links, beside FFCV's own writer.

    python -m xnorlit.bench.preparing FOLDER [--entries 10000 30000 100000] [--scratch FOLDER] [--json FILE]

FOLDER holds class folders. For each number of entries, a tree of that many links to its images is prepared, once by
`xnorlit prepare` and once by FFCV's own writer, both as JPEG with a process or thread per core. Then xnorlit's loader
reads one epoch of random-resized crops with one thread; an epoch before it compiles and fills the caches. Each program
runs in a process of its own. Memory is the peak of its largest process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain, cycle, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from xnorlit.data.pictures import is_image
from xnorlit.edge.console import say
from xnorlit.edge.processes import cores
from xnorlit.errors import UserError

THEIRS = """
import sys
from ffcv.fields import IntField, RGBImageField
from ffcv.writer import DatasetWriter
from torchvision.datasets import ImageFolder
fields = {"image": RGBImageField(write_mode="jpg"), "label": IntField()}
writer = DatasetWriter(sys.argv[2], fields, num_workers=int(sys.argv[3]))
writer.from_indexed_dataset(ImageFolder(sys.argv[1]))
"""
"""FFCV's own writer, as its documentation uses it."""

LOADS = "import sys; from xnorlit.bench.preparing import load; load(sys.argv[1])"


class Cost(NamedTuple):
    """What a process took: seconds from its start to its end, and the most memory, in MiB."""

    seconds: float
    mebibytes: float


def main() -> None:
    """Measure, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--scratch", type=Path, help="folder for the files, which take as much space as the images")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    try:
        for entries in options.entries:
            with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
                found.append({"entries": entries, **scaled(options.folder, entries, Path(scratch))})
    except UserError as error:
        parser.error(str(error))
    sys.stdout.write(markdown(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def scaled(folder: Path, entries: int, scratch: Path) -> dict[str, float]:
    """Milliseconds and memory per image of both writers, and the loader's images per second, at one size."""
    blow_up(folder, entries, scratch / "tree")
    say("prepare", f"{entries:,} entries")
    words = [sys.executable, "-m", "xnorlit", "prepare", scratch / "tree", scratch / "ours", "--workers", cores()]
    ours = cost(words)
    say("writer", f"{entries:,} entries, FFCV's own")
    theirs = cost([sys.executable, "-c", THEIRS, scratch / "tree" / "train", scratch / "theirs.beton", cores()])
    say("loader", f"two epochs of {entries:,} entries")
    words = [sys.executable, "-c", LOADS, scratch / "ours" / "train.beton"]
    speed = float(subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE).stdout)
    return {
        "ours_ms": 1000 * ours.seconds / entries,
        "ours_mib": ours.mebibytes,
        "theirs_ms": 1000 * theirs.seconds / entries,
        "theirs_mib": theirs.mebibytes,
        "loader_images_per_s": speed,
    }


def blow_up(folder: Path, entries: int, tree: Path) -> None:
    """Write a tree of `entries` links for training, and one per class for validation, to the images of a folder.

    Args:
        folder: Class folders.
        entries: Number of links; the classes take turns, and their images repeat.
        tree: The new folder, with `train/` and `val/`.

    Raises:
        UserError: The folder has no class folders with images.
    """
    classes = [
        sorted(path for path in each.iterdir() if is_image(path.name))
        for each in sorted(folder.iterdir())
        if each.is_dir()
    ]
    images = [image.resolve() for image in chain(*zip_longest(*classes)) if image is not None]
    if not images:
        raise UserError(f"{folder} has no class folders with images. Give the train/ folder of an image tree.")
    seen = set()
    for number, image in enumerate(islice(cycle(images), entries)):
        name = Path(image.parent.name, f"{number:07d}{image.suffix}")
        splits = ["train"] if image.parent in seen else ["train", "val"]
        seen.add(image.parent)
        for split in splits:
            link = tree / split / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(image)


def cost(words: list[object]) -> Cost:
    """Run a program, and measure it.

    Raises:
        UserError: It failed; its own messages stand above.
    """
    began = time.perf_counter()
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{words[1]} {words[2]} ended with status {process.returncode}; its messages stand above.")
    return Cost(time.perf_counter() - began, used.ru_maxrss / 1024)


def load(beton: str) -> None:
    """Print the images per second of the second epoch of a file."""
    import torch  # Imported here, because a process starts with the peak memory of the process that started it.

    from xnorlit.bench.loaders import ffcv_epochs, measure

    torch.set_num_threads(1)
    epoch = ffcv_epochs(Path(beton))
    measure(epoch)
    sys.stdout.write(f"{measure(epoch)}\n")


def markdown(found: list[dict[str, float]]) -> str:
    """The table."""
    heads = ("entries", "prepare, ms an image", "MiB", "FFCV's writer, ms an image", "MiB", "loader, images/s")
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    rows += [
        f"| {each['entries']:,} | {each['ours_ms']:.2f} | {each['ours_mib']:.0f} | {each['theirs_ms']:.2f} | "
        f"{each['theirs_mib']:.0f} | {each['loader_images_per_s']:.0f} |"
        for each in found
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
