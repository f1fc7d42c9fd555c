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
    """A training step of a run, on random images: forward, losses, backward, optimizer, care of the latent weights.

    It includes no reading or augmenting of images and no training aid but the losses; a teacher computes its logits in
    each step. The second of two training stages is what the step shows.

    Args:
        run: Of any arm; its losses may name other arms of the pair.
        data: Its images, set up.
        device: Where it computes.

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
        module: Its network not yet built.
        data: Its images, set up; or what stands for them, with their size, classes and batch.
        device: Where it computes.
        precision: A key of `AUTOCAST`.
        folder: Of its run, where losses look for other arms.
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
