"""Training in two stages: one operand stays real for the first share of the steps, then both are few-bit."""

import pytorch_lightning as pl
from typing_extensions import override

from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.layers import Operand
from xnorlit.training.schedule import steps_per_epoch


class TwoStages(pl.Callback):
    """Weights (or inputs) are real up to step `share * steps`, and few-bit from there; one schedule over both stages.

    In the first stage the network learns features that survive binary inputs, without the noise of flipping weights.
    Validation uses the codes of both operands from the start, so it is low until the second stage: it measures the
    network that can be packed.

    The stage depends on the step alone, also in a resumed run.

    Args:
        real: Which operand stays real at first: `weights` is the order of Bi-Real Net and ReActNet.
        share: Share of the optimizer steps, more than 0 and at most 1. With 1 the operand stays real in the whole run:
            the first of two, the second of which starts from it (`init_from`), as ReActNet's release trains.

    Source: Martinez et al. 2020, arXiv 2003.11535; Liu et al. 2020, arXiv 2003.03488, section 4.
    """

    def __init__(self, real: Operand = "weights", share: float = 0.4) -> None:
        if not 0 < share <= 1:
            raise UserError(
                f"TwoStages.share is {share}. Expected the share of the steps in which the {real} stay real: more than "
                "0 and at most 1."
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
        which = f"the {operand} stay real in training" if operand else "weights and inputs in few bits"
        say("stage", f"{which}, from step {trainer.global_step:,}")
