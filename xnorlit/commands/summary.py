"""The command `xnorlit summary`: a network by its name or a recipe, layer by layer, before any training."""

import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import torch
import yaml

from xnorlit.binarize import Binarizer, binarizers
from xnorlit.commands.arguments import Parser, reader
from xnorlit.errors import UserError, did_you_mean
from xnorlit.models import AlexNet, build, network_named, summarize
from xnorlit.models.table import as_json, table
from xnorlit.runs.settings import merged

NETWORK, BINARIZER = "alexnet-xnor", "XNOR"
SMALL_IMAGE = 64  # Up to this side, pixels, the usual sets have 10 classes; above, 1,000.


def summary(arguments: Sequence[str]) -> None:
    """Prints what a network weighs and computes, layer by layer.

    Args:
        arguments: `[-c FILE ...] [--network NAME] [--binarizer NAME] [--image-size N] [--classes N] [--json]`.

    Raises:
        UserError: The words are not understood, or the network cannot be built.
    """
    parser = Parser(
        "xnorlit summary",
        "Prints a network layer by layer: shapes, bits, parameters, multiply-adds, memory as bits and as fp32, and the "
        "size of its packed file. Nothing is trained or read but the configuration.",
        "xnorlit summary --network alexnet-xnor --binarizer XNOR --classes 1000",
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", type=Path, action="append", default=[], help="a recipe; later ones override"
    )
    parser.add_argument("--network", metavar="NAME", help=f"name of a network (default: the recipe's, or {NETWORK})")
    parser.add_argument(
        "--binarizer",
        metavar="NAME",
        help=f"its binarizer, or '{{class_path: NAME, init_args: ...}}' (default: the recipe's, or {BINARIZER})",
    )
    parser.add_argument("--image-size", metavar="N", type=reader(int), help="side of the images (default: as designed)")
    parser.add_argument("--classes", metavar="N", type=reader(int), help="number of classes (default: 1000, small: 10)")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    try:
        known = parser.parse_args(arguments)
    except SystemExit:  # after --help
        return
    recipe = merged(known.config)
    model, data = _part(recipe, "model"), _part(recipe, "data")
    network = network_named(known.network or model.get("network", NETWORK))
    size = _positive("--image-size", _or(known.image_size, data.get("image_size", network.image_size)))
    classes = _positive("--classes", _or(known.classes, 10 if size <= SMALL_IMAGE else 1000))
    chosen, layers = _binarizers(known.binarizer or model.get("binarizer", BINARIZER), model.get("layers") or {})
    with torch.device("meta"):  # Shapes without numbers: nothing is drawn.
        built = build(network, chosen, classes=classes, image_size=size, layers=layers)
    found = summarize(built)
    if known.json:
        sys.stdout.write(json.dumps(as_json(found, network.name, size, classes), indent=2) + "\n")
    else:
        sys.stdout.write(f"{_heading(built, chosen, size, classes)}\n\n{table(found)}\n{_unpackable(built)}")


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


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


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
        settings = parser.parse_args(["--binarizer", network if isinstance(network, str) else json.dumps(network)])
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
