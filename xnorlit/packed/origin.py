"""The origin of a packed network, and its accuracy when it was packed."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from xnorlit.edge.fields import FieldError, Fields

MOST = 2**53  # the largest integer that every JSON reader keeps exactly


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

    @staticmethod
    def of(found: Any) -> "Source":
        """Read the source from a file's JSON.

        Raises:
            FieldError: A field is missing, unknown, of the wrong type, or contradicts another.
        """
        fields = Fields(found, "source")
        weights = fields.choice("weights", ("trained", "random"))
        source = fields.record(Source, weights=weights, epoch=fields.integer("epoch", 0, MOST))
        fields.done()
        if source.commit and not (len(source.commit) in (40, 64) and set(source.commit) <= set("0123456789abcdef")):
            raise FieldError("source.commit: expected 40 or 64 hexadecimal digits, or none")
        if source.weights == "random" and (source.run or source.checkpoint or source.epoch or source.commit):
            raise FieldError("source.weights: random weights cannot come from a run")
        return source


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

    @staticmethod
    def of(found: Any) -> "Accuracy | None":
        """Read the accuracy from a file's JSON; `null` means that it was not measured.

        Raises:
            FieldError: A field is missing, unknown, of the wrong type, or contradicts another.
        """
        if found is None:
            return None
        fields = Fields(found, "accuracy")
        top1, top5 = (fields.number(name, 0, 1) for name in ("top1", "top5"))
        accuracy = fields.record(Accuracy, top1=top1, top5=top5, images=fields.integer("images", 1, MOST))
        fields.done()
        for name in ("top1", "top5"):
            right = getattr(accuracy, name) * accuracy.images
            if not math.isclose(right, round(right), rel_tol=1e-9, abs_tol=1e-6):
                raise FieldError(f"accuracy.{name}: no whole number of {accuracy.images} images is right")
        if accuracy.top5 < accuracy.top1:
            raise FieldError(f"accuracy.top5: {accuracy.top5:g} is below top1, {accuracy.top1:g}")
        return accuracy


def described(origin: Source | Accuracy | None) -> dict[str, Any] | None:
    """The JSON that `of` reads back."""
    return None if origin is None else asdict(origin)
