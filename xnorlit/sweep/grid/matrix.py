"""A matrix of accuracies over two parameters of a grid."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from xnorlit.errors import UserError, did_you_mean
from xnorlit.sweep.grid.outcome import Outcome
from xnorlit.sweep.grid.sheet import shown


@dataclass(frozen=True)
class Matrix:
    """Top-1 by the values of two parameters.

    Attributes:
        rows: The values of the first parameter, as text.
        columns: The values of the second parameter, as text.
        top1: Mean over the runs with both values, percent; NaN if no such run has finished.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    top1: tuple[tuple[float, ...], ...]


def matrix(outcomes: Sequence[Outcome], rows: str, columns: str) -> Matrix:
    """The matrix of two parameters, averaged over all other varied parameters and the seeds.

    Args:
        outcomes: The finished runs of one grid.
        rows: Short name of a varied parameter.
        columns: Short name of another one.

    Raises:
        UserError: A name is not a varied parameter.
    """
    known = list(outcomes[0].varied) if outcomes else []
    for label in (rows, columns):
        if label not in known:
            near = did_you_mean(label, known)
            raise UserError(f"this grid does not vary {label}.{near} Varied: {', '.join(known) or 'none'}.")
    cells: dict[tuple[str, str], list[float]] = {}
    for each in outcomes:
        cell = shown(each.varied[rows]), shown(each.varied[columns])
        cells.setdefault(cell, []).append(100 * each.run.summary.top1)
    down, across = (tuple(dict.fromkeys(cell[i] for cell in cells)) for i in (0, 1))
    return Matrix(down, across, tuple(tuple(_mean(cells.get((r, c), [])) for c in across) for r in down))


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan
