"""A run as a function that takes one training step."""

from collections.abc import Callable

import torch

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.layers import attach
from xnorlit.runs import Run
from xnorlit.training.recorded import classifier

AUTOCAST = {"32-true": None, "32": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def training_step(run: Run, data: ImageData, device: torch.device) -> Callable[[], None]:
    """What the run's training repeats, on made-up images: forward, losses, backward, optimizer, care of latent weights.

    It leaves out reading and augmenting images, and every training aid but the losses: a teacher is asked at each step.
    A step of the second of two stages is as it is here.

    Args:
        run: Of any arm; its losses may name other arms of the pair.
        data: Its images, set up.
        device: Where it is computed.

    Raises:
        UserError: It was trained in an unknown precision.
    """
    precision = str((run.config.get("trainer") or {}).get("precision") or "32-true")
    if precision not in AUTOCAST:
        raise UserError(f"{run.path} was trained in precision {precision}. Known: {', '.join(AUTOCAST)}.")
    dtype = AUTOCAST[precision]
    module = classifier(run.config, run.path / "config.yaml")
    torch.manual_seed(run.place.seed)
    module.build_for(data)
    net = module.net.to(device).train()
    for loss in module.losses:
        loss.prepare(net, data, run.path)
    optimizer = module.optimizer()
    attach(optimizer, net)
    batch = _made_up(data, device)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = net(batch.images).float()
            loss = torch.stack([term(net, batch, logits) for term in module.losses]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step if device.type == "cpu" else _awaited(step)


def _made_up(data: ImageData, device: torch.device) -> Batch:
    size = data.image_size
    images = torch.randint(256, (data.batch_size, 3, size, size), dtype=torch.uint8)
    labels = torch.randint(data.num_classes, (data.batch_size,))
    parts = (images.contiguous(memory_format=torch.channels_last), labels, torch.arange(data.batch_size))
    return Batch(*(part.to(device) for part in parts))


def _awaited(step: Callable[[], None]) -> Callable[[], None]:
    """The step, which returns when the device has finished it; otherwise the clock would be read too early."""

    def awaited() -> None:
        step()
        torch.accelerator.synchronize()

    return awaited
