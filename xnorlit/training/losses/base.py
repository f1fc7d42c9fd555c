"""What a term of the training loss is."""

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor

from xnorlit.data import Batch, ImageData
from xnorlit.models import BuiltNetwork


class Loss(ABC):
    """One term of the training loss; the terms that a recipe lists are added up.

    A term is settings until `prepare`, which a run calls once, before its first step. It is no module: what it holds is
    neither trained nor saved, so a resumed run must be able to go on from the settings, the network and the epoch.
    """

    def prepare(self, net: BuiltNetwork, data: ImageData, run: Path) -> None:  # noqa: B027 - most terms need nothing
        """Readies the term for a network: hooks on its modules, a teacher; nothing here.

        Args:
            net: The network that is going to be trained, built, perhaps not yet on its device.
            data: Its images, opened.
            run: The run's folder, `.../PAIR/ARM/seed-N`.

        Raises:
            UserError: The term cannot be computed for this network or these images.
        """

    def on_epoch(self, epoch: int, epochs: int) -> None:  # noqa: B027
        """Moves a schedule of the term at the start of training epoch `epoch` of `epochs`; nothing here."""

    @abstractmethod
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        """The term's value for one training batch, its weight included: a scalar, differentiable.

        Args:
            net: The network, whose forward on this batch has just been computed.
            batch: Augmented uint8 images `(N, 3, S, S)`, labels `(N,)`.
            logits: The network's output in fp32, `(N, classes)`.
        """
