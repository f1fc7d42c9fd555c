"""A run's network with the weights of one of its checkpoints, and the run's data."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from xnorlit.data import CentreCrop, ImageData
from xnorlit.data.sources import readable
from xnorlit.errors import UserError
from xnorlit.export.pack import Packed, pack
from xnorlit.models import BuiltNetwork
from xnorlit.packed.origin import Source
from xnorlit.runs import Run
from xnorlit.training.checkpoints import load
from xnorlit.training.recorded import classifier, images

CALIBRATION = 256  # training images for calibrating the input range of the last layer

Ends = Literal["float", "int8"]


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


def packed_of(run: Run, rebuilt: Rebuilt, ends: Ends) -> Packed:
    """The packed network of a run, with its origin, before it is evaluated.

    Args:
        run: The run.
        rebuilt: Its network and data.
        ends: First and last layer in fp32 or in 8 bits.

    Raises:
        UserError: It cannot be packed.
    """
    data = rebuilt.data
    crop = data.val_crop
    if not isinstance(crop, CentreCrop):
        raise UserError(
            f"{run.path} validates with {crop}, which is random or shifts the image; a packed file has a "
            "central crop. Train with data.val_crop: CentreCrop."
        )
    environment = run.environment
    source = Source(
        weights="trained",
        run=replace(run.place, root=Path(run.place.root.name)).path.as_posix(),
        checkpoint=rebuilt.checkpoint.name,
        epoch=rebuilt.epochs,
        commit=environment.commit or "",
        changed=environment.dirty,
        xnorlit=version("xnorlit"),
    )
    return pack(
        rebuilt.network,
        image_size=data.image_size,
        classes=readable(data.classes),
        ends=ends,
        calibration=data.spread_pictures("train", CALIBRATION) if ends == "int8" else None,
        crop=crop.ratio,
        squash=crop.squash,
        source=source,
    )
