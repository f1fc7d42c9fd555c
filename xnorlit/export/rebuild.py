"""A run's network with the weights of one of its checkpoints, and the run's data."""

from dataclasses import dataclass
from pathlib import Path

from xnorlit.data import ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork
from xnorlit.runs import Run
from xnorlit.training.checkpoints import load
from xnorlit.training.recorded import classifier, images


@dataclass(frozen=True)
class Rebuilt:
    """A network as training evaluated it.

    Attributes:
        network: The network with the checkpoint's weights, in evaluation mode.
        data: The run's data, set up.
        checkpoint: The checkpoint's file.
        epochs: Number of epochs that the weights were trained for.
    """

    network: BuiltNetwork
    data: ImageData
    checkpoint: Path
    epochs: int


def rebuild(run: Run, checkpoint: Path) -> Rebuilt:
    """Rebuilds a run's network from its configuration and a checkpoint's weights, without running code from the file.

    Args:
        run: The run.
        checkpoint: The checkpoint's file.

    Raises:
        UserError: The configuration is unknown to this version, the data are gone, or the weights do not fit.
    """
    content = load(checkpoint)
    file = run.path / "config.yaml"
    module, data = classifier(run.config, file), images(run.config, file)
    try:
        data.setup()
    except UserError as error:
        raise UserError(
            f"the images of {run.path} are needed to measure its network: {error} Run this from the folder that "
            "the run was trained in."
        ) from error
    module.build_for(data)
    try:
        module.on_load_checkpoint(content)
    except UserError as error:
        raise UserError(f"{checkpoint} does not belong to {run.path}: {error}") from error
    module.load_state_dict(content["state_dict"])
    assert module.net is not None
    return Rebuilt(module.net.eval(), data, checkpoint, int(content.get("epoch", -1)) + 1)
