"""The curves of a run, from the metrics.csv that Lightning's CSVLogger wrote."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorlit.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Series:
    """One metric over training: three arrays of equal length, ordered by step."""

    step: NDArray[np.int64]
    epoch: NDArray[np.int64]
    value: NDArray[np.float64]

    def per_epoch(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The last value of each epoch: (epochs, values)."""
        last = np.append(self.epoch[1:] != self.epoch[:-1], True) if len(self.epoch) else np.zeros(0, bool)
        return self.epoch[last], self.value[last]


@dataclass(frozen=True)
class Curves:
    """All series of a run, by their logged names, such as `val/top1`."""

    series: dict[str, Series]

    def __getitem__(self, name: str) -> Series:
        """The series of that name.

        Raises:
            UserError: The run logged no such metric.
        """
        if name not in self.series:
            known = ", ".join(self.series) or "none"
            raise UserError(f"metric {name!r} was not logged.{did_you_mean(name, self.series)} Logged: {known}.")
        return self.series[name]

    def __contains__(self, name: str) -> bool:
        return name in self.series

    def of_layers(self, what: str) -> dict[str, Series]:
        """The series `layer/NAME/WHAT` by the layer's name, in the order of the file: `flips`, `alpha`, `dead`, ...

        Args:
            what: The logged quantity; see `xnorlit.training.layer_curves`.
        """
        split = {name: name.split("/") for name in self.series}
        return {
            parts[1]: self.series[name]
            for name, parts in split.items()
            if len(parts) == 3 and parts[0] == "layer" and parts[2] == what
        }

    @staticmethod
    def load(file: Path) -> "Curves":
        """The curves in a metrics.csv.

        The logger writes the training and the validation metrics of a step in different rows, and leaves the other
        cells blank. A blank cell has no value; `nan` is the value of a loss that became NaN. A resumed run has some
        steps twice. The later row is kept, because it belongs to the weights with which training continued. A last
        line without a newline is ignored, because it may end within a number.

        Raises:
            UserError: The file is missing, has no step column, or contains a value that is not a number.
        """
        try:
            with file.open(newline="", encoding="utf-8") as lines:
                return _parse(csv.reader(line for line in lines if line.endswith("\n")), file)
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{file} is damaged ({error}). Expected comma-separated text.") from error


def _parse(rows: Iterator[list[str]], file: Path) -> Curves:
    header = next(rows, None)
    if header is None or "step" not in header:
        raise UserError(f"{file} has no column 'step'. Expected a file written by Lightning's CSVLogger.")
    points = Points()
    for line, row in enumerate(rows, start=2):
        cells = {name: cell for name, cell in zip(header, row, strict=False) if cell != ""}
        try:
            epoch = int(float(cells.pop("epoch"))) if "epoch" in cells else None
            step = int(float(cells.pop("step")))
            points.add(step, epoch, {name: float(cell) for name, cell in cells.items()})
        except (KeyError, ValueError, OverflowError) as error:
            raise UserError(f"{file}, line {line}: expected a step and numbers, found {','.join(row)!r}.") from error
    found = points.curves()
    return Curves({name: found.series[name] for name in header if name in found.series})  # in the order of the file


class Points:
    """Logged values on their way to curves.

    The learning-rate monitor logs without an epoch, before the other values of an epoch or a step. So a value without
    an epoch waits for the next epoch that is logged.
    """

    def __init__(self) -> None:
        self._points: dict[str, dict[int, tuple[int, float]]] = {}
        self._waiting: list[tuple[int, Mapping[str, float]]] = []
        self._epoch = 0

    def add(self, step: int, epoch: int | None, values: Mapping[str, float]) -> None:
        """Take the values of a step by name; a later value of the same step replaces an earlier one.

        Args:
            step: The optimizer step.
            epoch: The epoch; None if it was not logged.
            values: The values by name.
        """
        self._waiting.append((step, values))
        if epoch is not None:
            self._epoch = epoch
            self._enter()

    def curves(self) -> Curves:
        """The curves of all values."""
        self._enter()
        return Curves({name: _series(at) for name, at in self._points.items()})

    def _enter(self) -> None:
        for step, values in self._waiting:
            for name, value in values.items():
                self._points.setdefault(name, {})[step] = self._epoch, value
        self._waiting.clear()


def _series(at: Mapping[int, tuple[int, float]]) -> Series:
    """A series from the epoch and the value at each step."""
    steps = sorted(at)
    return Series(
        np.array(steps, np.int64),
        np.array([at[step][0] for step in steps], np.int64),
        np.array([at[step][1] for step in steps], np.float64),
    )
