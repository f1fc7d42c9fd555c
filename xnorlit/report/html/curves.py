"""The curves of a comparison: each run by epoch, the means over seeds, and the gap."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xnorlit.errors import UserError
from xnorlit.runs import Curves, Run, Series

SHOWN = ("val/top1", "val/loss", "train/loss_epoch")
OF_LAYERS = ("flips", "saturated", "dead")

Line = dict[str, list[Any]]
"""`{"epoch": [1, 2, ...], "value": [...]}`; NaN and infinity become None, since JSON has neither."""


def curves(arms: Mapping[str, Sequence[Run]], matches: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Each metric by arm and seed with the mean over seeds, and the gap in val/top1, in points.

    Args:
        arms: Runs by arm.
        matches: (arm, reference) of each gap.
    """
    found: dict[str, Any] = {}
    for metric in SHOWN:
        of_arms = {}
        for label, runs in arms.items():
            seeds = [
                {"seed": run.place.seed, "run": str(run.path), **_line(_series(run)[metric])}
                for run in runs
                if metric in _series(run)
            ]
            if seeds:
                of_arms[label] = {"seeds": seeds, "mean": mean(seeds)}
        if of_arms:
            found[metric] = of_arms
    gaps = [{"arm": arm, "reference": twin, **_gap(arms[arm], arms[twin])} for arm, twin in matches]
    return {"metrics": found, "gaps": [gap for gap in gaps if gap["epoch"]]}


def layer_curves(arms: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """The layer curves of each arm's first seed: `[{arm, seed, run, what: {flips: {conv2: line}}}]`."""
    found = []
    for label, runs in arms.items():
        logged = Curves(dict(_series(runs[0])))
        of_layers = {what: logged.of_layers(what) for what in OF_LAYERS}
        what = {of: {layer: _line(line) for layer, line in lines.items()} for of, lines in of_layers.items() if lines}
        if what:
            ordered = {kind: what[kind] for kind in OF_LAYERS if kind in what}
            found.append({"arm": label, "seed": runs[0].place.seed, "run": str(runs[0].path), "what": ordered})
    return found


def mean(lines: Sequence[Line]) -> Line:
    """The mean over lines at their shared epochs; None if one of them has no number there."""
    by_epoch = [dict(zip(line["epoch"], line["value"], strict=True)) for line in lines]
    shared = sorted(set.intersection(*map(set, by_epoch)))
    return {"epoch": shared, "value": [_average([of[epoch] for of in by_epoch]) for epoch in shared]}


def _gap(runs: Sequence[Run], twins: Sequence[Run]) -> Line:
    """Validation top-1 of the reference minus the arm, in points: mean, smallest and largest over the seeds."""
    of_seed = {run.place.seed: run for run in twins}
    pairs = [(run, of_seed.get(run.place.seed, twins[0] if len(twins) == len(runs) == 1 else None)) for run in runs]
    lines = []
    for run, twin in pairs:
        if twin is None or "val/top1" not in _series(run) or "val/top1" not in _series(twin):
            continue
        ours, theirs = _line(_series(run)["val/top1"]), _line(_series(twin)["val/top1"])
        mine = dict(zip(ours["epoch"], ours["value"], strict=True))
        both = [(e, v, mine[e]) for e, v in zip(theirs["epoch"], theirs["value"], strict=True) if e in mine]
        lines.append(
            {
                "epoch": [e for e, *_ in both],
                "value": [None if v is None or m is None else 100 * (v - m) for _, v, m in both],
            }
        )
    if not lines:
        return {"epoch": [], "value": [], "least": [], "most": []}
    middle = mean(lines)
    at = [[dict(zip(line["epoch"], line["value"], strict=True))[e] for line in lines] for e in middle["epoch"]]
    numbers = [[v for v in values if v is not None] for values in at]
    return {**middle, "least": [min(v, default=None) for v in numbers], "most": [max(v, default=None) for v in numbers]}


def _series(run: Run) -> Mapping[str, Series]:
    try:
        return run.curves.series
    except UserError:  # the notes say so
        return {}


def _line(series: Series) -> Line:
    epochs, values = series.per_epoch()
    return {
        "epoch": [int(epoch) + 1 for epoch in epochs],
        "value": [float(value) if math.isfinite(value) else None for value in values],
    }


def _average(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return math.fsum(numbers) / len(numbers) if len(numbers) == len(values) else None
