"""Initial weights from a trained network: map names, copy weights, fit scales, re-estimate batch norms."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from xnorlit.binarize import Binarizer
from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer
from xnorlit.layers.added import names_of_added
from xnorlit.models import BuiltNetwork
from xnorlit.models.decouple import decouple
from xnorlit.runs.config import load_config
from xnorlit.training.checkpoints import load_weights
from xnorlit.training.recalibration import estimate
from xnorlit.training.recorded import untrained

# Names of the layers with weights in torchvision.models.alexnet.
TORCHVISION = {
    "features.0": "conv1.conv",
    "features.3": "conv2.conv",
    "features.6": "conv3.conv",
    "features.8": "conv4.conv",
    "features.10": "conv5.conv",
    "classifier.1": "fc6.linear",
    "classifier.4": "fc7.linear",
    "classifier.6": "fc8.linear",
}
_BINARIZER = "binarizer"  # the name of a layer's binarizer, in the names of tensors
_OF_THE_NETWORK = ("network", "binarizer", "layers", "conversion")  # the settings of a run that make its network
SAMPLE = 4096  # training images for re-estimating batch norms
SHOWN = 16  # tensors listed in a message


def inherit(net: BuiltNetwork, file: Path, classes: Sequence[str] = ()) -> None:
    """Copy the weights of a trained network into a new one, and fit each binarizer's learned scales to them.

    A layer takes its binarizer's tensors from the file only if the file's binarizer is the same method with the same
    settings, because another method means something else by a name (a gain, a step). The run's config.yaml tells. For a
    file outside a run, the layer's binarizer must have tensors of the same names and shapes there, no more and no less.

    Pixels are normalised with the mean and deviation of this run's data. If the file has no batch norms, the new ones
    stay as initialised. So do the parts that a network has because of its binarizer, and the file's network lacks:
    learned scales, activations, and the norms that `binarize_` puts before layers. If the network is BinaryDuo's
    decoupled one and the file holds the coupled one, the weights are decoupled.

    Args:
        net: The network, changed in place.
        file: Checkpoint of a run, or the weights of torchvision's AlexNet.
        classes: The classes on which a run's checkpoint must have been trained; default: any.

    Raises:
        UserError: The file cannot be read, was trained on other classes, or has other tensors than this network; the
            message lists them.
    """
    parts = names_of_added(net)
    theirs = _behind_norms({_our_name(key): value for key, value in load_weights(file, classes).items()}, parts)
    ours = _without_pixels(net.state_dict())
    coupled = net.coupled
    if coupled is not None and any(key in theirs and theirs[key].shape != ours[key].shape for key in ours):
        theirs = decouple(theirs, coupled)
    taken = _matched(ours, _without_pixels(theirs), parts, net.name, file)
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, BinaryLayer)}
    kept = _of_the_same_method(layers, theirs, file)
    taken = [key for key in taken if _layer_of(key) in {None, *kept}]
    with torch.no_grad():
        for key in taken:
            ours[key].copy_(theirs[key])
        for name, layer in layers.items():
            if name not in kept:
                layer.binarizer.fit(layer.weight)


def _of_the_same_method(layers: Mapping[str, BinaryLayer], theirs: Mapping[str, Tensor], file: Path) -> set[str]:
    """Names of the layers whose binarizer's tensors are those of the same method in the file."""
    shapes: dict[str | None, dict[str, torch.Size]] = {}
    for key, value in theirs.items():
        layer = _layer_of(key)
        shapes.setdefault(layer, {})[key.removeprefix(f"{layer}.{_BINARIZER}.")] = value.shape
    found = set()
    for name, layer in layers.items():
        own = {key: value.shape for key, value in layer.binarizer.state_dict().items()}
        if own and own == shapes.get(name):
            found.add(name)
    config = file.parent.parent / "config.yaml"
    if not found or file.parent.name != "checkpoints" or not config.is_file():
        return found
    settings = load_config(config)
    model = {key: value for key, value in (settings.get("model") or {}).items() if key in _OF_THE_NETWORK}
    # Binarizers do not depend on the number of classes.
    source, _ = untrained({"model": model, "data": settings.get("data")}, config, classes=2)
    made = {name: part.binarizer for name, part in source.named_modules() if isinstance(part, BinaryLayer)}
    return {name for name in found if name in made and _alike(layers[name].binarizer, made[name])}


def _alike(ours: Binarizer, theirs: Binarizer) -> bool:
    """Whether both are the same method with the same settings, which a binarizer's text lists."""
    return type(ours) is type(theirs) and repr(ours) == repr(theirs)


def _layer_of(key: str) -> str | None:
    """The layer to whose binarizer a tensor belongs; None if it belongs to none."""
    layer, binarizer, _ = key.partition(f".{_BINARIZER}.")
    return layer if binarizer else None


def accuracy(trainer: pl.Trainer, module: Any, file: Path) -> dict[str, float]:
    """Top-1 and top-5 of a network with inherited weights and re-estimated batch norms, also printed and logged.

    Args:
        trainer: Trainer with the data module set up.
        module: The `Classifier`, on its device.
        file: The file of the weights, for the printed line.
    """
    data = trainer.datamodule
    estimate(trainer, module, list(data.training_sample(SAMPLE)))
    training = module.training
    module.eval()
    with torch.no_grad(), closing(iter(data.val_dataloader())) as batches:
        for batch in islice(batches, trainer.fast_dev_run or None):
            batch = module.transfer_batch_to_device(batch, module.device, 0)
            logits = module.exact_logits(batch)
            module.top1.update(logits, batch.labels)
            module.top5.update(logits, batch.labels)
    module.train(training)
    found = {"top1": module.top1.compute().item(), "top5": module.top5.compute().item()}
    module.top1.reset()
    module.top5.reset()
    for logger in trainer.loggers:
        logger.log_metrics({f"init/{key}": value for key, value in found.items()}, step=0)
    say(
        "init",
        f"{file}: top-1 {100 * found['top1']:.2f} %, top-5 {100 * found['top5']:.2f} % before training "
        "(batch norms re-estimated)",
    )
    return found


def _our_name(key: str) -> str:
    module, _, tensor = key.rpartition(".")
    return f"{TORCHVISION.get(module, module)}.{tensor}"


def _behind_norms(theirs: Mapping[str, Tensor], parts: Sequence[str]) -> dict[str, Tensor]:
    """The file's tensors, where a layer that has a norm of ours before it is that norm's neighbour `layer`."""
    found = dict(theirs)
    for outer in [part.removesuffix(".norm") for part in parts if part.endswith(".norm")]:
        for tensor in ("weight", "bias"):
            if f"{outer}.{tensor}" in found:
                found[f"{outer}.layer.{tensor}"] = found.pop(f"{outer}.{tensor}")
    return found


def _without_pixels(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith("normalize.")}


def _matched(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], parts: Sequence[str], network: str, file: Path
) -> list[str]:
    """The names to copy. What belongs to a binarizer may be missing, as may batch norms in a file without any."""

    def optional(key: str) -> bool:
        return _belongs_to_binarizer(key) or any(key.startswith(f"{part}.") for part in parts)

    has_norms = any(".norm." in key for key in theirs)
    wrong, taken = [], []
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        if key in ours and key in theirs and ours[key].shape == theirs[key].shape:
            taken.append(key)
        elif _layer_of(key) is not None:
            continue  # Another method's tensor; the layer's binarizer is fitted.
        elif (key in ours and key in theirs) or (not optional(key) and (has_norms or ".norm." not in key)):
            wrong.append(key)
    if wrong:
        lines = [f"  {key}: file {_shape(theirs, key)}, network {_shape(ours, key)}" for key in wrong[:SHOWN]]
        if len(wrong) > SHOWN:
            lines.append(f"  and {len(wrong) - SHOWN} more")
        raise UserError(
            f"model.init_from: {file} does not fit {network} ({len(wrong)} tensors differ):\n" + "\n".join(lines) + "\n"
            "Set model.network to the network that the file holds and use data with as many classes, or give another "
            "file."
        )
    return taken


def _belongs_to_binarizer(key: str) -> bool:
    """Whether the tensor belongs to a binarizer, in its layer or after the layer; the network may have another one."""
    return bool({_BINARIZER, "behind", "post_layer"} & set(key.split(".")))


def _shape(state: Mapping[str, Tensor], key: str) -> str:
    return str(tuple(state[key].shape)) if key in state else "absent"
