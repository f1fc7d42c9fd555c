"""Classify one picture with a float network in torch, as a whole process: the opponent of `xnorlit classify`.

    python -m xnorlit.bench.twin CHECKPOINT PICTURE --image-size 224 [--crop 0.875] [--top 5]

It prints what `xnorlit classify` prints, from the same pixels, with the float twin. It is torch at its fastest: no
unneeded imports (no Lightning), no random initial weights, and a memory-mapped checkpoint. The checkpoint is a whole
module of torch's own modules, saved with `torch.save`.
"""

import argparse
import time
from pathlib import Path

import torch

from xnorlit.data.pictures import as_validated


def classify(checkpoint: Path, picture: Path, size: int, crop: float, squash: bool, top: int) -> str:
    """The line that `xnorlit classify` prints, with class numbers instead of names.

    Args:
        checkpoint: A module from uint8 pixels to logits, which this program's caller wrote: loading it runs code.
        picture: The picture's file.
        size: Side of its images, pixels.
        crop: Side of the central crop over the shorter side.
        squash: Whether `crop` is a share of each side instead.
        top: Number of classes to print.
    """
    model = torch.load(checkpoint, weights_only=False, mmap=True, map_location="cpu").eval()
    pixels = torch.from_numpy(as_validated(picture, size, crop, squash).copy()).permute(2, 0, 1)[None]
    with torch.inference_mode():
        started = time.perf_counter()
        logits = model(pixels)[0]
        milliseconds = 1000 * (time.perf_counter() - started)
    likeliest = logits.softmax(0).topk(min(top, len(logits)))
    answers = [
        f"{number} {100 * p:.1f} %" for number, p in zip(*map(torch.Tensor.tolist, likeliest[::-1]), strict=True)
    ]
    return f"{picture}   {'   '.join(answers)}     ({milliseconds:.1f} ms)"


def main() -> None:
    """Parses the command line above."""
    parser = argparse.ArgumentParser(description="One picture through a float network in torch.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--image-size", dest="size", type=int, required=True)
    parser.add_argument("--crop", type=float, default=1.0)
    parser.add_argument("--squash", action="store_true")
    parser.add_argument("--top", type=int, default=5)
    print(classify(**vars(parser.parse_args())))  # noqa: T201 - a script's output


if __name__ == "__main__":
    main()
