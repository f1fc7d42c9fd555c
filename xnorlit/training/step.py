"""Functions that take one training step of a run or of a module."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.layers import attach
from xnorlit.runs import Run
from xnorlit.training.recorded import classifier

AUTOCAST = {"32-true": None, "32": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def training_step(run: Run, data: ImageData, device: torch.device) -> Callable[[], None]:
    """A training step of a run on random images: forward, losses, backward, optimizer, latent-weight hook.

    It does not read or augment images. Of the training aids it includes only the losses, with the forward of a teacher
    if there is one. A run in two stages takes a step of the second.

    Args:
        run: A run of any arm; its losses may refer to other arms of the pair.
        data: The run's data module, set up.
        device: Device of the computation.

    Raises:
        UserError: The run was trained in an unknown precision.
    """
    precision = str((run.config.get("trainer") or {}).get("precision") or "32-true")
    if precision not in AUTOCAST:
        raise UserError(f"{run.path} was trained in precision {precision}. Known: {', '.join(AUTOCAST)}.")
    torch.manual_seed(run.place.seed)
    return module_step(classifier(run.config, run.path / "config.yaml"), data, device, precision, run.path)


def module_step(
    module: Any, data: Any, device: torch.device, precision: str, folder: Path = Path()
) -> Callable[[], None]:
    """A training step of a `Classifier` on random images.

    Args:
        module: A module whose network is not yet built.
        data: The data module, set up, or any object with its image size, classes and batch size.
        device: Device of the computation.
        precision: A key of `AUTOCAST`.
        folder: Folder of the run, where losses look for other arms.
    """
    dtype = AUTOCAST[precision]
    module.build_for(data)
    net = module.net.to(device).train()
    for loss in module.losses:
        loss.prepare(net, data, folder)
    optimizer = module.optimizer()
    attach(optimizer, net)
    batch = _random_batch(data, device)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = net(batch.images).float()
            loss = torch.stack([term(net, batch, logits) for term in module.losses]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type != "cpu":  # The clock must not stop before the device has finished.
            torch.accelerator.synchronize()

    return step


def _random_batch(data: Any, device: torch.device) -> Batch:
    size = data.image_size
    images = torch.randint(256, (data.batch_size, 3, size, size), dtype=torch.uint8)
    labels = torch.randint(data.num_classes, (data.batch_size,))
    parts = (images.contiguous(memory_format=torch.channels_last), labels, torch.arange(data.batch_size))
    return Batch(*(part.to(device) for part in parts))
