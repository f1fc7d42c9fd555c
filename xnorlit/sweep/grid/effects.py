"""The results of a grid: each combination over its seeds, and the effect of each single parameter."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xnorlit.sweep.grid.grid import Value
from xnorlit.sweep.grid.outcome import Outcome
from xnorlit.sweep.table.rows import Row, row

SEED = "seed"


@dataclass(frozen=True)
class Combination:
    """A combination of the varied parameters except the seed, with the results of its runs.

    Attributes:
        varied: Values of the varied parameters, by short name.
        row: Accuracy by seed, the gap to the float twin, time and size.
        twin: Whether this is the grid's float twin.
    """

    varied: dict[str, Value]
    row: Row
    twin: bool


@dataclass(frozen=True)
class Effect:
    """The effect of one value of one parameter, over all values of the others.

    Attributes:
        label: The parameter's short name.
        value: One of its values.
        runs: Number of runs with this value.
        mean: Mean top-1 of these runs, percent.
        change: Top-1 with this value minus top-1 with the parameter's first value, averaged over pairs of runs that
            differ only in this parameter; None for the first value, or if no such pair has finished.
        spread: Standard deviation over these pairs; None with fewer than two.
        pairs: Number of these pairs.
    """

    label: str
    value: Value
    runs: int
    mean: float
    change: float | None
    spread: float | None
    pairs: int


def combinations(outcomes: Sequence[Outcome]) -> list[Combination]:
    """Each combination of a grid's parameters, over its seeds, in the order of the outcomes.

    The float twin is the combination without few-bit weights or inputs. If there is not exactly one such combination,
    there are no gaps.

    Args:
        outcomes: The finished runs of one grid.
    """
    groups: dict[tuple, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(_without(outcome, SEED), []).append(outcome)
    floats = [key for key, group in groups.items() if not any(each.run.summary.has_codes for each in group)]
    twins = [each.run for each in groups[floats[0]]] if len(floats) == 1 else []
    return [
        Combination(dict(key), row([each.run for each in group], twins), twin=floats == [key])
        for key, group in groups.items()
    ]


def effects(outcomes: Sequence[Outcome]) -> list[Effect]:
    """The effect of each value of each parameter except the seed.

    Args:
        outcomes: The finished runs of one grid.
    """
    labels = [label for label in (outcomes[0].varied if outcomes else ()) if label != SEED]
    return [effect for label in labels for effect in _of_parameter(label, outcomes)]


def _of_parameter(label: str, outcomes: Sequence[Outcome]) -> Iterable[Effect]:
    values = dict.fromkeys(outcome.varied[label] for outcome in outcomes)
    first = next(iter(values))
    reference = {_without(each, label): _top1(each) for each in outcomes if each.varied[label] == first}
    for value in values:
        having = [each for each in outcomes if each.varied[label] == value]
        changes = [_top1(each) - reference[others] for each in having if (others := _without(each, label)) in reference]
        compared = changes if value != first else []
        yield Effect(
            label=label,
            value=value,
            runs=len(having),
            mean=statistics.fmean(_top1(each) for each in having),
            change=statistics.fmean(compared) if compared else None,
            spread=statistics.stdev(compared) if len(compared) > 1 else None,
            pairs=len(compared),
        )


def _top1(outcome: Outcome) -> float:
    return 100 * outcome.run.summary.top1


def _without(outcome: Outcome, label: str) -> tuple[tuple[str, Value], ...]:
    return tuple((name, value) for name, value in outcome.varied.items() if name != label)
