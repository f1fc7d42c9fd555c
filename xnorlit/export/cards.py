"""Write the card of a trained network, as JSON for programs and as Markdown for people."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np

from xnorlit.edge import atomic
from xnorlit.packed import load
from xnorlit.packed.trained import Card

_TURNS = 200
_BUSY = 0.5
"""Load average, without the measuring process, above which a machine counts as busy."""


def machine(cpu: str, kernels: str) -> str:
    """Describes the machine that measures, and how busy it is.

    Args:
        cpu: Name of the processor.
        kernels: Name of the packed engine's kernels.
    """
    others = os.getloadavg()[0] - 1
    busy = f"loaded machine, {others:.0f} other processes at work" if others > _BUSY else "idle machine"
    return f"{cpu}, {kernels} kernels, 1 thread, {busy}"


def times(file: Path) -> tuple[float, float]:
    """Median milliseconds for classifying one picture on one thread, and for loading the file.

    Args:
        file: A packed network.
    """
    network = load(file)
    size = network.graph.image_size
    picture = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    network(picture, threads=1)
    return _milliseconds(lambda: network(picture, threads=1)), _milliseconds(lambda: load(file), _TURNS // 10)


def _milliseconds(call: Callable[[], object], turns: int = _TURNS) -> float:
    taken = []
    for _ in range(turns):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return round(median(taken), 3)


def sha256(file: Path) -> str:
    """The SHA-256 hash of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def publish(file: Path, card: Card, name: str, folder: Path) -> None:
    """Put a packed network and its card into a folder, as `NAME.safetensors`, `NAME.json` and `NAME.md`.

    All three are complete and on the disk before the first gets its name. The network gets its name last, so a new
    network is listed when its card is there.

    Args:
        file: The packed network.
        card: The card.
        name: Name of the network.
        folder: Folder of trained networks.
    """
    with (
        atomic.path(folder / f"{name}.safetensors") as network,  # renamed in reverse order
        atomic.path(folder / f"{name}.json") as record,
        atomic.path(folder / f"{name}.md") as shown,
    ):
        shutil.copyfile(file, network)
        record.write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
        shown.write_text(page(card, name), encoding="utf-8")
        for each in (network, record, shown):
            atomic.sync(each)


def page(card: Card, name: str) -> str:
    """The card in Markdown.

    Args:
        card: The card.
        name: Name of the network.
    """
    seeds = ", ".join(f"seed {seed}: {top1:.2f}" for seed, top1 in card.seeds.items())
    low, high = card.interval
    twin = f"; its float twin {card.twin:.2f} (same seed)" if card.twin is not None else ""
    changed = ", with uncommitted changes" if card.changed else ""
    differ = f"{card.differ:,} of {card.val_images:,} images"
    remark = f"; {card.remark}" if card.remark else ""
    rows = {
        "network": f"`{card.network}`, {card.method}, {card.image_size} x {card.image_size} pixels",
        "data": f"{card.data}: {card.train_images:,} training images; measured on {card.val_images:,} others",
        "licence of the data": card.licence,
        "recipe": f"`{card.recipe}`, {card.epochs} epochs: `{card.command}`{remark}",
        "commit": f"`{card.commit[:12] or 'not known'}`{changed}",
        "top-1 %": f"{card.top1:.2f} [{low:.2f}, {high:.2f}], of the packed network (95 % Wilson interval over images)",
        "top-5 %": f"{card.top5:.2f}",
        **({"top-1 % of the files": _of_files(card)} if card.top1_of_files is not None else {}),
        "seeds, top-1 %": f"{seeds} (training's own evaluation){twin}. The lowest seed, {card.seed}, is packed"
        if seeds
        else f"seed {card.seed} is packed; the run was copied, so other seeds are not known",
        "packed and evaluated": f"the five likeliest, in order, differ for {differ}",
        "size": f"{card.bytes:,} bytes, {card.ends} ends; {card.float_bytes:,} in fp32",
        "time": f"{card.milliseconds:g} ms a picture, {card.load_milliseconds:g} ms to load: {card.measured_on}",
        "training": f"{card.train_seconds / 60:.0f} minutes on {card.trained_on}; other load unknown",
        "sha256": f"`{card.sha256}`",
    }
    table = "".join(f"| {what} | {text} |\n" for what, text in rows.items())
    limits = "".join(f"- {limit}\n" for limit in card.limits)
    return (
        f"# {name}\n\nWritten by `xnorlit zoo RUN --name {name}`.\n\n| | |\n|---|---|\n{table}\n## Limits\n\n{limits}\n"
        f"```console\n$ xnorlit classify {name} photo.jpg\n```\n"
    )


def _of_files(card: Card) -> str:
    same = card.top1_of_files == card.top1
    why = "" if same else ", whose pixels differ from those that FFCV gives training (docs/data.md)"
    return f"{card.top1_of_files:.2f}, as `xnorlit classify` reads the same images{why}"
