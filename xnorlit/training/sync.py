"""`trainer.sync_batchnorm`: batch norm over the samples of all processes, whose constant channels stay steady."""

from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.layers import BatchNorm1d, BatchNorm2d


class SteadySync(LayerSync):
    """Lets the steady norms take their statistics over all processes; other batch norms become torch's SyncBatchNorm.

    Lightning's own plugin replaces them all, and with the steady ones what they do for dead channels.
    """

    @override
    def apply(self, model: nn.Module) -> nn.Module:
        for name, child in model.named_children():
            setattr(model, name, self.apply(child))
        if isinstance(model, BatchNorm1d | BatchNorm2d):
            model.synced = True
        elif isinstance(model, _BatchNorm):
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    @override
    def revert(self, model: nn.Module) -> nn.Module:
        """Nothing: in evaluation no norm asks other processes."""
        return model


def set_copies(network: nn.Module, copies: int) -> None:
    """Lets a network's synced norms count samples once that several processes hold.

    Args:
        network: Any module.
        copies: How many processes hold the samples of the coming step.
    """
    for module in network.modules():
        if isinstance(module, BatchNorm1d | BatchNorm2d):
            module.copies = copies
