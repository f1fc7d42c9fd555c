"""Base class of the terms of the training loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork


class Loss(ABC):
    """One term of the training loss, which is the sum of the terms that a recipe lists.

    A new term holds only its settings. A run calls `prepare` once, before the first step. A term is not a module: its
    state is neither trained nor saved, so a resumed run has to restore it from the settings, the network and the epoch.
    """

    learnt_from: str = ""
    """A hash of the weights that it has loaded, by which a resumed run knows them again."""

    def prepare(self, net: BuiltNetwork, data: ImageData, run: Path) -> None:  # noqa: B027 - most terms need nothing
        """Prepare the term for a network, such as hooks on modules or a teacher. By default: nothing.

        Args:
            net: The network to train; built, perhaps not yet on its device.
            data: Its images, set up.
            run: The run's folder, `.../PAIR/ARM/seed-N`.

        Raises:
            UserError: The term cannot be computed for this network or these images.
        """

    def on_epoch(self, epoch: int, epochs: int) -> None:  # noqa: B027
        """Update a schedule of the term at the start of epoch `epoch` of `epochs`. By default: nothing."""

    @abstractmethod
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        """The weighted value of the term for one training batch: a differentiable scalar.

        Args:
            net: The network, after its forward on this batch.
            batch: Augmented uint8 images `(N, 3, S, S)`, labels `(N,)`.
            logits: The network's output in fp32, `(N, classes)`.
        """


def refuse_other_teachers(then: Sequence[str], losses: Sequence[Loss]) -> None:
    """Refuses to resume with another teacher than a run was started with, as where its arm was trained again.

    Args:
        then: `learnt_from` of each loss when the checkpoint was saved; empty in earlier versions.
        losses: Those of this run, prepared.

    Raises:
        UserError: A teacher's weights are others.
    """
    for before, loss in zip(then, losses, strict=False):
        if before != loss.learnt_from:
            raise UserError(
                f"the teacher of {type(loss).__name__} is not the network that the run has learnt from so far: its "
                "checkpoint was written again. Restore it, or start afresh: --run.fresh true."
            )
