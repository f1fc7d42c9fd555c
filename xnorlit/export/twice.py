"""Channels that a network writes twice are outputs that a packed layer has twice."""

import torch
from torch import Tensor, nn

from xnorlit.export.operands import refuse
from xnorlit.layers import BinaryConv2d, BinaryLayer
from xnorlit.models import AlexNet
from xnorlit.models.builder import DuplicateChannels


@torch.no_grad()
def without_twice(model: AlexNet) -> None:
    """Takes each `DuplicateChannels` out of a network and gives the layer before it every output once more instead.

    Args:
        model: A built network, changed in place into one of the same function.

    Raises:
        UserError: A layer whose outputs occur twice has groups, or a binarizer that has learned something of them.
    """
    since: list[tuple[str, nn.Module]] = []  # The last layer and all modules behind it.
    for name, block in model.named_children():
        for step, module in list(block.named_children()):
            if isinstance(module, DuplicateChannels):
                for owner, part in since:
                    _repeat_outputs(owner, part)
                delattr(block, step)
                continue
            if isinstance(module, BinaryLayer):
                since = []
            since.append((name, module))


def _repeat_outputs(name: str, module: nn.Module) -> None:
    if isinstance(module, BinaryLayer):
        kind = type(module.binarizer).__name__
        learned = any(values.ndim for values in module.binarizer.state_dict().values())
        refuse(learned, name, f"its outputs occur twice, which {kind} does not allow for; use BinaryDuo")
        grouped = isinstance(module, BinaryConv2d) and module.groups > 1
        refuse(grouped, name, "its outputs occur twice, and it has groups; use a network without")
    for part in module.modules():
        for key, values in part.named_parameters(recurse=False):
            setattr(part, key, nn.Parameter(_repeated(values)))
        for key, values in part.named_buffers(recurse=False):
            setattr(part, key, _repeated(values))


def _repeated(values: Tensor) -> Tensor:
    return torch.cat([values, values]) if values.ndim else values
