"""The teacher: a trained network for distillation."""

from pathlib import Path

from xnorlit.data import ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork
from xnorlit.runs.config import load_config
from xnorlit.training.checkpoints import load
from xnorlit.training.recorded import classifier
from xnorlit.training.trained_on import refuse_other_classes


def trained_network(checkpoint: Path, data: ImageData) -> BuiltNetwork:
    """The network of a checkpoint, in evaluation mode and without gradients, from the config.yaml of its run.

    Args:
        checkpoint: `RUN/checkpoints/NAME.ckpt`.
        data: Its images, which must have the same classes, in order, and image size.

    Raises:
        UserError: It is not such a checkpoint, or was trained on other classes or another image size.
    """
    content = load(checkpoint)
    made = content.get("xnorlit")
    if made is None:
        raise UserError(f"{checkpoint} does not say what it was trained on. Expected a RUN/checkpoints/last.ckpt.")
    remedy = "Choose a teacher of the same classes, such as the float twin."
    refuse_other_classes(made["classes"], data.classes, f"the teacher {checkpoint}", remedy)
    if made["image_size"] != data.image_size:
        raise UserError(
            f"the teacher {checkpoint} was trained on images of {made['image_size']} pixels, and this run has "
            f"{data.image_size}. Train a teacher with data.image_size {data.image_size}, or choose another one."
        )
    config = checkpoint.parents[1] / "config.yaml"
    module = classifier(load_config(config), config)
    module.build_for(data)
    module.on_load_checkpoint(content)  # Refuses weights of other shapes with a plain message.
    module.load_state_dict(content["state_dict"])
    return module.net.eval().requires_grad_(False)
