"""A run's network with the weights of one of its checkpoints, and the data that it was measured on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError
from pytorch_lightning.cli import LightningArgumentParser

from xnorlit.data import ImageData
from xnorlit.errors import UserError
from xnorlit.models import AlexNet
from xnorlit.runs import Run
from xnorlit.training.checkpoints import load
from xnorlit.training.module import Classifier

_PREFIX = "net."


@dataclass(frozen=True)
class Rebuilt:
    """A network as it was evaluated in training.

    Attributes:
        network: With the checkpoint's weights, in evaluation mode.
        data: The run's data, set up.
        checkpoint: The file.
        epochs: For how many epochs the weights were trained.
    """

    network: AlexNet
    data: ImageData
    checkpoint: Path
    epochs: int


def checkpoint_of(run: Run, which: str) -> Path:
    """The file of a run's checkpoint.

    Args:
        run: The run.
        which: `best`, `last`, or a path.

    Raises:
        UserError: There is no such file.
    """
    path = run.path / "checkpoints" / f"{which}.ckpt" if which in ("best", "last") else Path(which)
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in (run.path / "checkpoints").glob("*.ckpt"))) or "none"
        raise UserError(f"there is no checkpoint {path}. Expected best, last or a file; {run.path} has: {there}.")
    return path


def rebuild(run: Run, checkpoint: Path) -> Rebuilt:
    """The run's network from its configuration, with a checkpoint's weights; no code in the file is run.

    Args:
        run: The run.
        checkpoint: The file.

    Raises:
        UserError: The configuration is not this version's, the data are gone, or the weights are another network's.
    """
    content = load(checkpoint)
    module, data = _instantiated(run)
    data.setup()
    module.build_for(data)
    assert module.net is not None
    _take_weights(module.net, content["state_dict"], checkpoint, run)
    return Rebuilt(module.net.eval(), data, checkpoint, int(content.get("epoch", -1)) + 1)


def _instantiated(run: Run) -> tuple[Classifier, ImageData]:
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(Classifier, "model")
    parser.add_lightning_class_args(ImageData, "data")
    settings = {key: run.config[key] for key in ("model", "data") if key in run.config}
    try:
        made = parser.instantiate_classes(parser.parse_object(settings))
    except ArgumentError as error:
        raise UserError(
            f"{run.path / 'config.yaml'} has settings that this version does not understand: {error} Pack the run with "
            "the version that trained it, or train it again."
        ) from error
    return made.model, made.data


def _take_weights(network: AlexNet, state: dict[str, Any], checkpoint: Path, run: Run) -> None:
    found = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    differ = [
        f"{key} is {list(found[key].shape)}, expected {list(expected[key].shape)}"
        for key in expected
        if key in found and found[key].shape != expected[key].shape
    ]
    complaints = [
        *([f"it lacks {', '.join(missing[:3])}"] if missing else []),
        *([f"it has {', '.join(unknown[:3])} too"] if unknown else []),
        *differ[:3],
    ]
    if complaints:
        raise UserError(
            f"{checkpoint} is not of the network of {run.path} ({network.network.name}, "
            f"{run.summary.classes} classes): {'; '.join(complaints)}. Give a checkpoint of that run: best or last."
        )
    network.load_state_dict(found)
