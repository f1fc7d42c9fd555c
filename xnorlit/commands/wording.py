"""What libraries say, in plain words: what was given, what was expected, the near miss; or not at all.

jsonargparse (4.53) reports each problem as an `ArgumentError` that holds only a text, so this module parses the text.
"""

import importlib
import inspect
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from xnorlit.binarize import binarizers
from xnorlit.data.augment import Crop
from xnorlit.errors import did_you_mean
from xnorlit.runs.settings import read_config
from xnorlit.training.aids import AIDS
from xnorlit.training.losses import Loss
from xnorlit.training.schedule import Schedule

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
    "list": "a list",
    "dict": "a mapping {key: value}",
    "tuple": "a list",
}


# Warnings of Lightning about intended settings.
QUIET = (
    r"The '\w+' does not have many workers",
    r".*`train_dataloader` is not an instance of|.*does not have `__len__`",
    r"Checkpoint directory .* exists and is not empty",
    r"The number of training batches .* is smaller than the logging interval",
    r".*isinstance\(treespec, LeafSpec\)",
    r"Be aware that when using `ckpt_path`, callbacks used to create the checkpoint",
    r"You're using the WeightAveraging callback with a model that overrides the configure_model",  # of no shards here
    r"IProgress not found",  # tqdm's, in a notebook; nothing here draws its bars
)


def another_process(error: RuntimeError) -> str:
    """What to say where another process of the run has died, which libraries tell in many words; else nothing."""
    said, again = str(error), "goes on from the last checkpoint with the same command and --run.resume auto."
    if said.startswith("DataLoader worker (pid"):
        return (
            f"a process that reads images has died ({said.partition('. ')[0]}). It was killed or had no memory: use "
            f"fewer (--data.workers 2; 0 reads in the training process itself). A training {again}"
        )
    if isinstance(error, torch.distributed.DistError) or "gloo" in said:
        return f"the connection to another process of the run is lost: it has ended, and says why. The run {again}"
    return ""


def quiet() -> None:
    """Silence Lightning's warnings about intended settings."""
    for pattern in QUIET:
        warnings.filterwarnings("ignore", pattern)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def explain(message: str, command: str, options: Iterable[str], files: Iterable[Path]) -> str:
    """A plain message for an error of the parser.

    Args:
        message: Message of jsonargparse.
        command: fit, validate, test or predict.
        options: All options of the command, such as `--trainer.max_epochs`.
        files: The configuration files of the command, to locate a misspelt key.
    """
    help_ = f"See xnorlit {command} --help."
    options = list(options)
    if found := re.search(r"unrecognized arguments: ([^\s=]+)", message):
        return _unknown_word(found[1], command, options)
    if found := re.search(r"does not accept option '([^']+)'", message):
        near = did_you_mean(found[1], [option.lstrip("-") for option in options])
        return f"{_holder(found[1], files)} no setting named {found[1]}.{near} {help_}"
    if found := re.search(r"arguments are required: (.+)", message):
        missing = found[1].replace(f"{command}.", "")
        return (
            f"missing: {missing}. Give a recipe, such as -c experiments/cifar10/base.yaml -c "
            f"experiments/cifar10/xnor.yaml, or the options --{missing.replace(', ', ', --')}. {help_}"
        )
    keys = re.findall(r'Parser key "([^"]+)"', message)
    if not keys:
        return f"{message}\n{help_}"
    key = ".".join(dict.fromkeys(keys))
    if found := re.search(r"Unable to load config ['\"](.+)['\"]", message):
        near = " Did you mean --data.source?" if key == "data" else ""
        return f"--{key} is {found[1]}. Expected a YAML file of {key} settings, or --{key}.NAME for one.{near} {help_}"
    found = _mistyped_class(key, message, command) or _own_class(key, message) or _setting(key, message, command)
    return found or f"{message}\n{help_}"


def _unknown_word(word: str, command: str, options: list[str]) -> str:
    if word.startswith("-"):
        return f"{command} has no option {word}.{did_you_mean(word, options)} See xnorlit {command} --help."
    hint = f" Give configuration files with -c: -c {word}." if Path(word).suffix in (".yaml", ".yml") else ""
    return f"unexpected argument {word}. Give settings as --name value.{hint} See xnorlit {command} --help."


def _holder(key: str, files: Iterable[Path]) -> str:
    """`cifar10/base.yaml: there is`, with the last file that sets a dotted key."""
    holder = "there is"
    for file in files:
        part: Any = read_config(file)
        for name in key.split("."):
            part = part.get(name, _ABSENT) if isinstance(part, dict) else _ABSENT
        if part is not _ABSENT:
            holder = f"{file}: there is"
    return holder


_ABSENT = object()


def _mistyped_class(key: str, message: str, command: str) -> str | None:
    """The message for an unknown class name, with the near miss."""
    found = re.search(r"dot import path string: (\S+)", message) or re.search(r"Import path (\S+) does not", message)
    found = found or re.search(r"class_path '(\S+)':\s+(?:No module|module )", message)
    kind = next((name for name in _CLASSES if key.startswith(name)), None)
    if not found or kind is None or key.removeprefix(kind):
        return None
    what, known = _CLASSES[kind]
    names = known()
    near = did_you_mean(found[1].rpartition(".")[2], names)
    return (
        f"no {what} named {found[1]}.{near} Known: {', '.join(names)} (or a class path). "
        f"See xnorlit {command} --{'model.binarizer' if what == 'binarizer' else kind}.help"
    )


def _own_class(key: str, message: str) -> str | None:
    """The message for a class path that cannot be imported, or that is no class of a network."""
    found = re.search(r"a function or a callable class: (.+?)\.* Got value: .*class_path\W+([\w.]+)", message)
    if key != "model.network" or not found or "is not accepted" in message:
        return None
    module, _, name = found[2].rpartition(".")
    near = did_you_mean(name, [each for each in dir(sys.modules.get(module)) if each[0] != "_" and each != name])
    return (
        f"model.network: {found[2]} is no network ({found[1]}).{near} Expected the class path of a torch.nn.Module, "
        "such as mine.Net for the class Net in mine.py."
    )


def _setting(key: str, message: str, command: str) -> str | None:
    """The message for an unknown setting or a value of the wrong type."""
    see = f"See xnorlit {command} --help."
    if key in ("seed_everything", "data.seed"):
        key, message = "the seed", f"Expected a <class 'int'>. Got value: {message.split()[-1]}"
    owner = re.search(r"class_path[= ]'([\w.]+)'", message)
    if owner and key.partition(".")[0] in ("model", "data"):
        setting = ".".join(key.split(".")[:2]).replace("model.layers", "model.binarizer")
        see = f"See xnorlit {command} --{setting}.help {owner[1].rpartition('.')[2]}"
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        return _unknown_setting(key, found[1], owner and owner[1], see)
    given = re.findall(
        r"(?:Given value|Got value): (?!NestedArg|Namespace)(.+?)(?:\. Got value: Namespace.*)?$", message, re.M
    )
    expected = list(dict.fromkeys(_kinds(message)))
    expected = [kind for kind in expected if kind != "null"] or expected
    if not given or not expected:
        return None
    return f"{key} is {given[0]}. Expected {' or '.join(expected)}. {see}"


def _unknown_setting(key: str, name: str, owner: str | None, see: str) -> str:
    module, _, cls = (owner or "").rpartition(".")
    settings = list(inspect.signature(getattr(importlib.import_module(module), cls)).parameters) if owner else []
    if settings in ([], ["args", "kwargs"]):
        return f"{key}.{name} is a setting of a class, but no class is given. Give it first: --{key} NAME. {see}"
    return f"{cls} has no setting {name} ({key}).{did_you_mean(name, settings)} Known: {', '.join(settings)}. {see}"


def _kinds(message: str) -> Iterator[str]:
    """The expected values, as text: `a whole number`, `one of corrected, paper, ste`."""
    pattern = r"Expected a (?:<class '([\w.]+)'>|typing\.Literal\[(.+?)\](?=\.|$|\s)|(tuple with \d+ elements))"
    for name, choices, elements in re.findall(pattern, message):
        if choices:
            yield f"one of {choices.replace(chr(39), '')}"
        elif elements:
            yield f"a list of {elements.split()[2]} numbers"
        else:
            yield _KINDS.get(name, f"a {name}")


def _below(base: type) -> list[str]:
    """Names of all subclasses of a class, sorted."""
    found: set[str] = set()
    waiting = [base]
    while waiting:
        for each in waiting.pop().__subclasses__():
            waiting.append(each)
            if not each.__name__.startswith("_"):
                found.add(each.__name__)
    return sorted(found)


# The classes that a setting accepts; `layers` holds binarizers too.
_CLASSES: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "model.binarizer": ("binarizer", lambda: list(binarizers())),
    "model.layers": ("binarizer", lambda: list(binarizers())),
    "model.losses": ("loss", lambda: _below(Loss)),
    "model.optimizer": ("optimizer", lambda: _below(torch.optim.Optimizer)),
    "model.schedule": ("schedule", lambda: _below(Schedule)),
    "model.weight_decay_schedule": ("schedule", lambda: _below(Schedule)),
    "trainer.callbacks": ("callback", lambda: [aid.__name__ for aid in AIDS]),
    "data.train_crop": ("crop", lambda: _below(Crop)),
    "data.val_crop": ("crop", lambda: _below(Crop)),
}
