"""`trainer.sync_batchnorm` for steady batch norms: statistics over the samples of all processes."""

from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.layers import BatchNorm1d, BatchNorm2d


class SteadySync(LayerSync):
    """Synchronise steady norms over all processes; other batch norms become torch's SyncBatchNorm.

    Lightning's own plug-in would replace steady norms too, and lose their treatment of dead channels.
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
        """Do nothing: norms do not communicate in evaluation."""
        return model


def set_copies(network: nn.Module, copies: int) -> None:
    """Tell synchronised norms how many processes hold the same samples, so that each sample counts once.

    Args:
        network: Any module.
        copies: Number of processes that hold the same samples in the next step.
    """
    for module in network.modules():
        if isinstance(module, BatchNorm1d | BatchNorm2d):
            module.copies = copies
