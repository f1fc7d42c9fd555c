"""Disable autocast where a formula needs the full precision of its operands."""

import torch


def without_autocast(device: torch.device) -> torch.autocast:
    """A context in which torch does not autocast what is computed on a device.

    Args:
        device: Any device. Torch's `meta` device has no autocast to disable, and torch refuses its name.
    """
    return torch.autocast("cpu" if device.type == "meta" else device.type, enabled=False)
