"""A run's prediction for each validation image, read from predictions.safetensors and fully checked."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from xnorlit.errors import UserError

_KINDS = {"index": "I64", "label": "I64", "top5": "I64", "top5_logit": "F32"}


@dataclass(frozen=True)
class Predictions:
    """The five likeliest classes of N validation images, and the true one.

    index: position of the image in its split's listing, increasing. label: the true class. top5, top5_logit: [N, k],
    likeliest first, k = min(5, number of classes).
    """

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    top5: NDArray[np.int64]
    top5_logit: NDArray[np.float32]
    classes: tuple[str, ...]
    listing_sha256: str
    split: str
    source: str
    epoch: int

    def __len__(self) -> int:
        return len(self.index)

    def correct(self, k: int) -> NDArray[np.bool_]:
        """[N]: whether the true class is among the k likeliest; always True with at most k classes."""
        return (self.top5[:, :k] == self.label[:, None]).any(axis=1)

    @staticmethod
    def load(file: Path) -> "Predictions":
        """The predictions in `file`. Types, shapes, ranges and order are all checked.

        Raises:
            UserError: The file is missing, truncated, not a run's, without images, or contains NaN.
        """
        try:
            with safe_open(file, framework="numpy") as tensors:
                found = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
                _expect(found == _KINDS, file, f"expected the tensors {_KINDS}, found {found}")
                arrays = {name: tensors.get_tensor(name) for name in _KINDS}
                metadata = tensors.metadata() or {}
        except FileNotFoundError as error:
            raise UserError(f"{file} is missing: the run wrote no predictions. Train the run again.") from error
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is damaged or truncated ({error}). Train the run again.") from error
        classes = _classes(metadata, file)
        _check_arrays(arrays, len(classes), file)
        epoch = metadata.get("epoch", "")
        _expect(epoch.isdecimal(), file, f"expected a number as epoch, found {epoch!r}")
        missing = [key for key in ("listing_sha256", "split", "source") if not metadata.get(key)]
        _expect(not missing, file, f"its metadata lacks {', '.join(missing)}")
        return Predictions(
            **arrays,
            classes=classes,
            listing_sha256=metadata["listing_sha256"],
            split=metadata["split"],
            source=metadata["source"],
            epoch=int(epoch),
        )


def _classes(metadata: dict[str, str], file: Path) -> tuple[str, ...]:
    try:
        classes = json.loads(metadata.get("classes", ""))
    except (ValueError, RecursionError):
        classes = None
    _expect(
        isinstance(classes, list) and bool(classes) and all(isinstance(name, str) for name in classes),
        file,
        "expected the classes in its metadata as a JSON list of strings",
    )
    assert isinstance(classes, list)
    _expect(len(set(classes)) == len(classes), file, "a class is listed twice")
    return tuple(classes)


def _check_arrays(arrays: dict[str, NDArray], classes: int, file: Path) -> None:
    index, label, top5, logit = (arrays[name] for name in _KINDS)
    _expect(index.ndim == 1, file, f"expected index to be a vector, found shape {index.shape}")
    if index.size == 0:
        raise UserError(
            f"{file} contains no predictions. Give the run a validation set (data.source with a val or test folder) "
            "and train it again."
        )
    n, k = index.shape[0], min(5, classes)
    for name, array, shape in (("index", index, (n,)), ("label", label, (n,)), ("top5", top5, (n, k))):
        _expect(array.shape == shape, file, f"expected {name} of shape {shape}, found {array.shape}")
    _expect(logit.shape == (n, k), file, f"expected top5_logit of shape {(n, k)}, found {logit.shape}")
    _expect(index[0] >= 0 and bool((np.diff(index) > 0).all()), file, "expected each image once, in order")
    for name, array in (("label", label), ("top5", top5)):
        _expect(
            bool(((array >= 0) & (array < classes)).all()), file, f"{name} names a class beyond the {classes} listed"
        )
    diverged = ~np.isfinite(logit).all(axis=1)
    if diverged.any():
        raise UserError(
            f"{file}: the network's outputs are NaN or infinite for {int(diverged.sum()):,} of {n:,} images. "
            "The run diverged: lower the learning rate and train it again."
        )
    _expect(bool((np.diff(logit, axis=1) <= 0).all()), file, "expected the likeliest class first")
    ranked = np.sort(top5, axis=1)
    _expect(bool((np.diff(ranked, axis=1) > 0).all()), file, "top5 lists a class twice for one image")


def _expect(holds: bool, file: Path, problem: str) -> None:
    if not holds:
        raise UserError(f"{file} is not a run's predictions: {problem}. Train the run again.")
