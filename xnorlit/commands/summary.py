"""The command `xnorlit summary`: describe an untrained network layer by layer, by its name or a recipe."""

import json as json_format
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import torch

import xnorlit as xl
from xnorlit.commands.arguments import Count
from xnorlit.errors import UserError
from xnorlit.runs.settings import merged

NETWORK, BINARIZER = "alexnet-xnor", "XNOR"


def summary(
    *,
    config: Sequence[Path] = (),
    network: str | None = None,
    binarizer: str | None = None,
    image_size: Count | None = None,
    classes: Count | None = None,
    json: bool = False,
    target: Literal["packed", "fpga"] = "packed",
    unfolding: Count = 1,
    copies: Count = 1,
    clock: float | None = None,
) -> None:
    """Print a network layer by layer: shapes, bits, parameters, multiply-adds, memory packed and in fp32.

    It trains nothing and reads only the configuration.

    Args:
        config: Files of a recipe; later ones override earlier ones.
        network: Name of a network (default: the recipe's, or alexnet-xnor).
        binarizer: Name of a binarizer, or '{class_path: NAME, init_args: ...}' (default: the recipe's, or XNOR).
        image_size: Side of the images, pixels (default: the network's own).
        classes: Number of classes (default: 1000, or 10 for images of at most 64 pixels).
        json: Print JSON instead.
        target: packed, or fpga for the cycles of each layer in hardware of its own.
        unfolding: With fpga, products of one output that a layer computes in a cycle.
        copies: With fpga, outputs that a layer computes in a cycle.
        clock: With fpga, clock in MHz, for images per second.

    Raises:
        UserError: The network cannot be built.
    """
    if clock is not None and clock <= 0:
        raise UserError(f"--clock is {clock:g}. Expected a clock in MHz, above 0.")
    if target != "fpga" and (unfolding, copies, clock) != (1, 1, None):
        raise UserError("--unfolding, --copies and --clock need --target fpga.")
    if target == "fpga" and json:
        raise UserError("--target fpga prints a table. Omit --json.")
    recipe = merged(config)
    model, data = part(recipe, "model"), part(recipe, "data")
    name, side = network or model.get("network", NETWORK), image_size or data.get("image_size")
    if side is not None:
        _positive("data.image_size", side)
    chosen, layers = binarizers_of(binarizer or model.get("binarizer", BINARIZER), model.get("layers") or {})
    with torch.device("meta"):  # shapes without values
        built = xl.create(name, binarizer=chosen, classes=classes, image_size=side, layers=layers)
    found, table = xl.summary(built), built.network
    size = built.image_size
    if json:
        about = {"network": table.name, "image_size": size, "classes": built.classes}
        sys.stdout.write(json_format.dumps(about | found.to_json(), indent=2) + "\n")
    else:
        about = f"{type(chosen).__name__}, {size} x {size} pixels, {built.classes:,} classes ({table.source})"
        reasons: dict[str, list[str]] = {}
        for layer_name, layer in built.layers():
            if layer.binarizer.cannot_pack:
                reasons.setdefault(layer.binarizer.cannot_pack, []).append(layer_name)
        lines = [f"no packed form for {', '.join(names)}: {why}\n" for why, names in reasons.items()]
        shown = found.cycles(unfolding=unfolding, copies=copies, clock=clock) if target == "fpga" else found
        sys.stdout.write(f"{table.name}, {about}\n\n{shown}\n{''.join(lines)}")


def part(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The settings of a recipe under a name; empty if there are none."""
    found = recipe.get(name) or {}
    if not isinstance(found, dict):
        raise UserError(f"{name} is {found!r} in the configuration. Expected settings, as in experiments/*/base.yaml.")
    return found


def _positive(option: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{option} is {value}. Expected a whole number from 1.")


def binarizers_of(network: Any, layers: Mapping[str, Any]) -> tuple[xl.Binarizer, dict[str, xl.Binarizer]]:
    """The binarizers of the network and of single layers in a recipe: names, or class_path with init_args."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--model.binarizer", type=xl.Binarizer)
    parser.add_argument("--model.layers", type=dict[str, xl.Binarizer])
    given = network if isinstance(network, str) else json_format.dumps(network)
    try:
        settings = parser.parse_args(["--model.binarizer", given])
        other = parser.parse_object({"model": {"binarizer": "Float", "layers": dict(layers)}})
        settings.model.layers = other.model.layers
        made = parser.instantiate(settings).model
    except jsonargparse.ArgumentError as error:
        from xnorlit.commands.wording import explain  # Imported here, because it imports Lightning.

        raise UserError(explain(str(error), "fit", [], [])) from error
    return made.binarizer, made.layers or {}
