"""The command `xnorlit plan`: an estimate of training a recipe on other GPUs."""

import json as json_format
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

import xnorlit as xl
from xnorlit.bench.plan import Given, Plan, Work
from xnorlit.bench.plan import plan as plan_of
from xnorlit.commands.arguments import Count
from xnorlit.commands.summary import NETWORK, binarizers_of, part
from xnorlit.data.sources import NAMED
from xnorlit.errors import UserError
from xnorlit.runs.settings import merged


def plan(
    *,
    config: Sequence[Path] = (),
    gpus: Count = 1,
    gpu: Literal["h100", "a100", "v100", "l40s"] = "h100",
    images: Count | None = None,
    share: float = 0.25,
    step: float | None = None,
    decoded: float | None = None,
    cores: Count | None = None,
    price: float | None = None,
    json: bool = False,
) -> None:
    """Estimate the training of a recipe on given GPUs: images/s, cores, days, cost, and the bottleneck.

    Nothing is measured. The estimate rests on assumptions, which are printed with their sources. Your own measurements
    replace them.

    Args:
        config: Files of the recipe; later ones override earlier ones (default: experiments/imagenet, arm xnor).
        gpus: Number of GPUs in one node.
        gpu: Type of GPU.
        images: Number of training images (default: that of the recipe's image set).
        share: Assumed share of the GPU's peak that matrix products reach.
        step: Measured images/s of training on one GPU (xnorlit steps).
        decoded: Measured images/s that one core decodes (python -m xnorlit.bench.loaders).
        cores: CPU cores per GPU, to find out whether the loader is the bottleneck.
        price: Price of one GPU per hour, in your currency.
        json: Print JSON instead.

    Raises:
        UserError: The recipe is incomplete, or a number is out of range.
    """
    for name, value in (("step", step), ("decoded", decoded), ("price", price)):
        if value is not None and value <= 0:
            raise UserError(f"--{name} is {value:g}. Expected more than 0.")
    if not 0 < share <= 1:
        raise UserError(f"--share is {share:g}. Expected a share of the GPU's peak, more than 0 and at most 1.")
    recipe = merged(config or [Path("experiments/imagenet/base.yaml"), Path("experiments/imagenet/xnor.yaml")])
    work = _work(recipe, gpus, images)
    found = plan_of(work, gpu, gpus, Given(share, step, decoded, cores, price))
    if json:
        sys.stdout.write(json_format.dumps(asdict(found), indent=2) + "\n")
    else:
        sys.stdout.write(_text(found, gpu, gpus))


def _work(recipe: Mapping[str, Any], gpus: int, images: int | None) -> Work:
    """The work of training the recipe."""
    model, data, trainer = part(recipe, "model"), part(recipe, "data"), part(recipe, "trainer")
    source, epochs, limit = str(data.get("source", "")), trainer.get("max_epochs"), trainer.get("limit_train_batches")
    whole, own = data.get("global_batch"), data.get("batch_size")
    at_once = whole or (own * gpus if isinstance(own, int) else None)  # Each GPU has a process with batches of its own.
    if not isinstance(epochs, int) or not isinstance(at_once, int):
        raise UserError(
            "the configuration lacks trainer.max_epochs or data.batch_size (or data.global_batch). Give a recipe, such "
            "as -c experiments/imagenet/base.yaml -c experiments/imagenet/xnor.yaml."
        )
    if images is None and source in NAMED:
        images = NAMED[source].counts["train"]
    if images is None:
        raise UserError(f"the number of training images of {source or 'the recipe'} is unknown. Give --images N.")
    if isinstance(limit, int):
        images = min(images, limit * at_once)
    elif isinstance(limit, float):
        images = int(images * limit)
    chosen, layers = binarizers_of(model.get("binarizer", "XNOR"), model.get("layers") or {})
    with torch.device("meta"):
        built = xl.create(
            model.get("network", NETWORK),
            binarizer=chosen,
            classes=len(NAMED[source].classes) or None if source in NAMED else None,
            image_size=data.get("image_size"),
            layers=layers,
        )
    total = xl.summary(built)
    step = whole or at_once * (trainer.get("accumulate_grad_batches") or 1)
    return Work(sum(layer.macs for layer in total.layers), total.parameters, images, epochs, step)


def _text(found: Plan, gpu: str, gpus: int) -> str:
    days = f"{found.hours / 24:.1f} days" if found.hours >= 48 else f"{found.hours:.1f} hours"
    cost = f"{found.cost:,.0f}" if found.cost is not None else "unknown: give --price"
    parts = ", ".join(f"{name} {1000 * seconds:.2f} ms" for name, seconds in found.seconds.items())
    rows = [
        ("GPUs", f"{gpus} x {gpu}"),
        ("trains", f"{found.rate:,.0f} images/s"),
        ("loader must supply", f"{found.needed:,.0f} images/s"),
        ("cores per GPU", f"{found.cores_per_gpu:.1f}"),
        ("takes", f"{days}, {found.gpu_hours:,.1f} GPU hours, without validation"),
        ("costs", cost),
        ("limited by", f"{found.limit} (a step: {parts})"),
    ]
    lines = [f"{name:<20}{value}" for name, value in rows]
    lines += ["", "This is an estimate; nothing was measured on those GPUs. Assumptions:", ""]
    lines += [f"  {each.what:<30}{each.value:<26}{each.source}" for each in found.assumptions]
    return "\n".join(lines) + "\n"
