"""From finished runs to the rows of a table."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from xnorlit.comparison.difference import SEEDS, Role, between, binarizer
from xnorlit.runs import Run
from xnorlit.sweep.table.steps import Times

MIB = 8 * 2**20


@dataclass(frozen=True)
class Row:
    """The results of an arm's runs: accuracies in percent, times as a ratio, sizes in MiB.

    Attributes:
        arm: The arm.
        method: Class of the arm's binarizer.
        bits: Bits of the weights and inputs of its few-bit layers, `1 / 1`; empty if the run does not record them.
        top1: Top-1 after the last epoch, by seed.
        gap: The twin's minus the arm's top-1, averaged over the seeds of both; None for the twin or without a twin.
        seconds: Median time of a training step, in seconds. It comes from separate runs, so its ratios are unreliable.
        step: Time of a training step relative to the twin's, measured in turns; None if not measured.
        packed: Packed size; None without a packed form.
        milliseconds: Time of one image on one thread; None if not measured.
        differs: The keys, besides the binarizer, in which the arm's configuration differs from the twin's.
        mixed: The keys in which the configurations of its seeds differ, for example if the recipe changed in between.
    """

    arm: str
    method: str
    bits: str
    top1: dict[int, float]
    gap: float | None
    seconds: float
    step: float | None
    packed: float | None
    milliseconds: float | None
    differs: tuple[str, ...]
    mixed: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean top-1 over the seeds."""
        return statistics.fmean(self.top1.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for a single seed."""
        return statistics.stdev(self.top1.values()) if len(self.top1) > 1 else None


def row(runs: Sequence[Run], twins: Sequence[Run], times: Times | None = None) -> Row:
    """The row of one arm.

    Args:
        runs: The arm's finished runs, one for each seed; at least one.
        twins: The float twin's runs; the same as `runs` for the twin itself, and empty without a twin.
        times: The arm's times; None if not measured.
    """
    first = runs[0]
    top1 = {run.place.seed: 100 * run.summary.top1 for run in runs}
    theirs = {run.place.seed: 100 * run.summary.top1 for run in twins}
    shared = top1.keys() & theirs.keys()
    itself = bool(twins) and first.path == twins[0].path
    return Row(
        arm=first.place.arm,
        method=binarizer(first.flat_config),
        bits=_bits(first),
        top1=dict(sorted(top1.items())),
        gap=statistics.fmean(theirs[seed] - top1[seed] for seed in shared) if shared and not itself else None,
        seconds=_seconds(runs),
        step=times.step if times else None,
        packed=None if first.summary.cannot_pack else first.summary.packed_bits / MIB,
        milliseconds=1000 * times.image if times and times.image else None,
        differs=_differs(first, twins[0], ("declared", "undeclared")) if twins and not itself else (),
        mixed=tuple(dict.fromkeys(key for run in runs[1:] for key in _differs(run, first, get_args(Role)))),
    )


def _differs(run: Run, other: Run, roles: Sequence[Role]) -> tuple[str, ...]:
    compared = between(run, other, same=SEEDS)
    return tuple(key for role in roles for key in compared.named(role))


def _bits(run: Run) -> str:
    codes = run.summary.codes or {}
    few = [pair for pair in codes.values() if min(pair) < 32]
    kinds = dict.fromkeys(few or codes.values())
    return ", ".join(f"{weights} / {inputs}" for weights, inputs in kinds)


def _seconds(runs: Sequence[Run]) -> float:
    return statistics.median(run.summary.step_seconds for run in runs)
