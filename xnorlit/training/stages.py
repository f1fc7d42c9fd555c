"""Training in two stages: in the first, weights or inputs stay real; in the second, both are few-bit."""

import pytorch_lightning as pl
from typing_extensions import override

from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.layers import Operand
from xnorlit.training.schedule import steps_per_epoch


class TwoStages(pl.Callback):
    """Weights (or inputs) are real before step `share * steps` and few-bit afterwards. One schedule spans both stages.

    In the first stage the network learns features that survive binary inputs, without the noise of flipping weights.
    Validation always uses the codes of weights and inputs, because it measures the network that can be packed. Its
    accuracy is therefore low until the second stage.

    Only the step determines the stage, so a resumed run continues in the right one.

    Args:
        real: The operand that stays real in the first stage; Bi-Real Net and ReActNet keep the weights real.
        share: Share of the optimizer steps in the first stage, more than 0 and at most 1. With 1 the operand stays real
            in the whole run. A second run can then start from it (`init_from`), as in ReActNet's release.

    Source: Martinez et al. 2020, arXiv 2003.11535; Liu et al. 2020, arXiv 2003.03488, section 4.
    """

    def __init__(self, real: Operand = "weights", share: float = 0.4) -> None:
        if not 0 < share <= 1:
            raise UserError(
                f"TwoStages.share is {share}. Expected the share of steps with real {real}, more than 0 and at most 1."
            )
        self.real: Operand = real
        self.share = share
        self._held: Operand | None = None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._until = self.share * trainer.max_epochs * steps_per_epoch(trainer)
        self._hold(self.real if trainer.global_step < self._until else None, trainer, pl_module)

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if self._held and trainer.global_step >= self._until:
            self._hold(None, trainer, pl_module)

    def _hold(self, operand: Operand | None, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._held = operand
        for _, layer in pl_module.net.layers():
            layer.keep_real(operand)
        which = f"real {operand} in training" if operand else "few-bit weights and inputs"
        say("stage", f"{which}, from step {trainer.global_step:,}")
