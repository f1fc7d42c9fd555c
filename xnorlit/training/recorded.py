"""Rebuild the module, the network and the data of a run from its config.yaml."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from pytorch_lightning.cli import LightningArgumentParser

from xnorlit.data import ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork


def classifier(config: dict[str, Any], file: Path) -> Any:
    """The `Classifier` of a run; its network is not yet built.

    Args:
        config: The run's resolved configuration, nested.
        file: The configuration's file, for the message.

    Raises:
        UserError: The configuration has settings that this version does not know, or names a class that cannot be
            imported.
    """
    from xnorlit.training.module import Classifier  # Not at the top: some of its losses import this module.

    return _made(Classifier, "model", config, file)


def images(config: dict[str, Any], file: Path) -> ImageData:
    """The data module of a run, not yet set up.

    Args:
        config: See `classifier`.
        file: See `classifier`.

    Raises:
        UserError: See `classifier`.
    """
    return _made(ImageData, "data", config, file)


def untrained(config: dict[str, Any], file: Path, *, classes: int) -> tuple[BuiltNetwork, int]:
    """The network of a run with new random weights, in evaluation mode, and its image size.

    Args:
        config: See `classifier`.
        file: See `classifier`.
        classes: Number of classes.

    Raises:
        UserError: See `classifier`.
    """
    module = classifier(config, file)
    size = int((config.get("data") or {}).get("image_size") or module.spec.image_size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = module.spec.build(classes=classes, image_size=size)
    return net.eval(), size


def _made(kind: type, key: str, config: dict[str, Any], file: Path) -> Any:
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(kind, key)
    settings = {key: config[key]} if config.get(key) else {}
    try:
        return getattr(parser.instantiate(parser.parse_object(settings)), key)
    except ArgumentError as error:
        for path in _class_paths(settings):
            _refuse_missing(path, file)
        raise UserError(
            f"{file} has settings that this version does not know: {error} Use the version that trained the run, or "
            "train the run again."
        ) from error


def _class_paths(settings: Any) -> Iterator[str]:
    """Every class path in a configuration."""
    if isinstance(settings, dict):
        yield from (str(value) for key, value in settings.items() if key == "class_path")
    parts = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else ()
    for part in parts:
        yield from _class_paths(part)


def _refuse_missing(path: str, file: Path) -> None:
    """Refuse a class whose module is not on Python's path, such as a network of the folder in which it was trained."""
    module = path.rpartition(".")[0]
    try:
        importlib.import_module(module or path)
    except Exception as error:  # A user's own file may raise anything.
        raise UserError(
            f"{file} names {path}, which cannot be imported ({error}). Run the command in the folder with the file "
            f"{module.partition('.')[0]}.py, or add that folder to PYTHONPATH."
        ) from error
