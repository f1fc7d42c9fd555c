"""A split without its pixels: names, labels and classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from xnorlit.data.pictures import listing_sha256
from xnorlit.errors import UserError


@dataclass(frozen=True, eq=False)
class Listing:
    """The samples of a split in their order.

    Args:
        classes: Class names, by label.
        names: One unique name per sample, equal on every machine: `cat/0006.jpg`, not an absolute path.
        labels: int64 [N], 0..classes-1.
    """

    classes: tuple[str, ...]
    names: Sequence[str]
    labels: NDArray[np.int64]
    _digest: str | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the names and labels in order; with equal hashes, predictions can be paired by index."""
        if self._digest is not None:
            return self._digest
        return listing_sha256(self.classes, self.names, self.labels.tolist())

    def counts(self) -> dict[str, int]:
        """Number of samples of each class."""
        return dict(zip(self.classes, np.bincount(self.labels, minlength=len(self.classes)).tolist(), strict=True))

    def subset(self, members: NDArray[np.int64]) -> "Listing":
        """The listing of some of the samples.

        Its digest is derived from this digest and the positions, so names are not needed.
        """
        digest = hashlib.sha256(self.sha256.encode() + members.astype("<i8").tobytes()).hexdigest()
        names = [self.names[member] for member in members.tolist()] if self.names else []
        return Listing(self.classes, names, self.labels[members], digest)


def check_held_out(option: str, fraction: float) -> None:
    """Refuse what is not a share of train to hold out.

    Args:
        option: Name of the option, for the message.
        fraction: Its value.

    Raises:
        UserError: It is not in 0 (none) to less than 1.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"{option} is {fraction}. Expected the share of train to hold out: 0 (none) to less than 1.")


def held_out(labels: NDArray[np.int64], fraction: float, key: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits positions into (kept, held out), the same fraction of every class, at least one sample each.

    Args:
        labels: int64 [N].
        fraction: Share held out, 0 < fraction < 1.
        key: From `counter.key`; the same key gives the same split.
    """
    from xnorlit.data import counter

    hashed = counter.bits(key, np.arange(len(labels)))
    out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        out[members[np.argsort(hashed[members], kind="stable")[:count]]] = True
    return np.flatnonzero(~out), np.flatnonzero(out)
