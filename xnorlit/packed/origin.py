"""The origin of a packed network, and its accuracy when it was packed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Source:
    """The origin of a packed network; unknown fields are empty.

    Attributes:
        weights: `trained`, or `random` for measuring speed.
        run: The run's folder, starting with the folder of runs: `runs/cifar10/pair-0/xnor/seed-0`.
        checkpoint: File name of the checkpoint.
        epoch: Number of epochs trained.
        commit: Full Git commit of the code that trained the weights.
        changed: Whether that code had uncommitted changes.
        xnorlit: Version that packed the weights.
    """

    weights: Literal["trained", "random"] = "random"
    run: str = ""
    checkpoint: str = ""
    epoch: int = 0
    commit: str = ""
    changed: bool = False
    xnorlit: str = ""

    @property
    def words(self) -> str:
        """The origin of the weights as text."""
        if self.weights == "random":
            return "random weights"
        return f"{self.run}, {self.checkpoint} of epoch {self.epoch}" if self.run else "a network packed from Python"


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of the packed network on its engine, measured when it was packed.

    Attributes:
        top1: Share of images whose likeliest class is the true one.
        top5: Share of images whose true class is among the five likeliest.
        images: Number of images.
        data: Name of the image set, such as `cifar10`.
        split: Split of the images.
        listing_sha256: Hash of their names and labels: `xnorlit.data.listing.Listing.sha256`.
    """

    top1: float
    top5: float
    images: int
    data: str
    split: str
    listing_sha256: str
