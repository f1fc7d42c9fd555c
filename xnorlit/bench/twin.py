"""Classify one picture with a float network in torch, as a whole process: the opponent of `xnorlit classify`.

    python -m xnorlit.bench.twin CHECKPOINT PICTURE [--network alexnet-xnor] --image-size 224 [--crop 0.875] [--top 5]

It prints what `xnorlit classify` prints, from the same pixels, with the float twin. It is torch at its fastest: no
unneeded imports (no Lightning), no random initial weights, and a memory-mapped checkpoint. Without `--network`, the
checkpoint is a whole module saved with `torch.save`.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from xnorlit.data.pictures import as_validated
from xnorlit.models import create


def classify(
    checkpoint: Path, picture: Path, network: str | None, size: int, crop: float, squash: bool, top: int
) -> str:
    """The line that `xnorlit classify` prints, with class numbers instead of names.

    Args:
        checkpoint: Checkpoint of a float arm, `{"state_dict": {"net.": ...}}`; without a network, a whole module.
        picture: The picture's file.
        network: Name of the network; None for a whole module.
        size: Side of its images, pixels.
        crop: Side of the central crop over the shorter side.
        squash: Whether `crop` is a share of each side instead.
        top: Number of classes to print.
    """
    model = torch.load(checkpoint, weights_only=network is not None, mmap=True, map_location="cpu")
    if network is not None:
        state = {
            key.removeprefix("net."): value for key, value in model["state_dict"].items() if key.startswith("net.")
        }
        with _SkipInit():
            model = create(network, binarizer="Float", classes=_classes(state), image_size=size)
        model.load_state_dict(state, assign=True)
    model.eval()
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


def _classes(state: Mapping[str, torch.Tensor]) -> int:
    """Outputs of the last layer; a norm may follow it."""
    return next(len(values) for values in reversed(state.values()) if values.ndim > 1)


class _SkipInit(TorchFunctionMode):
    """Skips the random initial weights. The meta device would too, but it imports half a compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def main() -> None:
    """Parses the command line above."""
    parser = argparse.ArgumentParser(description="One picture through a float network in torch.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--network")
    parser.add_argument("--image-size", dest="size", type=int, required=True)
    parser.add_argument("--crop", type=float, default=1.0)
    parser.add_argument("--squash", action="store_true")
    parser.add_argument("--top", type=int, default=5)
    print(classify(**vars(parser.parse_args())))  # noqa: T201 - a script's output


if __name__ == "__main__":
    main()
