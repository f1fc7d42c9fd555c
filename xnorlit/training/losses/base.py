"""Base class of the terms of the training loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork


class Loss(ABC):
    """One term of the training loss. The loss is the sum of the terms that a recipe lists.

    The constructor only stores settings. A run calls `prepare` once, before the first step. A term is not a module: its
    state is neither trained nor saved. A resumed run restores it from the settings, the network and the epoch.
    """

    learnt_from: str = ""
    """Hash of the weights that the term has loaded. A resumed run compares it with the recorded one."""

    def prepare(self, net: BuiltNetwork, data: ImageData, run: Path) -> None:  # noqa: B027 - most terms need nothing
        """Prepare the term for a network: register hooks or load a teacher. Does nothing by default.

        Args:
            net: The network to train; built, perhaps not yet on its device.
            data: The data module, set up.
            run: The run's folder, `.../PAIR/ARM/seed-N`.

        Raises:
            UserError: The term cannot be computed for this network or these images.
        """

    def on_epoch(self, epoch: int, epochs: int) -> None:  # noqa: B027
        """Update the term's schedule at the start of epoch `epoch` of `epochs`. Does nothing by default."""

    @abstractmethod
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        """The weighted value of the term for one training batch: a differentiable scalar.

        Args:
            net: The network, after its forward on this batch.
            batch: Augmented uint8 images `(N, 3, S, S)`, labels `(N,)`.
            logits: The network's output in fp32, `(N, classes)`.
        """


def refuse_other_teachers(then: Sequence[str], losses: Sequence[Loss]) -> None:
    """Refuse to resume a run if the weights of a teacher have changed since it started.

    Args:
        then: `learnt_from` of each loss when the checkpoint was saved; empty in earlier versions.
        losses: The losses of this run, prepared.

    Raises:
        UserError: The weights of a teacher have changed.
    """
    for before, loss in zip(then, losses, strict=False):
        if before != loss.learnt_from:
            raise UserError(
                f"the teacher of {type(loss).__name__} has changed since the run started: its checkpoint was "
                "overwritten. Restore the checkpoint, or start afresh: --run.fresh true."
            )
