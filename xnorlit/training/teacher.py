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
    """The network of a checkpoint, in evaluation mode and without gradients, rebuilt from its run's config.yaml.

    Args:
        checkpoint: `RUN/checkpoints/NAME.ckpt`.
        data: The student's images, which must have the same classes, in the same order, and the same size.

    Raises:
        UserError: The file is not a run's checkpoint, or was trained on other classes or another image size.
    """
    content = load(checkpoint)
    made = content.get("xnorlit")
    if made is None:
        raise UserError(f"{checkpoint} does not record its training classes. Expected a RUN/checkpoints/last.ckpt.")
    remedy = "Choose a teacher with the same classes, such as the float twin."
    refuse_other_classes(made["classes"], data.classes, f"the teacher {checkpoint}", remedy)
    if made["image_size"] != data.image_size:
        raise UserError(
            f"the teacher {checkpoint} was trained on images of {made['image_size']} pixels, but this run uses "
            f"{data.image_size}. Train a teacher with data.image_size {data.image_size}, or choose another one."
        )
    config = checkpoint.parents[1] / "config.yaml"
    module = classifier(load_config(config), config)
    module.build_for(data)
    module.on_load_checkpoint(content)  # This refuses weights of other shapes with a plain message.
    module.load_state_dict(content["state_dict"])
    return module.net.eval().requires_grad_(False)
