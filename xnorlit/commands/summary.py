"""The command `xnorlit summary`: a network by its name or a recipe, layer by layer, before any training."""

import inspect
import json as json_format
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import torch
import yaml

from xnorlit.binarize import Binarizer, binarizers
from xnorlit.commands.arguments import Count
from xnorlit.errors import UserError, did_you_mean
from xnorlit.models import AlexNet, build, network_named
from xnorlit.models.summary import as_json
from xnorlit.models.summary import summary as summary_of
from xnorlit.runs.settings import merged

NETWORK, BINARIZER = "alexnet-xnor", "XNOR"
SMALL_IMAGE = 64  # Up to this side, pixels, the usual sets have 10 classes; above, 1,000.


def summary(
    *,
    config: Sequence[Path] = (),
    network: str | None = None,
    binarizer: str | None = None,
    image_size: Count | None = None,
    classes: Count | None = None,
    json: bool = False,
) -> None:
    """Prints a network layer by layer: shapes, bits, parameters, multiply-adds, memory as bits and as fp32, file size.

    Nothing is trained, and nothing is read but the configuration.

    Args:
        config: A recipe; later ones override earlier ones.
        network: Name of a network (default: the recipe's, or alexnet-xnor).
        binarizer: Its binarizer, a name or '{class_path: NAME, init_args: ...}' (default: the recipe's, or XNOR).
        image_size: Side of the images, pixels (default: the network's own).
        classes: Number of classes (default: 1000, or 10 for images of at most 64 pixels).
        json: Print the same as JSON.

    Raises:
        UserError: The network cannot be built.
    """
    recipe = merged(config)
    model, data = _part(recipe, "model"), _part(recipe, "data")
    chosen_network = network_named(network or model.get("network", NETWORK))
    side = _positive("data.image_size", image_size or data.get("image_size", chosen_network.image_size))
    classes = classes or (10 if side <= SMALL_IMAGE else 1000)
    chosen, layers = _binarizers(binarizer or model.get("binarizer", BINARIZER), model.get("layers") or {})
    with torch.device("meta"):  # Shapes without numbers: nothing is drawn.
        built = build(chosen_network, chosen, classes=classes, image_size=side, layers=layers)
    found = summary_of(built)
    if json:
        sys.stdout.write(json_format.dumps(as_json(found, chosen_network.name, side, classes), indent=2) + "\n")
    else:
        sys.stdout.write(f"{_heading(built, chosen, side, classes)}\n\n{found}\n{_unpackable(built)}")


def _heading(built: AlexNet, binarizer: Binarizer, size: int, classes: int) -> str:
    network = built.network
    return f"{network.name}, {type(binarizer).__name__}, {size} x {size} pixels, {classes:,} classes ({network.source})"


def _unpackable(built: AlexNet) -> str:
    """One line for each reason why a layer has no packed form, so that its size is what its codes would take."""
    reasons: dict[str, list[str]] = {}
    for name, layer in built.layers():
        if layer.binarizer.cannot_pack:
            reasons.setdefault(layer.binarizer.cannot_pack, []).append(name)
    return "".join(f"no packed form yet: {', '.join(names)}: {why}\n" for why, names in reasons.items())


def _part(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = recipe.get(name) or {}
    if not isinstance(part, dict):
        raise UserError(f"{name} is {part!r} in the configuration. Expected settings, as in experiments/*/base.yaml.")
    return part


def _positive(option: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{option} is {value}. Expected a whole number from 1.")
    return value


def _binarizers(network: Any, layers: Mapping[str, Any]) -> tuple[Binarizer, dict[str, Binarizer]]:
    """The network's and each layer's binarizer from what a recipe says: a name, or class_path with init_args."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--binarizer", type=Binarizer)
    parser.add_argument("--layers", type=dict[str, Binarizer])
    try:
        settings = parser.parse_args(
            ["--binarizer", network if isinstance(network, str) else json_format.dumps(network)]
        )
        settings.layers = parser.parse_object({"binarizer": "Float", "layers": dict(layers)}).layers
        made = parser.instantiate(settings)
    except jsonargparse.ArgumentError as error:
        raise UserError(_in_words(network, layers) or _of_the_parser(str(error))) from error
    return made.binarizer, made.layers or {}


def _of_the_parser(message: str) -> str:
    keys, last = re.findall(r'Parser key "([^"]+)"', message), message.splitlines()[-1].strip()
    choices = re.sub(r"Expected a typing\.Literal\[(.+?)\]", r"Expected one of \1", last)
    return f"{'.'.join(keys) or 'the binarizer'} is not understood. {choices.replace(chr(39), '')}"


def _in_words(network: Any, layers: Mapping[str, Any]) -> str | None:
    """What is wrong with a class's name or the names of its settings, with the near miss."""
    known = binarizers()
    for given in (network, *layers.values()):
        value = yaml.safe_load(given) if isinstance(given, str) else given
        settings = (value.get("init_args") or {}) if isinstance(value, dict) else {}
        name = str(value.get("class_path") if isinstance(value, dict) else value).rpartition(".")[2]
        if name not in known:
            return f"no binarizer named {name}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        takes = inspect.signature(known[name]).parameters
        unknown = [setting for setting in settings if setting not in takes]
        if unknown:
            near = did_you_mean(unknown[0], takes)
            return f"{name} has no setting {unknown[0]}.{near} Known: {', '.join(takes)}."
    return None
